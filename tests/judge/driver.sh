#!/bin/sh
# A driver that does all that the contract demands, and lies in at most one way: what stands for @LIE@ says in which.
# It is `direct` (folders, bound) or `attached` (images on loop devices), and has a folder of its own.
kind='@KIND@' lie='@LIE@' state='@STATE@' net='@NET@' verb=$1

say() { printf '%s\n' "$1"; exit "${2:-0}"; }
success() { [ "$lie" = answer.one-json ] && [ "$verb" = mount ] && echo "mounted it" >&2; say '{"status": "Success"}'; }
fail() { say "{\"status\": \"Failure\", \"message\": \"$1\"}" 1; }
unsupported() { say '{"status": "Not supported"}'; }
lies() { [ "$lie" = "$1" ]; }

# What breaks if it is killed in its middle, once.
half() {
    mark=$state/half-$(printf '%s' "$1" | cksum | tr -d ' ')
    mkdir "$mark" 2>/dev/null || { rmdir "$mark"; fail "half done"; }
    sleep 0.1
    rmdir "$mark"
}

# Who finds that it began before and never ended does it.
anew() {
    if [ -e "$state/began" ]; then "$@"; fi
    : > "$state/began"
    sleep 0.1
}
# Also what is dead: looking at such a directory fails.
mounted() {
    point=$1
    # The table has it spelt so.
    case $1 in *[!a-zA-Z0-9/_.~-]*) point=$(printf '%s' "$1" | sed -z 's/\\/\\134/g; s/ /\\040/g; s/\t/\\011/g; s/\n/\\012/g') ;; esac
    grep -qF " $point " /proc/self/mountinfo
}
read_options() {
    words=$(printf '%s' "$1" | perl '@FLAT@' kubernetes.io/pvOrVolumeName folder kubernetes.io/readwrite check flexvolcheck.io/unknown \
        kubernetes.io/mounterArgs.FsGroup kubernetes.io/fsGroup kubernetes.io/secret/flexvol-check kubernetes.io/fsType) || {
        lies verbs.bad-options && say "usage: driver mount DIR JSON" 1
        fail "the options are no JSON object"
    }
    # Quoted, so that no value is read as code.
    eval "$words"
    name=$1 folder=$2 ro=$3 check=$4 unknown=$5 group=$6 old_group=$7 secret=$8 type=$9
}

# What an answer can have wrong is shown where the driver has to fail: without its option.
nothing() {
    case $lie in
    mount.all-or-nothing) mount -t tmpfs half "$dir" ;;
    options.base-only) success ;;
    answer.types) say '{"status": "Failure", "message": 7}' 1 ;;
    answer.status) say '{"status": "Failed", "message": "no folder"}' 1 ;;
    answer.exit) say '{"status": "Success"}' 3 ;;
    answer.crash) echo '{"status": "Failure", "message": "no folder"}'; kill -SEGV $$ ;;
    answer.in-time) exec sleep 60 ;;
    answer.held) sleep 5 & ;;
    answer.not-supported) unsupported ;;
    answer.failure-message) say '{"status": "Failure"}' 1 ;;
    answer.stdout) echo '{"status": "Failure", "message": "no folder"}' >&2; exit 1 ;;
    answer.keys) say '{"Status": "Failure", "message": "no folder"}' 1 ;;
    esac
    fail "the option folder is missing"
}

