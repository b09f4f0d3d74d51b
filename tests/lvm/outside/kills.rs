//! Machines killed outright while the driver works, and started again on the same disks. It loses no write that had ended, so
//! it is a smoke test; the cases about power cuts look for missing flushes.

use crate::{door::Door, tools::text};

/// What each machine begins with: the driver's state on one disk, the volume group on the other.
const BEGIN: &str = r#"
mkdir -p /mnt/state /mnt/data
[ -n "$(blkid /dev/vdb || true)" ] || mkfs.ext4 -q /dev/vdb
mount /dev/vdb /mnt/state
[ -n "$(blkid /dev/vda || true)" ] || vgcreate --quiet killed /dev/vda >&2
export FLEXVOL_STATE=/mnt/state/drivers FLEXVOL_RUN=/run/flexvol FLEXVOL_SETTINGS=/mnt/state/settings.json
id='"flexvol/id":"killed/data"'
wish='{"flexvol/name":"data","flexvol/requiredBytes":"33554432","volumegroup":"killed"}'
of_volume='"volumeID":"data","volumegroup":"killed"'
of_host='"kubernetes.io/fsType":"ext4","kubernetes.io/pvOrVolumeName":"pv","kubernetes.io/readwrite":"rw"'
options="{$id,$of_volume,$of_host}"
call() { # what is in progress is called until it is done
    while answer=$(/vm/bin/lvm "$@") && [ "$(jq -r .status <<<"$answer")" = "In progress" ]; do :; done
    [ "$(jq -r .status <<<"$answer")" = Success ] || { echo "$1: $answer" >&2; exit 1; }
}
up() {
    call createvolume "$wish"
    call attach "$options" node
    call mountdevice /mnt/data "$(jq -r .device <<<"$answer")" "$options"
}
"#;

const CREATE: &str = "echo creating; up; echo up";

const WRITE: &str = r#"
up
for n in $(seq 1 1000); do echo "line $n" >/mnt/data/$n; sync /mnt/data/$n /mnt/data; echo wrote $n; done
"#;

const DELETE: &str = r#"
up
for n in $(seq 1 20); do [ "$(cat /mnt/data/$n)" = "line $n" ]; done
call unmountdevice /mnt/data
call detach pv node
echo deleting
call deletevolume "{$id}"
echo deleted
"#;

const AFTER: &str = r#"
call deletevolume "{$id}"
lvs --noheadings -o lv_name killed
up
ls /mnt/data
"#;

#[test]
fn a_driver_goes_on_after_its_machine_was_killed() {
    let Some(door) = Door::new() else { return };
    let (group, state) = (door.disk("group", 128), door.disk("state", 32));
    let options = ["--disk", text(&group), "--disk", text(&state), "--cache", "none"];
    let begun = |script: &str| format!("{BEGIN}{script}");
    door.start(&options, &begun(CREATE)).cut_at("creating");
    door.start(&options, &begun(WRITE)).cut_at("wrote 20");
    door.start(&options, &begun(DELETE)).cut_at("deleting");
    assert_eq!(door.run(&options, &begun(AFTER)), "lost+found\n", "no volume is left, and the next one is empty");
}
