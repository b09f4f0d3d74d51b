//! Cases that run on the host and start guests themselves: what a power cut leaves, and two machines on one wire.

mod kills;

use crate::{door::Door, tools::text};

#[test]
fn what_was_synced_outlives_a_power_cut() {
    let Some(door) = Door::new() else { return };
    let disk = door.disk("data", 64);
    let options = ["--disk", text(&disk), "--cache", "none"];
    let write = "mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt; echo kept >/mnt/file; sync; echo synced
                 while true; do echo lost >>/mnt/more; done";
    door.start(&options, write).cut_at("synced");
    // The journal is replayed, and the file system is whole.
    let read = "mount /dev/vda /mnt; cat /mnt/file; umount /mnt; e2fsck -fn /dev/vda >&2; echo clean";
    assert_eq!(door.run(&options, read), "kept\nclean\n");
}

#[test]
fn two_machines_talk_on_a_wire_of_their_own() {
    let Some(door) = Door::new() else { return };
    let serve = "while true; do echo hello from $(hostname) | busybox nc -l -p 7; done";
    let ask = "until busybox nc -w 60 right 7; do sleep 0.2; done; echo $(ls /sys/class/net)";
    let said = door.run(&["--beside", serve], ask);
    assert!(said.contains("left: hello from right\n"), "{said}");
    assert!(said.contains("left: eth0 lo\n"), "the wire is the only network: {said}");
}