odd() {
    line='
'
    case $lie in
    options.unknown) [ -z "$unknown" ] || fail "what is flexvolcheck.io/unknown?" ;;
    options.fs-group-new) [ -z "$group" ] || fail "what is mounterArgs.FsGroup?" ;;
    options.fs-group-old) [ -z "$old_group" ] || fail "what is fsGroup?" ;;
    options.fs-group-both) [ -z "$group$old_group" ] || [ "$group$old_group" = 2000 ] || fail "which group?" ;;
    options.no-fs-type) [ -n "$type" ] || fail "no type" ;;
    options.blanks) case $check in *' '*) fail "a blank" ;; esac ;;
    options.quotes) case $check in *\"*) fail "a quote" ;; esac ;;
    options.lines) case $check in *"$line"*) fail "a line" ;; esac ;;
    options.unicode) printf '%s' "$check" | LC_ALL=C grep -q '[^ -~[:space:]]' && fail "strange letters" ;;
    options.large) [ ${#check} -lt 65536 ] || fail "too much" ;;
    options.injection) (eval "x=$check") >/dev/null 2>&1 ;;
    options.injection-own) (eval "x=$folder") >/dev/null 2>&1 ;;
    options.injection-type) (eval "x=$type") >/dev/null 2>&1 ;;
    esac
}

# What the directory is called.
strange() {
    line='
'
    part=${dir#*/flexvol-check-*/roots/}
    case $lie in
    paths.root) case $dir in */*/roots/*) fail "no pod's uid at its place" ;; esac ;;
    paths.unicode) printf '%s' "$dir" | LC_ALL=C grep -q '[^ -~[:space:]]' && fail "strange letters" ;;
    paths.quotes) case $dir in *\"*) fail "a quote" ;; esac ;;
    paths.shell) case $dir in *\$*) fail "a dollar" ;; esac ;;
    paths.lines) case $dir in *"$line"*) fail "a line" ;; esac ;;
    paths.dash) case $dir in */-*) fail "an option" ;; esac ;;
    paths.long) [ "$(printf '%s' "$part" | cut -d/ -f1 | wc -c)" -le 200 ] || fail "too long" ;;
    esac
}

secrets() {
    [ -n "$secret" ] || return 0
    case $lie in
    secrets.logs) printf 'mounting with %s\n' "$secret" >> "${0%/*}/log" ;;
    secrets.answer:unmount) printf '%s' "$secret" > "$state/secret" ;;
    secrets.argv) sh -c 'sleep 0.3' helper "$secret" ;;
    secrets.files) printf '%s' "$secret" > "$dir.secret" ;;
    secrets.injection) (eval "x=$(printf '%s' "$secret" | base64 -d)") >/dev/null 2>&1 ;;
    esac
}

mount_direct() {
    read_options "$2"
    [ -n "$folder" ] || nothing
    [ -d "$dir" ] || fail "$dir is no directory"
    odd
    strange
    secrets
    lies mount.mounts && success
    if mounted "$dir"; then
        lies mount.again && mount --bind "$folder" "$dir"
        success
    fi
    if lies together.volumes; then
        mkdir "$state/busy" 2>/dev/null || fail "another call is under way"
        sleep 0.2
        rmdir "$state/busy"
    fi
    if lies kill.mount; then
        half "$dir"
    fi
    lies kill.mount:data && anew rm -rf "${folder:?}"/.flexvol*
    lies data.kept && ! grep -q " $folder " /proc/self/mountinfo && rm -rf "${folder:?}"/.flexvol*
    lies leftovers.mounts && { mkdir -p "$state/own"; mount --bind "$folder" "$state/own"; }
    lies leftovers.processes && (cd "$dir/.." && setsid -f sleep 600 </dev/null >/dev/null 2>&1)
    lies leftovers.files && : > "$dir.file"
    if lies paths.blanks; then
        # The folder's name has none.
        (set -f; IFS=' 	'; mount --bind "$folder" $dir) 2>/dev/null || fail "mount failed"
    else
        mount --bind "$folder" "$dir" 2>/dev/null || fail "mount failed"
    fi
    rm -f "$state/began"
    lies paths.beside && chmod 777 "${dir%/*}"
    if lies paths.links && [ -n "$group$old_group" ]; then
        for file in "$dir"/.flexvol*; do chgrp "${group:-$old_group}" "$file" 2>/dev/null; done
    fi
    lies data.bytes && mount -o remount,bind,ro "$dir"
    [ "$ro" = ro ] && ! lies mount.read-only && mount -o remount,bind,ro "$dir"
    mkdir -p "$state/records"
    printf '%s\n' "$dir" >> "$state/records/all"
    lies secrets.answer && say "{\"status\": \"Success\", \"message\": \"with $secret\"}"
    # One answer, of which a part stands where nobody looks.
    if lies secrets.answer:stderr && [ -n "$secret" ]; then
        printf '{"status": "Success"'
        printf ', "message": "with %s"}' "$secret" >&2
        exit
    fi
    success
}

