//! LVM beside the old way, in a guest: our driver and a shell driver by the same caller, and a restart with many volumes.

use super::guest;
use super::measure::{Figure, Mark, Row, Unit};
use crate::guest::{Cache, Disk, Ground};
use crate::sh;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The shell driver; its head says what it is.
const CLASSIC: &str = "tests/lvm/classic.sh";

/// How many volumes a machine comes up with.
const MANY: usize = 200;

const ONE: &str = r#"
mkfs.ext4 -q /dev/vdb; mount /dev/vdb /srv; mkdir /srv/settings
vgcreate --quiet bench /dev/vda
lvcreate --quiet --yes --size 64m --name volume bench
mkfs.ext4 -q /dev/bench/volume
lvchange --quiet -an bench/volume
/tmp/bench-helper lvm-one /tmp/lvm /tmp/classic bench volume
"#;

const PREPARE: &str = r#"
mkfs.ext4 -q /dev/vdb; mount /dev/vdb /srv; mkdir /srv/settings
vgcreate --quiet bench /dev/vda
for n in $(seq 0 $((MANY - 1))); do echo "lvcreate --quiet --yes --size 8m --name volume-$n bench"; done | lvm > /dev/null
for n in $(seq 0 $((MANY - 1))); do mkfs.ext4 -q /dev/bench/volume-$n; done
vgchange --quiet -an bench > /dev/null
for n in $(seq 0 $((MANY - 1))); do
    echo "---
apiVersion: v1
kind: Pod
metadata: {name: pod-$n}
spec:
  containers: [{name: main, image: none, volumeMounts: [{name: data, mountPath: /data}]}]
  volumes:
  - name: data
    flexVolume: {driver: flexvol.io/lvm, fsType: ext4, options: {volumeID: volume-$n, volumegroup: bench}}"
done > /srv/pods.yaml
mkdir -p /srv/plugins
/tmp/flexvol install /tmp/lvm --as flexvol.io/lvm > /dev/null
/tmp/flexvol up --jobs 8 /srv/pods.yaml > /dev/null
sync
"#;

const OURS_AGAIN: &str = r#"
mount /dev/vdb /srv
begin=$(date +%s.%N)
/tmp/flexvol up --jobs 8 /srv/pods.yaml > /dev/null
end=$(date +%s.%N)
test "$(grep -c ' /srv/root/pods/' /proc/self/mountinfo)" = "$MANY"
printf '%s LVM volumes after a reboot\tours\t%s\n' "$MANY" "$(echo "$begin $end" | awk '{ printf "%.9f", $2 - $1 }')"
/tmp/flexvol down --jobs 8 /srv/pods.yaml > /dev/null
test "$(dmsetup ls --target linear | grep -c ^bench)" = 0
sync
"#;

const OTHER_AGAIN: &str = r#"
/tmp/bench-helper lvm-many other /tmp/classic bench "$MANY"
"#;

/// Both; an error is a [`LeftOut`](super::measure::LeftOut) where there can be no guest.
pub(super) fn all(release: &Path) -> Result<Vec<Figure>> {
    let ground = guest::ground(release, CLASSIC)?;
    let disks = Disks::new()?;
    let row = |name, how, mark| Row { name, how, unit: Unit::Time, mark };
    let mut heard = String::new();
    in_guest(&ground, &[disks.blank("one", 256 << 20)?, disks.blank("state of one", 64 << 20)?], ONE, &mut heard)?;
    let (group, state) = (disks.blank("group", 4 << 30)?, disks.blank("state", 512 << 20)?);
    in_guest(&ground, &[group.clone(), state.clone()], PREPARE, &mut heard)?;
    // Each side finds the disks as a start leaves them, and nothing of them in memory.
    in_guest(&ground, &[group.clone(), state.clone()], OURS_AGAIN, &mut heard)?;
    in_guest(&ground, &[group, state], OTHER_AGAIN, &mut heard)?;
    let rows = [
        row(
            "an LVM volume comes and goes",
            "In a guest without hardware virtualisation: `attach`, `waitforattach`, `mountdevice`, `unmountdevice`, `detach` of a \
             volume with an ext4, called by one caller. The other is a shell driver as such drivers are written, with bash and jq \
             (`tests/lvm/classic.sh`): it activates, looks, mounts and deactivates as ours does, and keeps no lasting record.",
            Mark::Ratio(0.2),
        ),
        row("an LVM volume comes", "The first three of these calls.", Mark::None),
        row("an LVM volume goes", "The last two.", Mark::None),
        row(
            "200 LVM volumes after a reboot",
            "Once each, after a start of the guest of its own. Ours: the guest is started, and `flexvol up` brings up 200 pods with a volume each, 8 at a time, by the ledger from before. \
             The other is the first three calls of the shell driver for each of them, 8 at a time, without host or ledger.",
            Mark::None,
        ),
    ];
    rows.iter().map(|row| row.figure(&heard)).collect()
}

/// Files for disks, which go with this value.
struct Disks(PathBuf);

impl Disks {
    fn new() -> Result<Disks> {
        let dir = sh::target_dir()?.join("bench").join(format!("disks-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Disks(dir))
    }

    fn blank(&self, name: &str, bytes: u64) -> Result<Disk> {
        let file = self.0.join(name);
        let made = File::create_new(&file).and_then(|it| it.set_len(bytes));
        made.with_context(|| format!("cannot make {}", file.display()))?;
        Ok(Disk { file, cache: Cache::None })
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        // Raw files alone.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a script in a machine of its own, and keeps what it prints.
fn in_guest(ground: &Ground, disks: &[Disk], script: &str, heard: &mut String) -> Result<()> {
    let script = format!("cp /vm/bin/lvm /tmp\n{script}");
    guest::run(ground, disks.to_vec(), &[("MANY", MANY.to_string())], &script, heard)
}
