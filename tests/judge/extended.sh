#!/bin/sh
# A driver that serves every extension there is and lies in at most one way: what stands for @LIE@ says in which.
# Volume NAME is v/NAME/image, an XFS in a file; a snapshot is s/NAME/image. Each comes and goes by one rename.
export LC_ALL=C
lie='@LIE@' state='@STATE@' root='@FOLDER@' verb=$1

ok() { printf '{"status": "Success"%s}\n' "${1:+, $1}"; exit 0; }
fail() { printf '{"status": "Failure", "code": "%s", "message": "%s"}\n' "$1" "$2"; exit 1; }
lies() { [ "$lie" = "$1" ]; }
mounted() {
    point=$1
    # The table has it spelt so.
    case $1 in *[!a-zA-Z0-9/_.~-]*) point=$(printf '%s' "$1" | sed -z 's/\\/\\134/g; s/ /\\040/g; s/\t/\\011/g; s/\n/\\012/g') ;; esac
    grep -qF " $point " /proc/self/mountinfo
}
plain() { case $1 in '' | [!a-zA-Z0-9]* | *[!a-zA-Z0-9._-]*) false ;; *) [ ${#1} -le 128 ] ;; esac; }

# What breaks if it is killed in its middle, once.
half() {
    lies "$1" || return 0
    mkdir "$state/half" 2>/dev/null || { rmdir "$state/half"; fail busy "half done"; }
    sleep 0.1
    rmdir "$state/half"
}

# The same question is answered when it comes for the second time.
progress() {
    lies progress || return 0
    mark=$state/asked-$(printf '%s' "$verb$options" | cksum | tr -d ' ')
    mkdir "$mark" 2>/dev/null && { echo '{"status": "In progress"}'; exit 0; }
    rmdir "$mark"
}

read_options() {
    options=$1
    [ "$options" != - ] || { lies extensions.stdin && fail invalid "no options"; options=$(cat); }
    words=$(printf '%s' "$options" | perl '@FLAT@' flexvol/name flexvol/requiredBytes flexvol/limitBytes flexvol/id flexvol/sourceVolume \
        flexvol/sourceSnapshot flexvol/snapshot flexvol/token flexvol/max kubernetes.io/pvOrVolumeName kubernetes.io/readwrite \
        volume) || fail invalid "the options are no JSON object"
    # Quoted, so that no value is read as code.
    eval "$words"
    name=$1 need=${2:-0} limit=${3:-0} id=$4 source=$5 from=$6 snapshot=$7 token=$8 max=${9:-0}
    shift 9
    pv=$1 ro=$2 volume=${id:-$3}
}

# The folder of the volume that the options name.
find_volume() {
    plain "$volume" && [ -d "$root/v/$volume" ] || fail notFound "there is no volume of that name"
    folder=$root/v/$volume image=$root/v/$volume/image
}

# Read from the kernel, since losetup misses some while others come and go.
devices_of() {
    grep -sxlF "$1" /sys/block/loop*/loop/backing_file | sed 's,/sys/block/\(.*\)/loop/.*,/dev/\1,'
}
attached() {
    device=$(devices_of "$image" | head -n 1)
    for _ in 1 2 3 4 5; do
        [ -z "$device" ] || return 0
        device=$(losetup -f --show "$image" 2>/dev/null)
    done
    [ -n "$device" ] || fail exhausted "no loop device"
}
# One that goes with its last mount may be on its way out: another one is due then.
lasting() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        attached
        [ "$(cat "/sys/block/${device#/dev/}/loop/autoclear" 2>/dev/null)" != 0 ] || return 0
        sleep 0.2
    done
    fail busy "the device goes with its last mount"
}
# Formatted once, to the end: until then the mark of its birth is there.
ready() {
    [ -e "$folder/raw" ] || return 0
    if lies kill.format; then rm "$folder/raw"; sleep 0.1; fi
    mkfs.xfs -q -f "$device" >/dev/null 2>&1 && rm -f "$folder/raw"
}
# A device that was found may have been on its way out.
mount_at() {
    for _ in 1 2 3 4 5; do
        attached
        ready && mount -o "nouuid,$2" "$device" "$1" 2>/dev/null && return 0
        sleep 0.1
    done
    let_go
    fail busy "mount failed"
}
# Unless somebody attached it by name it goes with its last mount.
let_go() { grep -qsxF "$image" "$state"/name-* || losetup -d "$device" 2>/dev/null; }

about() { printf '"id": "%s", "bytes": %s, "options": {"volume": "%s"}' "$1" "$(cat "$root/v/$1/bytes")" "$1"; }
create() {
    case $name in */not-the-drivers/made) lies provision.hostile-name && mkdir -p "$root/v/$name" ;; esac
    plain "$name" || fail invalid "no such name"
    lies provision.creates && ok
    lies provision.long-name && [ ${#name} -gt 100 ] && fail invalid "too long"
    if [ -d "$root/v/$name" ]; then
        have=$(cat "$root/v/$name/bytes")
        lies provision.conflict && ok "$(about "$name")"
        [ "$have" -ge "$need" ] && { [ "$limit" = 0 ] || [ "$have" -le "$limit" ]; } || fail conflict "it has $have bytes"
        lies provision.again || ok "$(about "$name")"
        name=$name-again
    fi
    half kill.createvolume
    new=$root/new.$$ bytes=$need of=
    mkdir "$new"
    if [ -n "$source" ]; then of=$root/v/$source; fi
    if [ -n "$from" ]; then of=$root/s/$from; lies clone.of-a-snapshot && of=$root/v/$(cat "$of/of"); fi
    if [ -n "$of" ]; then
        [ -d "$of" ] || { rmdir "$new"; fail notFound "there is no such source"; }
        cp --sparse=always "$of/image" "$new/image"
        [ ! -e "$of/raw" ] && ! lies clone.holds-the-same || : > "$new/raw"
        [ "$bytes" -ge "$(cat "$of/bytes")" ] || bytes=$(cat "$of/bytes")
    else
        : > "$new/raw"
    fi
    lies provision.size && [ "$limit" != 0 ] && bytes=$((bytes - 1))
    truncate -s "$bytes" "$new/image"
    echo "$bytes" > "$new/bytes"
    mv -T "$new" "$root/v/$name" || fail busy "somebody was faster"
    ok "$(about "$name")"
}
delete() {
    case $id in */not-the-drivers) lies provision.hostile-id && rm -rf "$root/v/$id" ;; esac
    if plain "$id" && [ -d "$root/v/$id" ]; then
        half kill.deletevolume
        # What was just unmounted goes in a moment.
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            [ -n "$(devices_of "$root/v/$id/image")" ] || break
            sleep 0.2
        done
        [ -z "$(devices_of "$root/v/$id/image")" ] || fail busy "it is in use"
        mv -T "$root/v/$id" "$root/gone.$$" 2>/dev/null
    else
        lies provision.deletes-again && fail notFound "there is no volume $id"
    fi
    rm -rf "$root"/gone.* "$root"/new.*
    ok
}

shot() {
    printf '{"status": "Success", "snapshot": "%s", "id": "%s", "bytes": %s, "created": "%s", "ready": %s}\n' \
        "$1" "$(cat "$root/s/$1/of")" "$(cat "$root/s/$1/bytes")" "$(cat "$root/s/$1/created")" "${2:-true}"
}
take() {
    plain "$name" || fail invalid "no such name"
    if ! plain "$id" || [ ! -d "$root/v/$id" ]; then
        lies snapshot.unknown && fail invalid "no volume"
        fail notFound "there is no volume of that id"
    fi
    if [ -d "$root/s/$name" ]; then
        [ "$(cat "$root/s/$name/of")" = "$id" ] || fail conflict "it is one of another volume"
        lies snapshot.creates || { shot "$name"; exit 0; }
        name=$name-again
        [ ! -d "$root/s/$name" ] || { shot "$name"; exit 0; }
    fi
    half kill.createsnapshot
    new=$root/new.$$
    cp -r --sparse=always "$root/v/$id" "$new"
    echo "$id" > "$new/of"
    date -u +%FT%TZ > "$new/created"
    mv -T "$new" "$root/s/$name" || fail busy "somebody was faster"
    if lies progress; then shot "$name" false; else shot "$name"; fi
    exit 0
}
drop() {
    lies snapshot.deletes-again && [ ! -d "$root/s/$snapshot" ] && fail notFound "there is no snapshot $snapshot"
    half kill.deletesnapshot
    lies snapshot.listed || ! plain "$snapshot" || rm -rf "${root:?}/s/$snapshot"
    ok
}

# Objects, one a line, as a page under that name.
page() {
    jq -cs --arg after "$token" --arg key "$1" --arg id "$2" --argjson most "$max" '
        map(select(.[$id] > $after)) | sort_by(.[$id]) | (if $most > 0 then $most else 1000 end) as $most |
        {status: "Success", ($key): .[:$most]} + if length > $most then {next: .[$most - 1][$id]} else {} end'
}
list() {
    lies list.pages && [ "$max" = 1 ] && token=
    lies list.pages && [ "$max" = 1 ] && { echo '{"status": "Success", "volumes": []}'; exit 0; }
    for one in "$root"/v/*; do
        [ ! -d "$one" ] || lies list.has-it || printf '{%s}\n' "$(about "${one##*/}")"
    done | page volumes id
}
shots() {
    lies snapshot.filters:id && id=
    lies snapshot.filters:snapshot && snapshot=
    lies snapshot.filters:nothing && [ -n "$snapshot" ] && [ ! -d "$root/s/$snapshot" ] && fail notFound "there is no snapshot $snapshot"
    for one in "$root"/s/*; do [ ! -d "$one" ] || shot "${one##*/}"; done |
        jq -c --arg of "$id" --arg one "$snapshot" 'del(.status) | select(($of == "" or .id == $of) and ($one == "" or .snapshot == $one))' |
        page snapshots snapshot
}

health() {
    if [ -z "$id" ]; then
        lies health.of-the-storage && ok '"condition": "inaccessible", "message": "it is gone"'
        ok '"condition": "ok"'
    fi
    lies health.unknown || find_volume
    case $lie in
    health.of-a-volume) ok '"condition": "dataLoss", "message": "it is gone"' ;;
    health.of-a-volume:degraded) ok '"condition": "degraded"' ;;
    full) ok '"condition": "degraded", "message": "the pool is nearly full; grow it"' ;;
    esac
    ok '"condition": "ok"'
}
modify() {
    find_volume
    odd=$(printf '%s' "$options" | jq -r 'keys - ["flexvol/id", "speed", "volume"] | join(" ")')
    [ -z "$odd" ] || lies modify.all-or-nothing || fail invalid "not known: $odd"
    ok
}

