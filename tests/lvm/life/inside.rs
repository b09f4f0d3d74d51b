//! What a tenant writes into a volume is a tenant's: no volume group and no array that is found there is ever started.

use std::{fs, path::Path};

use super::home::Home;
use crate::{
    bed,
    group::{lvm, report, targets},
    tools::{shell, text, tool},
};

/// A volume with an array of one disk in it, and one with a volume group, as tenants that are given a device may make them.
const KINDS: [&str; 2] = ["pv", "md"];

#[test]
fn no_array_and_no_group_is_started() {
    let Some(()) = bed::throwaway() else { return };
    let Some(home) = Home::new(&[200]) else { return };
    never_started(&home);
}

/// Where udev runs, it looks at every mapped device, and has come to rest. Of its own it would look a moment later.
fn settle() {
    let script = "if [ -e /run/udev/control ]; then
        # It waits for a device that has gone meanwhile for ever.
        timeout 60 udevadm trigger --settle --action=change --subsystem-match=block --sysname-match='dm-*' || [ $? = 124 ]
        udevadm settle --timeout=100
    fi";
    shell(script, &[]);
}

fn options<'a>(home: &Home, volume: &str, more: &[(&'a str, &'a str)]) -> String {
    let mut options = serde_json::json!({
        "volumeID": volume, "volumegroup": home.vg.name, "create": "true", "size": "32m", "wipe": "none",
        "kubernetes.io/fsType": "ext4", "kubernetes.io/readwrite": "rw",
        "kubernetes.io/pvOrVolumeName": format!("pv-{volume}"),
    });
    more.iter().for_each(|(key, value)| options[*key] = (*value).into());
    options.to_string()
}

#[track_caller]
fn attach(home: &Home, volume: &str) -> String {
    let said = home.call(&["attach", &options(home, volume, &[]), "node"]);
    assert_eq!(said["status"], "Success", "{said}");
    settle();
    said["device"].as_str().unwrap().to_owned()
}

#[track_caller]
fn detach(home: &Home, volume: &str) {
    let said = home.call(&["detach", &format!("pv-{volume}"), "node"]);
    assert_eq!(said["status"], "Success", "{said}");
    settle();
}

/// Writes into the device what a tenant would, by other devices over it.
fn write(kind: &str, device: &str, vg: &str) {
    if kind == "md" {
        shell(
            "mdadm --create /dev/md77 --run --metadata=1.2 --level=1 --force --raid-devices=1 $1 2>&1
             mdadm --stop /dev/md77 2>&1",
            &[device],
        );
    } else {
        // On a disk that LVM looks at, which would not look into a volume; there it may well be started.
        let file = format!("/tmp/{vg}.tenant");
        let make = "truncate -s 32M $1; loop=$(losetup --find --show $1)
             vgcreate -q tenant-$2 $loop; lvcreate -q -y -an -Zn -Wn -L 8m -n inner tenant-$2; echo $loop";
        let disk = shell(make, &[&file, vg]);
        settle();
        shell("vgchange -q -an tenant-$2; losetup -d $1", &[disk.lines().last().unwrap(), vg]);
        // What udev has started once it does not start again, unless that is forgotten.
        shell("rm -rf /run/lvm/*_online; dd if=$1 of=$2 bs=1M conv=fsync status=none; rm $1", &[&file, device]);
    }
    settle();
}

#[track_caller]
fn assert_nothing_started(home: &Home, about: &str) {
    let arrays = fs::read_to_string("/proc/mdstat").unwrap_or_default();
    assert!(!arrays.lines().any(|line| line.starts_with("md")), "{about}: {arrays}");
    let maps = tool("dmsetup", &["ls"]);
    assert!(!maps.contains("inner"), "{about}: {maps}");
    for row in report("lvs", "lv_name,lv_active,lv_kernel_major,lv_kernel_minor", &home.vg.name) {
        if row["lv_active"] == "active" {
            let device = format!("/sys/dev/block/{}:{}", row["lv_kernel_major"], row["lv_kernel_minor"]);
            let holders = fs::read_dir(Path::new(&device).join("holders")).unwrap();
            assert_eq!(holders.count(), 0, "{about}: {row:?}");
        }
    }
}

/// The whole of it, whether udev runs or not.
pub fn never_started(home: &Home) {
    let Some(()) = targets(&["linear"]) else { return };
    tool("modprobe", &["-a", "md-mod", "raid1"]);
    for kind in KINDS {
        let device = attach(home, kind);
        write(kind, &device, &home.vg.name);
        assert_nothing_started(home, &format!("{kind}: written"));
        detach(home, kind);
        attach(home, kind);
        assert_nothing_started(home, &format!("{kind}: attached again"));
        detach(home, kind);
    }
    let rebooted = home.reboot();
    settle();
    let sources = KINDS.map(|kind| home.source("ext4", kind, &[("create", "true"), ("size", "32m")]));
    let pod = home.pod("web", &[("md", &sources[0]), ("pv", &sources[1])]);
    home.fails(&["up", &pod], &["linux_raid_member", "LVM2_member"]);
    settle();
    assert_nothing_started(home, "up");
    home.bed.ok(["down", &pod]);
    settle();
    assert_nothing_started(home, "down");
    drop(rebooted);
    KINDS.iter().for_each(|kind| home.deleted(kind));
    // New ones over what those left there, for nothing of it is wiped.
    for kind in KINDS {
        attach(home, kind);
        assert_nothing_started(home, &format!("{kind}: made again"));
        detach(home, kind);
        home.deleted(kind);
    }
    assert_eq!(home.vg.volumes(), Vec::<String>::new());
}

/// A volume that the driver has nothing to do with, for comparison: does this machine start what it finds there?
pub fn starts_by_itself(home: &Home) -> bool {
    let device = home.vg.create("other", "32m", &[]);
    write("md", text(&device), &home.vg.name);
    let arrays = fs::read_to_string("/proc/mdstat").unwrap_or_default();
    let array = arrays.lines().find_map(|line| line.split(' ').next().filter(|word| word.starts_with("md")));
    // Stopped and emptied while nobody looks; else it is started again at once.
    tool("udevadm", &["control", "--stop-exec-queue"]);
    if let Some(array) = array {
        tool("mdadm", &["--stop", &format!("/dev/{array}")]);
    }
    shell("dd if=/dev/zero of=$1 bs=1M count=1 conv=fsync status=none", &[text(&device)]);
    tool("udevadm", &["control", "--start-exec-queue"]);
    settle();
    lvm(["lvremove", "--yes", &home.vg.of("other")]);
    array.is_some()
}
