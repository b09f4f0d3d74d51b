#!/bin/bash
# A FlexVolume driver for LVM as such drivers have always been written: bash and jq, a program for every question.
#
# It is the other side of a benchmark (`cargo xtask bench`) and no driver to use: it keeps no record that a crash leaves
# whole, formats what blkid does not know, and takes the word of a device's name for the volume.

# Which volume was attached under which name: detach is told nothing else.
STATE=/run/classic-lvm

success() {
    echo "{\"status\": \"Success\"$1}"
    exit 0
}

failure() {
    jq -c -n --arg message "$1" '{status: "Failure", message: $message}'
    exit 1
}

notsupported() {
    echo '{"status": "Not supported"}'
    exit 1
}

option() {
    echo "$JSON" | jq -r --arg key "$1" '.[$key] // empty'
}

# The volume that the options name.
getvolume() {
    VG=$(option volumegroup)
    LV=$(option volumeID)
    if [ -z "$VG" ] || [ -z "$LV" ]; then
        failure "volumegroup and volumeID must be given"
    fi
}

volumeexists() {
    if ! vgs --noheadings -o vg_name "$VG" >/dev/null 2>&1; then
        failure "there is no volume group $VG"
    fi
    if ! lvs --noheadings -o lv_name "$VG/$LV" >/dev/null 2>&1; then
        failure "there is no volume $VG/$LV"
    fi
}

isactive() {
    local active
    active=$(lvs --noheadings -o lv_active "$VG/$LV" 2>/dev/null | tr -d ' ')
    [ "$active" = active ]
}

getdevice() {
    DEVICE=$(lvs --noheadings -o lv_path "$VG/$LV" 2>/dev/null | tr -d ' ')
}

ismounted() {
    local found
    found=$(findmnt -n -o TARGET "$1" 2>/dev/null | head -n 1)
    [ "$found" = "$1" ]
}

init() {
    success ', "capabilities": {"attach": true}'
}

attach() {
    JSON=$1
    getvolume
    volumeexists
    if ! isactive; then
        if ! OUT=$(lvchange -ay "$VG/$LV" 2>&1); then
            failure "cannot activate $VG/$LV: $OUT"
        fi
    fi
    getdevice
    if [ ! -b "$DEVICE" ]; then
        failure "there is no device $DEVICE"
    fi
    mkdir -p "$STATE"
    echo "$VG $LV" >"$STATE/$(option kubernetes.io/pvOrVolumeName)"
    success ", \"device\": \"$DEVICE\""
}

isattached() {
    JSON=$1
    getvolume
    if isactive; then
        success ', "attached": true'
    fi
    success ', "attached": false'
}

waitforattach() {
    JSON=$2
    getvolume
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        getdevice
        if isactive && [ -b "$DEVICE" ]; then
            success ", \"device\": \"$DEVICE\""
        fi
        sleep 1
    done
    failure "$VG/$LV did not come"
}

mountdevice() {
    DIR=$1
    DEVICE=$2
    JSON=$3
    FSTYPE=$(option kubernetes.io/fsType)
    MODE=$(option kubernetes.io/readwrite)
    if ismounted "$DIR"; then
        success
    fi
    if [ ! -b "$DEVICE" ]; then
        failure "there is no device $DEVICE"
    fi
    FOUND=$(blkid -o value -s TYPE "$DEVICE")
    if [ -z "$FOUND" ]; then
        if ! OUT=$(mkfs -t "${FSTYPE:-ext4}" "$DEVICE" 2>&1); then
            failure "cannot format $DEVICE: $OUT"
        fi
    fi
    mkdir -p "$DIR"
    if ! OUT=$(mount -t "${FSTYPE:-ext4}" -o "${MODE:-rw}" "$DEVICE" "$DIR" 2>&1); then
        failure "cannot mount $DEVICE at $DIR: $OUT"
    fi
    success
}

unmountdevice() {
    DIR=$1
    if ! ismounted "$DIR"; then
        success
    fi
    if ! OUT=$(umount "$DIR" 2>&1); then
        failure "cannot unmount $DIR: $OUT"
    fi
    success
}

detach() {
    if [ ! -f "$STATE/$1" ]; then
        success
    fi
    read -r VG LV <"$STATE/$1"
    if isactive; then
        getdevice
        if [ -n "$(findmnt -n -S "$DEVICE" 2>/dev/null)" ]; then
            failure "$VG/$LV is mounted"
        fi
        if ! OUT=$(lvchange -an "$VG/$LV" 2>&1); then
            failure "cannot deactivate $VG/$LV: $OUT"
        fi
    fi
    rm -f "$STATE/$1"
    success
}

OP=$1
shift
case "$OP" in
init | attach | isattached | waitforattach | mountdevice | unmountdevice | detach) "$OP" "$@" ;;
*) notsupported ;;
esac
