//! NFS beside the old way, in a guest: a hundred pods on one share, by our driver and by a shell driver.

use super::guest;
use super::measure::{Figure, Mark, Row, Unit};
use anyhow::Result;
use std::path::Path;

/// The shell driver; its head says what it is.
const CLASSIC: &str = "tests/nfs/classic.sh";

/// A server and its one client on one machine: its share has files, its client nothing mounted.
const SCRIPT: &str = r#"
cp /vm/bin/nfs /tmp
mkdir -p /srv/settings /srv/plugins /srv/share
echo hello > /srv/share/hello
modprobe -a nfsd nfsv4
mount -t nfsd nfsd /proc/fs/nfsd
mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs
mkdir -p /var/lib/nfs/v4recovery
rpcbind -w
rpc.mountd
rpc.nfsd 8
echo Y > /proc/fs/nfsd/v4_end_grace
exportfs -o rw,no_root_squash,no_subtree_check,insecure,fsid=1 127.0.0.1:/srv/share
/tmp/flexvol install /tmp/nfs --as flexvol.io/ours > /dev/null
/tmp/flexvol install /tmp/classic --as flexvol.io/other > /dev/null
for side in ours other; do
    echo "apiVersion: v1
kind: PersistentVolume
metadata: {name: share}
spec:
  capacity: {storage: 1Mi}
  accessModes: [ReadWriteMany]
  claimRef: {namespace: default, name: share}
  flexVolume: {driver: flexvol.io/$side, options: {server: 127.0.0.1, share: /srv/share}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: share}
spec:
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: 1Mi}}" > /tmp/$side.yaml
    for pod in $(seq 100); do
        echo "---
apiVersion: v1
kind: Pod
metadata: {name: pod-$pod}
spec:
  containers: [{name: main, image: none, volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: share}}]" >> /tmp/$side.yaml
    done
done
/tmp/bench-helper nfs /tmp/flexvol /tmp/nfs /tmp/classic /srv/share /tmp
"#;

/// All; an error is a [`LeftOut`](super::measure::LeftOut) where there can be no guest.
pub(super) fn all(release: &Path) -> Result<Vec<Figure>> {
    let ground = guest::ground(release, CLASSIC)?;
    let mut heard = String::new();
    guest::run(&ground, Vec::new(), &[], SCRIPT, &mut heard)?;
    let row = |name, how, unit| Row { name, how, unit, mark: Mark::None };
    let rows = [
        row(
            "100 pods on one NFS share come",
            "In a guest without hardware virtualisation, which is the server too: `mount` of each pod as a host without the extension `staged` \
             calls it, one after another, by one caller. The other is a shell driver as such drivers are written, with bash and jq \
             (`tests/nfs/classic.sh`): it mounts the share for every pod by `mount -t nfs -o vers=4.2`, looks before and after, and \
             keeps no record.",
            Unit::Time,
        ),
        row("100 pods on one NFS share go", "`unmount` of each, in the same manner.", Unit::Time),
        row(
            "connections to the server of 100 pods",
            "TCP connections to port 2049 while they are there. The kernel lets all mounts of a server share one, whoever makes them.",
            Unit::Count,
        ),
        row(
            "its file systems on the node",
            "Superblocks, as the mount table numbers them: the kernel lets mounts of a share with the same options have one.",
            Unit::Count,
        ),
        row(
            "NFS mounts on the node",
            "Lines of the mount table. Ours are one of the server, made once, and a view of it for each pod, which the server is not asked for.",
            Unit::Count,
        ),
        row(
            "requests to the server as 100 pods come",
            "What the node's kernel has sent it meanwhile (`/proc/net/rpc/nfs`).",
            Unit::Count,
        ),
        row(
            "up of 100 pods with one NFS volume",
            "The same by our host: a PersistentVolume with a claim that 100 pods use, 8 at a time. Ours is staged: `attach`, `waitforattach` and \
             `mountdevice` once, and a bind by the host for each pod. The other is called with `mount` for each pod.",
            Unit::Time,
        ),
        row("down of 100 pods with one NFS volume", "And back.", Unit::Time),
    ];
    rows.iter().map(|row| row.figure(&heard)).collect()
}