unmount_direct() {
    lies unmount.dead && ! mountpoint -q "$dir" && success
    known=no
    grep -qxF "$dir" "$state/records/all" 2>/dev/null && known=yes
    if ! mounted "$dir"; then
        lies unmount.again && [ $known = yes ] && [ -d "$dir" ] && fail "it is not mounted"
        lies unmount.never-mounted && [ $known = no ] && [ -d "$dir" ] && fail "it was never mounted"
        lies unmount.no-directory && [ ! -d "$dir" ] && fail "there is no such directory"
        success
    fi
    if lies kill.unmount; then
        half "$dir"
    fi
    if lies mount.two-pods; then
        while read -r other; do while mounted "$other"; do umount "$other" 2>/dev/null; done; done < "$state/records/all"
    fi
    if lies unmount.stacked; then
        umount "$dir" || fail "umount failed"
        success
    fi
    while mounted "$dir"; do umount "$dir" || fail "umount failed"; done
    lies unmount.undoes && : > "$dir/left"
    lies secrets.answer:unmount && say "{\"status\": \"Success\", \"message\": \"with $(cat "$state/secret" 2>/dev/null)\"}"
    success
}

# Read from the kernel, since losetup misses some while others come and go.
devices_of() {
    grep -sxlF "$1" /sys/block/loop*/loop/backing_file | sed 's,/sys/block/\(.*\)/loop/.*,/dev/\1,'
}
device_of() { devices_of "$1" | head -n 1; }

attach() {
    read_options "$1"
    lies attach.succeeds && fail "it cannot be attached"
    lies options.injection:attach && (eval "x=$check") >/dev/null 2>&1
    [ -n "$folder" ] || fail "the option folder is missing"
    if lies kill.attach; then
        half "$1"
    fi
    image=$folder/image
    if [ ! -e "$image" ]; then
        truncate -s 300M "$image.new" 2>/dev/null && mkfs.xfs -q -f "$image.new" >/dev/null 2>&1 || fail "no image can be made"
        mv "$image.new" "$image"
    fi
    device=$(device_of "$image")
    lies attach.again && device=
    [ -n "$device" ] || device=$(losetup -f --show "$image") || fail "no loop device"
    printf '%s' "$image" > "$state/name-$name"
    say "{\"status\": \"Success\", \"device\": \"$device\"}"
}

detach() {
    image=$(cat "$state/name-$1" 2>/dev/null)
    if [ -z "$image" ]; then
        lies detach.unknown && fail "nobody knows $1"
        success
    fi
    if lies kill.detach; then
        half "$1"
    fi
    devices=$(devices_of "$image")
    [ -n "$devices" ] || { lies detach.again && fail "it is not attached"; success; }
    lies leftovers.devices && { rm "$state/name-$1"; success; }
    for device in $devices; do losetup -d "$device" 2>/dev/null; done
    # The kernel keeps a device for as long as somebody looks at it.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -n "$(devices_of "$image")" ] || success
        sleep 0.2
    done
    fail "the device stays"
}

is_attached() {
    read_options "$1"
    lies isattached.true && success
    lies leftovers.devices && [ ! -e "$state/name-$name" ] && say '{"status": "Success", "attached": false}'
    [ -n "$(device_of "$folder/image")" ] && say '{"status": "Success", "attached": true}'
    lies detach.undoes && say '{"status": "Success", "attached": true}'
    say '{"status": "Success", "attached": false}'
}

