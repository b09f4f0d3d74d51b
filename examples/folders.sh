#!/bin/sh
# A CSI driver in shell: `flexvol csi` serves it as one, and every host of FlexVolume drivers can mount with it.
# A volume is a folder below the one that the setting "directory" names. Its size is remembered; nothing holds it to that.
# It needs jq, for a shell cannot read JSON: what `sed` finds is right until somebody orders or escapes it otherwise.
# Volume NAME is NAME/about, what is answered about it, and NAME/data.TOKEN, what a pod sees. It comes and goes by one rename.
export LC_ALL=C
ok() { echo "{\"status\": \"Success\"${1:+, $1}}"; exit; }
fail() { jq -cn --arg code "$1" --arg message "$2" '{status: "Failure", $message, $code} | map_values(select(. != ""))'; exit 1; }
plain() { case $1 in '' | [!a-zA-Z0-9]* | *[!a-zA-Z0-9._-]*) false ;; *) [ ${#1} -le 128 ] ;; esac; } # no /, no .., no newline
bytes() { case $1 in 0?* | *[!0-9]* | ????????????????*) false ;; esac; }
room() { df --output=avail -B1 "$root" | tail -n 1 | tr -d ' '; }
case $1 in
init) ok '"capabilities": {"attach": false, "supportsMetrics": true, "requiresFSResize": false},
    "extensions": ["local", "stdin", "provision", "list", "capacity"]' ;;
unmount) while findmnt -M "$2" >/dev/null; do why=$(umount "$2" 2>&1) || fail busy "$why"; done; ok ;;
createvolume | deletevolume | listvolumes | getcapacity | mount) for options; do :; done; [ "$options" != - ] || options=$(cat) ;; # the last argument
*) echo '{"status": "Not supported"}'; exit ;;
esac
conf=${FLEXVOL_SETTINGS:-/etc/flexvol} own=${0%/*}; [ ! -d "$conf" ] || conf=$conf/${own##*/}.json
values=$(printf '%s' "$options" | jq -r --slurpfile conf "$conf" 'def of($k): .[$k] // "" | tostring; def our($k): of("flexvol/" + $k);
    @sh "root=\($conf[0].directory // "") rw=\(if of("kubernetes.io/readwrite") == "ro" then "ro" else "rw" end) folder=\(of("folder"))
    name=\(our("name")) id=\(our("id")) need=\(our("requiredBytes")) limit=\(our("limitBytes")) max=\(our("max")) token=\(our("token"))
    source=\(our("sourceVolume") + our("sourceSnapshot"))"' 2>&1) || fail invalid "the options, or $conf, cannot be read: $values"
eval "root=; $values"; need=${need:-0} limit=${limit:-0} max=${max:-0} # jq has quoted each value for the shell
[ -d "$root" ] || fail invalid "there is no folder \"$root\"; make one, and write {\"directory\": \"/its/path\"} to $conf"
bytes "$need" && bytes "$limit" && bytes "$max" || fail invalid "sizes and flexvol/max must be whole numbers of at most 15 digits"
case $1 in
createvolume)
    plain "$name" || fail invalid "a name has 1 to 128 letters, digits, dots, dashes, underscores, and begins with a letter or digit"
    [ -z "$source" ] || fail unsupported "this driver makes no copies"
    [ "$limit" = 0 ] || [ "$need" -le "$limit" ] || fail invalid "no size is at least $need and at most $limit"
    if [ ! -e "$root/$name" ]; then
        [ "$need" -le "$(room)" ] || fail exhausted "there is no room for $need bytes in $root"
        why=$(exec 2>&1; new=$(mktemp -d "$root/.new.XXXXXXXXXX") && mkdir -m 755 "$new/data.${new##*.}" && printf '%s\n' \
            "{\"id\": \"$name\", \"bytes\": $need, \"options\": {\"folder\": \"$name\"}}" >"$new/about" &&
            sync "$new/about" && mv -T "$new" "$root/$name" && sync "$root")
        [ -e "$root/$name" ] || fail "" "the volume cannot be made: $why" # a call that was faster is as good
    fi
    jq -ce --argjson need "$need" --argjson limit "$limit" '{status: "Success"} + . | select(.bytes >= $need and ($limit == 0 or
        .bytes <= $limit))' "$root/$name/about" 2>/dev/null || fail conflict "there is already $name, of another size or no volume" ;;
deletevolume)
    [ -n "$id" ] || fail invalid "no id is given"
    if plain "$id" && [ -f "$root/$id/about" ]; then # anything else is none of ours, and so gone already
        data=$(cd "$root/$id" && echo data.*) && ! grep -qF "/$data" /proc/self/mountinfo || fail busy "volume $id is mounted"
        why=$(mv -T "$root/$id" "$root/.gone.$id.$$" 2>&1) || fail "" "$why"
    fi
    find "$root" -maxdepth 1 -name '.new.*' -mmin +60 -exec rm -rf {} + 2>/dev/null # what cut-off calls left
    why=$(rm -rf --one-file-system "$root"/.gone.* 2>&1) || fail "" "$why"; ok ;;
listvolumes)
    [ -z "$token" ] || plain "$token" || fail invalid "no page begins after $token"
    (cd "$root" && find . -mindepth 2 -maxdepth 2 -path './[!.]*/about' -exec cat {} +) 2>/dev/null | jq -cs --arg after "$token" "
        ([$max, 1000] | map(select(. > 0)) | min) as \$most"' | map(select(.id > $after)) | sort_by(.id) |
        {status: "Success", volumes: .[:$most]} + if length > $most then {next: .[$most - 1].id} else {} end' ;;
getcapacity) ok "\"available\": $(room)" ;;
mount)
    plain "$folder" && [ -f "$root/$folder/about" ] && data=$(ls -d "$root/$folder"/data.*) || fail notFound "there is no volume \"$folder\""
    ! findmnt -M "$2" >/dev/null || { [ "$2" -ef "$data" ] && findmnt -nfo VFS-OPTIONS -M "$2" | grep -q "^$rw" && ok
        fail conflict "something else is mounted at $2"; }
    why=$(mount -o "bind,$rw" "$data" "$2" 2>&1) || { umount "$2" 2>/dev/null; fail "" "$why"; }; ok ;; # nothing half done
esac
