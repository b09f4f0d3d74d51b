#!/bin/sh
# The first process of a guest: mounts what a system has, hands over to the agent in the shared folder, and powers off when that
# has ended. What a machine is to be comes as words of the kernel's command line that begin with `vm.`.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
mkdir -p /run/lock /run/lvm /run/rpcbind /run/rpc_pipefs

for word in $(cat /proc/cmdline); do
    case $word in
    vm.name=*) name=${word#*=} ;;
    vm.udev) udev=1 ;;
    vm.address=*) address=${word#*=} ;;
    vm.hosts=*) hosts=${word#*=} ;;
    esac
done

hostname "$name"
{
    echo "127.0.0.1 localhost"
    for pair in $(echo "$hosts" | tr , ' '); do echo "${pair%%=*} ${pair#*=}"; done
} >/etc/hosts
ip link set lo up
ln -sf /proc/self/mounts /etc/mtab

modprobe -q -a virtio_blk loop
if [ -n "$udev" ]; then
    /lib/systemd/systemd-udevd --daemon
    udevadm trigger --action=add
    udevadm settle --timeout=60
else
    # Nobody answers LVM's cookies, nobody makes its links: it shall do so itself.
    printf 'activation {\n udev_sync=0\n udev_rules=0\n}\ndevices {\n obtain_device_list_from_udev=0\n}\n' >/etc/lvm/lvmlocal.conf
fi

if [ -n "$address" ]; then
    modprobe virtio_net
    ip addr add "$address" dev eth0
    ip link set eth0 up
fi

mount -t virtiofs vm /vm || echo "guest: the shared folder cannot be mounted"
mkdir -p /vm/bin
mount -t virtiofs -o ro kit /vm/bin || echo "guest: the executables cannot be mounted"

for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = agent ] && agent=/dev/${port##*/}
done
cd /root
/vm/bin/xtask guest agent "$agent" </dev/null

sync
exec busybox poweroff -f