mount_stranger() {
    read_options "$2"
    find_volume
    [ -d "$1" ] || fail invalid "no directory"
    if mounted "$1"; then attached; else mount_at "$1" rw; fi
    let_go
    [ "$ro" != ro ] || mount -o remount,bind,ro "$1"
    ok
}
unmount_all() {
    lies unmount.shut-down && mounted "$1" && grep -F " $1 " /proc/self/mountinfo | grep -qF ' - xfs ' && ! stat "$1" >/dev/null 2>&1 && ok
    while mounted "$1"; do umount "$1" 2>/dev/null || fail busy "umount failed"; done
    ok
}
detach() {
    image=$(cat "$state/name-$1" 2>/dev/null) || ok
    for device in $(devices_of "$image"); do losetup -d "$device" 2>/dev/null; done
    # The kernel keeps a device for as long as somebody looks at it.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -n "$(devices_of "$image")" ] || { rm -f "$state/name-$1"; ok; }
        sleep 0.2
    done
    fail busy "the device stays"
}

mkdir -p "$root/v" "$root/s"
case $verb in
init)
    more= attach=false
    lies extensions.known && more=', "flying"'
    lies extensions.strangers && attach=true
    ok "\"capabilities\": {\"attach\": $attach}, \"extensions\": [\"staged\", \"local\", \"stdin\", \"block\", \"provision\",
        \"expand\", \"snapshot\", \"clone\", \"capacity\", \"list\", \"health\", \"modify\"$more]"
    ;;
