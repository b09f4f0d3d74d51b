//! What the kernel under these cases can do, by its own tools alone: without this, what else fails here says nothing of us.

use std::{fs, path::Path, process::Command};

use crate::{
    bed::Bed,
    group::{self, dmsetup, lvm, targets},
    tools::{run, shell, text, tool},
};

/// A disk's size in sectors.
fn sectors(device: &Path) -> u64 {
    tool("blockdev", &["--getsz", text(device)]).parse().unwrap()
}

/// A device by its table; it goes with the bed if it stands on one of its disks.
fn table(name: &str, table: &str) -> String {
    run(dmsetup().args(["create", name, "--table", table]));
    format!("/dev/mapper/{name}")
}

#[test]
fn volumes_are_made_grown_and_removed() {
    let Some(bed) = Bed::new() else { return };
    let vg = bed.group(&[64, 64]);
    let device = vg.create("data", "40m", &["--addtag", "flexvol.maker=lvm"]);
    tool("mkfs.ext4", &["-q", text(&device)]);
    let row = vg.row("data", "lv_size,lv_tags,lv_active");
    assert_eq!((row["lv_size"].as_str(), row["lv_tags"].as_str()), ("41943040", "flexvol.maker=lvm"));
    lvm(["lvextend", "--size", "100m", &vg.of("data")]);
    assert_eq!(sectors(&device), 100 << 11, "over both disks");
    lvm(["lvremove", "--yes", &vg.of("data")]);
    assert_eq!(vg.volumes(), Vec::<String>::new());
    assert!(!device.exists());
}

#[test]
fn thin_volumes_share_a_pool() {
    let Some(bed) = Bed::new() else { return };
    let Some(()) = targets(&["thin-pool", "thin"]) else { return };
    let vg = bed.group(&[128]);
    vg.pool("pool", "64m");
    let device = vg.thin("pool", "data", "1g");
    shell("printf marker | dd of=$1 bs=1M seek=512 conv=notrunc status=none && sync", &[text(&device)]);
    lvm(["lvcreate", "--yes", "--snapshot", "--name", "then", &vg.of("data")]);
    lvm(["lvchange", "--activate", "y", "--ignoreactivationskip", &vg.of("then")]);
    shell("printf another | dd of=$1 bs=1M seek=512 conv=notrunc status=none && sync", &[text(&device)]);
    let read = |device: &Path| shell("dd if=$1 bs=1M skip=512 count=1 status=none | tr -d '\\0'", &[text(device)]);
    assert_eq!((read(&device), read(&vg.device("then"))), ("another".into(), "marker".into()));
    let row = vg.row("pool", "data_percent,metadata_percent");
    assert!(row["data_percent"].parse::<f64>().unwrap() > 0.0, "{row:?}");
}

#[test]
fn a_snapshot_keeps_what_was() {
    let Some(bed) = Bed::new() else { return };
    let Some(()) = targets(&["snapshot"]) else { return };
    let vg = bed.group(&[64]);
    let device = vg.create("data", "16m", &[]);
    shell("printf marker | dd of=$1 conv=notrunc status=none && sync", &[text(&device)]);
    lvm(["lvcreate", "--yes", "--snapshot", "--size", "8m", "--name", "then", &vg.of("data")]);
    shell("printf another | dd of=$1 conv=notrunc status=none && sync", &[text(&device)]);
    assert_eq!(shell("head -c 6 $1", &[text(&vg.device("then"))]), "marker");
}

#[test]
fn a_disk_can_be_pulled_from_under_a_file_system() {
    let Some(bed) = Bed::new() else { return };
    let Some(()) = targets(&["linear", "error"]) else { return };
    let disk = bed.disk(16);
    let size = sectors(&disk.device);
    let name = bed.name("pulled");
    let device = table(&name, &format!("0 {size} linear {} 0", text(&disk.device)));
    tool("mkfs.ext4", &["-q", &device]);
    run(dmsetup().args(["suspend", "--nolockfs", "--noflush", &name]));
    run(dmsetup().args(["load", &name, "--table", &format!("0 {size} error")]));
    run(dmsetup().args(["resume", &name]));
    let read = Command::new("dd").args([&format!("if={device}"), "of=/dev/null", "iflag=direct", "count=1"]).output();
    assert!(!read.unwrap().status.success());
    // It stands on no disk any more, so nobody finds it there.
    run(dmsetup().args(["remove", &name]));
}

#[test]
fn writes_are_logged() {
    let Some(bed) = Bed::new() else { return };
    let Some(()) = targets(&["log-writes"]) else { return };
    let (disk, log) = (bed.disk(16), bed.disk(64));
    let name = bed.name("logged");
    let (on, to) = (text(&disk.device), text(&log.device));
    let device = table(&name, &format!("0 {} log-writes {on} {to}", sectors(&disk.device)));
    tool("mkfs.ext4", &["-q", &device]);
    run(dmsetup().args(["message", &name, "0", "mark", "formatted"]));
    run(dmsetup().args(["remove", &name]));
    // It begins with the magic number of the kernel's `dm-log-writes`.
    assert_eq!(shell("head -c 8 $1 | od -An -tx8 | tr -d ' '", &[to]), "006a736677736872");
}

#[test]
fn what_a_case_leaves_is_taken_away() {
    let Some(bed) = Bed::new() else { return };
    let Some(()) = targets(&["thin-pool", "thin", "snapshot"]) else { return };
    let devices = || run(dmsetup().args(["info", "--noheadings", "-c", "-o", "name"]));
    let vg = bed.group(&[128]);
    vg.pool("pool", "32m");
    vg.thin("pool", "one", "64m");
    let two = vg.create("two", "16m", &[]);
    lvm(["lvcreate", "--yes", "--snapshot", "--size", "8m", "--name", "then", &vg.of("two")]);
    tool("mkfs.ext4", &["-q", text(&two)]);
    tool("mount", &[text(&two), text(&bed.sandbox.dir("mounted").unwrap())]);
    // Suspended, as a command that was killed leaves it.
    run(dmsetup().args(["suspend", &format!("{}-one", vg.name)]));
    assert!(devices().contains(&vg.name));
    let (name, files): (_, Vec<_>) = (vg.name, vg.disks.into_iter().map(|disk| disk.file).collect());
    drop(bed);
    assert!(!devices().contains(&name), "{}", devices());
    assert!(files.iter().all(|file| !file.exists()));
    let left = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!left.contains(&name), "{left}");
    assert!(group::try_lvm(["vgs", &name]).status.code() != Some(0), "the group is gone with its disks");
}
