#!/bin/sh
# A CSI driver in shell: `flexvol csi` serves it as one, and every host of FlexVolume drivers can mount with it.
# A volume is a folder below the one that the setting "directory" names. Its size is remembered; nothing holds it to that.
# It needs jq, for a shell cannot read JSON: what `sed` finds is right until somebody orders or escapes it otherwise.
# Volume NAME is NAME/about, what is answered about it, and NAME/data.TOKEN, what a pod sees. It comes and goes by one rename.
export LC_ALL=C
ok() { echo '{"status": "Success"}'; exit; }
fail() { jq -cn --arg code "$1" --arg message "$2" '{status: "Failure", $message, $code} | map_values(select(. != ""))'; exit 1; }
plain() { case $1 in '' | [!a-zA-Z0-9]* | *[!a-zA-Z0-9._-]*) false ;; *) [ ${#1} -le 128 ] ;; esac; } # no /, no .., no newline
bytes() { case $1 in 0?* | *[!0-9]* | ????????????????*) false ;; esac; }
room() { df --output=avail -B1 "$root" | tail -n 1 | tr -d ' '; }
case $1 in
init)
    echo '{"status": "Success", "capabilities": {"attach": false, "supportsMetrics": true, "requiresFSResize": false},'
    echo '"extensions": ["local", "stdin", "provision", "list", "capacity"]}'; exit ;;
unmount) while mountpoint -q "$2"; do why=$(umount "$2" 2>&1) || fail busy "$why"; done; ok ;;
createvolume | deletevolume | listvolumes | getcapacity) options=$2 ;;
mount) options=$3 ;;
*) echo '{"status": "Not supported"}'; exit ;;
esac
[ "$options" != - ] || options=$(cat)
conf=${FLEXVOL_SETTINGS:-/etc/flexvol} own=${0%/*}
[ ! -d "$conf" ] || conf=$conf/${own##*/}.json
values=$(printf '%s' "$options" | jq -er --slurpfile conf "$conf" 'def of($key): .[$key] // "" | tostring; def our($key): of("flexvol/" + $key);
    @sh "root=\($conf[0].directory // "") rw=\(if of("kubernetes.io/readwrite") == "ro" then "ro" else "rw" end) folder=\(of("folder"))
    name=\(our("name")) id=\(our("id")) need=\(our("requiredBytes")) limit=\(our("limitBytes")) max=\(our("max")) token=\(our("token"))
    source=\(our("sourceVolume") + our("sourceSnapshot"))"' 2>&1) || fail invalid "the options, or $conf, cannot be read: $values"
eval "$values" # jq has quoted each value for the shell
[ -d "$root" ] || fail invalid "there is no folder \"$root\"; make one, and write {\"directory\": \"/its/path\"} to $conf"
case $1 in
createvolume)
    plain "$name" || fail invalid "a name has 1 to 128 letters, digits, dots, dashes, underscores, and begins with a letter or digit"
    bytes "$need" && bytes "$limit" && [ "${need:-0}" -le "${limit:-$need}" ] || [ "$limit" = 0 ] || fail invalid "no such size"
    [ -z "$source" ] || fail unsupported "this driver makes no copies"
    if [ ! -e "$root/$name" ]; then
        [ "${need:-0}" -le "$(room)" ] || fail exhausted "there is no room for $need bytes in $root"
        why=$(exec 2>&1; new=$(mktemp -d "$root/.new.XXXXXXXXXX") && mkdir -m 755 "$new/data.${new##*.}" && printf \
            '{"id": "%s", "bytes": %s, "options": {"folder": "%s"}}' "$name" "${need:-0}" "$name" >"$new/about" &&
            { mv -T "$new" "$root/$name" || rm -r "$new"; }) # where another call was faster, its volume is looked at
    fi
    jq -ce --argjson need "${need:-0}" --argjson limit "${limit:-0}" '{status: "Success"} + . |
        select(.bytes >= $need and ($limit == 0 or .bytes <= $limit))' "$root/$name/about" 2>/dev/null ||
        fail conflict "$root/$name is something else, or of another size${why:+; $why}" ;;
deletevolume)
    [ -n "$id" ] || fail invalid "no id is given"
    if plain "$id" && [ -f "$root/$id/about" ]; then # anything else is none of ours, and gone for good
        data=$(cd "$root/$id" && echo data.*) && ! grep -qF "/$data" /proc/self/mountinfo || fail busy "volume $id is mounted"
        why=$(mv -T "$root/$id" "$root/.gone.$id.$$" 2>&1) || fail "" "$why"
    fi
    why=$(rm -rf --one-file-system "$root"/.gone.* 2>&1) || fail "" "$why" # also what cut-off calls left
    find "$root" -maxdepth 1 -name '.new.*' -mmin +60 -exec rm -rf {} + 2>/dev/null; ok ;;
listvolumes)
    bytes "$max" && { [ -z "$token" ] || plain "$token"; } || fail invalid "there is no such page"
    (cd "$root" && find . -mindepth 2 -maxdepth 2 -path './[!.]*/about' -exec cat {} +) 2>/dev/null | jq -cs --arg after "$token" --argjson max "${max:-0}" '
        (if $max > 0 and $max < 1000 then $max else 1000 end) as $most | map(select(.id > $after)) | sort_by(.id) |
        {status: "Success", volumes: .[:$most]} + if length > $most then {next: .[$most - 1].id} else {} end' ;;
getcapacity) echo "{\"status\": \"Success\", \"available\": $(room)}" ;;
mount)
    plain "$folder" && data=$(ls -d "$root/$folder"/data.* 2>/dev/null) || fail notFound "there is no volume \"$folder\""
    if mountpoint -q "$2"; then
        [ "$2" -ef "$data" ] && [ "$(findmnt -nfo VFS-OPTIONS -M "$2" | cut -c 1-2)" = "$rw" ] && ok
        fail conflict "something else is mounted at $2"
    fi
    why=$(mount -o "bind,$rw" "$data" "$2" 2>&1) || { umount "$2" 2>/dev/null; fail "" "$why"; } # nothing stays half done
    ok ;;
esac