attach)
    read_options "$2"
    find_volume
    lasting
    printf '%s\n' "$image" > "$state/name-$pv"
    ok "\"device\": \"$device\""
    ;;
isattached)
    read_options "$2"
    find_volume
    [ -n "$(devices_of "$image")" ] && ok '"attached": true'
    ok '"attached": false'
    ;;
waitforattach)
    read_options "$3"
    find_volume
    attached
    lies extensions.block && ok "\"device\": \"$image\""
    ok "\"device\": \"$device\""
    ;;
mountdevice)
    read_options "$4"
    find_volume
    how=rw
    lies extensions.staged && how=ro
    mounted "$2" || mount_at "$2" $how
    ok
    ;;
mount) mount_stranger "$2" "$3" ;;
unmount | unmountdevice) unmount_all "$2" ;;
detach) detach "$2" ;;
expandvolume)
    read_options "$2"
    progress
    find_volume
    half kill.expandvolume
    lies expand.grows && ok
    [ "$(cat "$folder/bytes")" -ge "$4" ] || { truncate -s "$4" "$image"; echo "$4" > "$folder/new"; mv "$folder/new" "$folder/bytes"; }
    for device in $(devices_of "$image"); do losetup -c "$device" 2>/dev/null; done
    ok "\"bytes\": $(cat "$folder/bytes")"
    ;;
expandfs) xfs_growfs -d "$4" >/dev/null 2>&1 || fail busy "it cannot grow"; ok ;;
createvolume) read_options "$2"; progress; create ;;
deletevolume) read_options "$2"; progress; delete ;;
createsnapshot) read_options "$2"; progress; take ;;
deletesnapshot) read_options "$2"; progress; drop ;;
modifyvolume) read_options "$2"; progress; modify ;;
listsnapshots) read_options "$2"; shots; exit ;;
listvolumes) read_options "$2"; list; exit ;;
getcapacity)
    lies capacity.answers && fail permission "nobody may know"
    ok "\"available\": $(df --output=avail -B1 "$root" | tail -n 1 | tr -d ' ')"
    ;;
gethealth) read_options "$2"; health ;;
esac
echo '{"status": "Not supported"}'