wait_for_attach() {
    read_options "$2"
    device=$(device_of "$folder/image")
    lies waitforattach.device && success
    lies waitforattach.strange && [ "$1" != "$device" ] && exec sleep 60
    say "{\"status\": \"Success\", \"device\": \"$device\"}"
}

mount_device() {
    read_options "$3"
    lies mountdevice.mounts && success
    if mounted "$1"; then
        lies mountdevice.again && mount --bind "$1" "$1"
        success
    fi
    if lies kill.mountdevice; then
        half "$1"
    fi
    lies kill.mountdevice:data && anew mkfs.xfs -q -f "$2"
    lies options.injection-own:mountdevice && (eval "x=$folder") >/dev/null 2>&1
    if lies paths.blanks:device; then
        # The device's name has none.
        (set -f; IFS=' 	'; mount "$2" $1) 2>/dev/null || fail "mount failed"
    else
        mount "$2" "$1" 2>/dev/null || fail "mount failed"
    fi
    rm -f "$state/began"
    lies paths.beside:device && chmod 777 "${1%/*}"
    success
}

# The image grows, and whoever has it as a device is told.
expand_volume() {
    read_options "$1"
    [ "$(stat -c %s "$folder/image")" -ge "$3" ] || truncate -s "$3" "$folder/image"
    for device in $(devices_of "$folder/image"); do losetup -c "$device" 2>/dev/null; done
    success
}

expand_fs() {
    lies expandfs.again && [ "$4" = "$5" ] && fail "it is as large already"
    lies expandfs.grows && success
    xfs_growfs -d "$3" >/dev/null 2>&1 || fail "it cannot grow"
    success
}

unmount_device() {
    if ! mounted "$1"; then
        lies unmountdevice.again && fail "it is not mounted"
        success
    fi
    if lies kill.unmountdevice; then
        half "$1"
    fi
    lies unmount.shut-down:device && ! stat "$1" >/dev/null 2>&1 && success
    while mounted "$1"; do umount "$1" || fail "umount failed"; done
    lies unmountdevice.undoes && : > "$1/left"
    success
}

init() {
    attach=false
    [ "$kind" = attached ] && attach=true
    case $lie in
    init.answers) fail "not today" ;;
    init.capabilities) say '{"status": "Success", "capabilities": null}' ;;
    init.again)
        echo >> "$state/inits"
        [ $(($(wc -l < "$state/inits") % 2)) = 0 ] && say '{"status": "Success", "capabilities": {"attach": false, "fsGroup": false}}'
        ;;
    init.bare) [ -n "$HOME" ] || fail "HOME is not set" ;;
    init.offline) [ "$(readlink /proc/self/ns/net)" = "$net" ] || fail "no network" ;;
    esac
    say "{\"status\": \"Success\", \"capabilities\": {\"attach\": $attach}}"
}

case $verb in
init) init ;;
getvolumename) lies verbs.getvolumename && fail "it has no name"; unsupported ;;
esac
lies mount.mounts:nobody && unsupported
if [ "$kind" = attached ]; then
    case $verb in
    attach) attach "$2" ;;
    detach) detach "$2" ;;
    isattached) is_attached "$2" ;;
    waitforattach) wait_for_attach "$2" "$3" ;;
    mountdevice) mount_device "$2" "$3" "$4" ;;
    unmountdevice) unmount_device "$2" ;;
    expandvolume) expand_volume "$2" "$3" "$4" ;;
    expandfs) expand_fs "$2" "$3" "$4" "$5" "$6" ;;
    esac
else
    dir=$2
    case $verb in
    mount) mount_direct "$2" "$3" ;;
    unmount) unmount_direct ;;
    expandvolume | expandfs) unsupported ;;
    esac
fi
lies verbs.unknown && fail "unknown verb $verb"
unsupported
