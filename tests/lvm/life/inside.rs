//! What a tenant writes into a volume is a tenant's: no volume group and no array that is found there is ever started.

use std::{fs, path::Path};

use super::home::Home;
use crate::{
    group::{lvm, report, targets},
    tools::{kernel_name, shell, text, tool},
};

/// A volume with an array of one disk in it, and one with a volume group, as tenants that are given a device may make them.
const KINDS: [&str; 2] = ["md", "pv"];

#[test]
fn no_array_and_no_group_is_started() {
    let Some(home) = Home::new(&[200]) else { return };
    never_started(&home);
}

/// Lets udev come to rest, where it runs.
fn settle() {
    shell("if [ -e /run/udev/control ]; then udevadm settle --timeout=100; fi", &[]);
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
        // On a disk that LVM looks at, then copied: it would not look into a volume.
        shell(
            "truncate -s 32M $2; loop=$(losetup --find --show $2)
             vgcreate -q tenant-$3 $loop; lvcreate -q -y -an -Zn -Wn -L 8m -n inner tenant-$3
             vgchange -q -an tenant-$3; dd if=$loop of=$1 bs=1M conv=fsync status=none; losetup -d $loop; rm $2",
            &[device, &format!("/tmp/{vg}.tenant"), vg],
        );
    }
    settle();
}

#[track_caller]
fn assert_nothing_started(home: &Home, about: &str) {
    let arrays = fs::read_to_string("/proc/mdstat").unwrap_or_default();
    assert!(!arrays.lines().any(|line| line.starts_with("md")), "{about}: {arrays}");
    let maps = tool("dmsetup", &["ls"]);
    assert!(!maps.contains("inner"), "{about}: {maps}");
    for volume in KINDS {
        let active = report("lvs", "lv_active,lv_dm_path", &home.vg.of(volume)).remove(0);
        if active["lv_active"] == "active" {
            let device = kernel_name(Path::new(&active["lv_dm_path"]));
            let holders = fs::read_dir(format!("/sys/class/block/{device}/holders")).unwrap();
            assert_eq!(holders.count(), 0, "{about}: {volume}");
        }
    }
}

/// The whole of it, whether udev runs or not.
pub fn never_started(home: &Home) {
    let Some(()) = targets(&["linear"]) else { return };
    let _ = tool("modprobe", &["-a", "md-mod", "raid1"]);
    // Twice: the second time new volumes are made over what the first left there, for nothing of it is wiped.
    for turn in ["first", "second"] {
        for kind in KINDS {
            let device = attach(home, kind);
            write(kind, &device, &home.vg.name);
            assert_nothing_started(home, &format!("{turn}: written"));
            detach(home, kind);
        }
        for kind in KINDS {
            attach(home, kind);
            assert_nothing_started(home, &format!("{turn}: attached again"));
            // Whoever has the device open for writing makes udev look at it again.
            shell(": >>$1", &[text(&home.vg.device(kind))]);
            settle();
            assert_nothing_started(home, &format!("{turn}: looked at again"));
            detach(home, kind);
        }
        let rebooted = home.reboot();
        settle();
        let sources = KINDS.map(|kind| home.source("ext4", kind, &[("create", "true"), ("size", "32m")]));
        let pod = home.pod("web", &[("md", &sources[0]), ("pv", &sources[1])]);
        home.fails(&["up", &pod], &["linux_raid_member", "LVM2_member"]);
        settle();
        assert_nothing_started(home, &format!("{turn}: up"));
        home.bed.ok(["down", &pod]);
        settle();
        assert_nothing_started(home, &format!("{turn}: down"));
        drop(rebooted);
        for kind in KINDS {
            home.deleted(kind);
        }
    }
    settle();
    assert_eq!(home.vg.volumes(), Vec::<String>::new());
}

/// A volume that the driver has nothing to do with, for comparison: does this machine start what it finds there?
pub fn starts_by_itself(home: &Home) -> bool {
    let device = home.vg.create("other", "32m", &[]);
    write("md", text(&device), &home.vg.name);
    lvm(["lvchange", "--activate", "n", &home.vg.of("other")]);
    lvm(["lvchange", "--activate", "y", &home.vg.of("other")]);
    settle();
    let arrays = fs::read_to_string("/proc/mdstat").unwrap_or_default();
    let array = arrays.lines().find_map(|line| line.split(' ').next().filter(|word| word.starts_with("md")));
    if let Some(array) = array {
        tool("mdadm", &["--stop", &format!("/dev/{array}")]);
    }
    let started = array.is_some();
    lvm(["lvremove", "--yes", &home.vg.of("other")]);
    started
}
