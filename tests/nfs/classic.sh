#!/bin/bash
# A FlexVolume driver for NFS as such drivers have always been written: bash and jq, and a mount of the server's for every pod.
#
# It is the other side of a benchmark (`cargo xtask bench`) and no driver to use: it waits for a dead server for as long as the
# kernel does, and takes whatever is mounted at the directory for the volume.

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

init() {
    if ! command -v mount.nfs >/dev/null; then
        failure "there is no mount.nfs; install nfs-common"
    fi
    success ', "capabilities": {"attach": false}'
}

domount() {
    DIR=$1
    JSON=$2
    SERVER=$(option server)
    SHARE=$(option share)
    OPTIONS=$(option mountOptions)
    MODE=$(option kubernetes.io/readwrite)
    if [ -z "$SERVER" ] || [ -z "$SHARE" ]; then
        failure "server and share must be given"
    fi
    if mountpoint -q "$DIR"; then
        success
    fi
    mkdir -p "$DIR"
    if ! OUT=$(mount -t nfs -o "vers=4.2,nosuid,nodev,${MODE:-rw}${OPTIONS:+,$OPTIONS}" "$SERVER:$SHARE" "$DIR" 2>&1); then
        failure "cannot mount $SERVER:$SHARE at $DIR: $OUT"
    fi
    if ! mountpoint -q "$DIR"; then
        failure "$SERVER:$SHARE was mounted and is not at $DIR"
    fi
    success
}

dounmount() {
    DIR=$1
    if ! mountpoint -q "$DIR"; then
        success
    fi
    if ! OUT=$(umount "$DIR" 2>&1); then
        failure "cannot unmount $DIR: $OUT"
    fi
    success
}

OP=$1
shift
case "$OP" in
init) init ;;
mount) domount "$@" ;;
unmount) dounmount "$@" ;;
*) notsupported ;;
esac
