//! A volume deleted and another made over the same blocks: what the first tenant wrote reaches the second only where that was wished.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use super::home::Home;
use crate::{
    bed::{Bed, Manner},
    group::POOL,
    tools::{files, shell, text},
};

const MARKER: &str = "the secret of the first tenant";

/// Fills a volume with the marker, through its file system, until that is full.
fn filled(home: &Home, options: &[(&str, &str)]) {
    let source = home.source("ext4", "first", options);
    let pod = home.pod("first", &[("data", &source)]);
    home.bed.ok(["up", &pod]);
    home.exec("first", &format!("yes '{MARKER}' | dd of=/data/data/file bs=64k conv=fsync 2>/dev/null || sync"));
    home.bed.ok(["down", "first"]);
    home.assert_down();
}

/// Whether the marker is anywhere on that device.
fn holds(device: &str) -> bool {
    shell("echo 3 >/proc/sys/vm/drop_caches; if grep -aqF \"$2\" $1; then echo yes; fi", &[device, MARKER]) == "yes"
}

/// The second tenant's volume, over the same blocks; `true` if the marker is on its device.
fn reaches_the_next(home: &Home, options: &[(&str, &str)]) -> bool {
    // Else mke2fs itself discards what is there.
    let options = [options, &[("mkfsOptions", "-E nodiscard")]].concat();
    let source = home.source("ext4", "next", &options);
    let pod = home.pod("next", &[("data", &source)]);
    home.bed.ok(["up", &pod]);
    let found = holds(text(&home.vg.device("next")));
    home.bed.ok(["down", "next"]);
    home.deleted("next");
    found
}

/// On a disk that is slow to write, so that wiping takes several calls; one of them is killed.
#[test]
fn a_thick_volume_is_wiped_though_calls_die() {
    let Some(bed) = Bed::new() else { return };
    let Some((front, disk)) = bed.front(600, Manner::Slow(0)) else { return };
    let slow = text(&disk.device).to_owned();
    let vg = bed.group_over(vec![disk]);
    let home = Home::over(bed, vg);
    let options = [("create", "true"), ("size", "560m")];
    // Of a large volume only its end is filled, which is wiped last.
    let source = home.source("ext4", "first", &options);
    let pod = home.pod("first", &[("data", &source)]);
    home.bed.ok(["up", &pod]);
    let device = home.vg.device("first");
    shell(
        "yes \"$2\" | dd of=$1 bs=1M seek=500 count=50 iflag=fullblock conv=notrunc,fsync status=none",
        &[text(&device), MARKER],
    );
    home.bed.ok(["down", "first"]);

    // A step of wiping takes so long: some four of eighteen are done in a slice.
    front.becomes(Manner::Slow(3000));
    let notes = || files(&home.bed.sandbox.path().join("state/kubernetes.io~lvm/wipe"));
    let said = home.delete("first");
    assert_eq!(said["status"], "In progress", "{said}");
    let begun = std::fs::read_to_string(&notes()[0]).unwrap();
    home.fails(&["up", &pod], &["is being deleted"]);
    home.bed.ok(["down", "first"]);
    // Killed in the midst of the next slice: what it had done is done again, nothing before it.
    let id = format!("{{\"flexvol/id\":\"{}\"}}", home.vg.of("first"));
    let mut call = deleting(&home, &id);
    std::thread::sleep(Duration::from_secs(4));
    call.kill().unwrap();
    call.wait().unwrap();
    assert_eq!(std::fs::read_to_string(&notes()[0]).unwrap(), begun);
    assert!(holds(&slow), "it had come to the end already: {begun}");
    front.becomes(Manner::Slow(0));
    home.deleted("first");
    assert!(!holds(&slow), "on the disk");
    assert_eq!(notes(), Vec::<std::path::PathBuf>::new());
    assert!(!reaches_the_next(&home, &options));
    home.assert_forgotten();
}

/// The driver itself, so that it can be killed alone.
fn deleting(home: &Home, id: &str) -> Child {
    let exe = home.bed.sandbox.plugins().join("kubernetes.io~lvm/lvm");
    let mut command = std::process::Command::new(exe);
    command.args(["deletevolume", id]).envs(home.bed.env()).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn what_wipe_says_is_what_happens() {
    let Some(home) = Home::with_pool(&[200], 64) else { return };
    let disk = text(&home.vg.disks[0].device).to_owned();
    for (wipe, thin, on_disk, reaches) in [
        // Nothing is done: the search would find it, were it there.
        ("none", false, true, true),
        ("zero", false, false, false),
        ("discard", false, false, false),
        // The pool's blocks keep it until they are given to somebody, and are then zeroed.
        ("zero", true, true, false),
    ] {
        shell("if [ $(lvs --noheadings $1 | wc -l) -gt 1 ]; then lvs $1; exit 1; fi", &[&home.vg.name]);
        let mut options = vec![("create", "true"), ("size", "48m"), ("wipe", wipe)];
        options.extend(thin.then_some(("thinpool", POOL)));
        filled(&home, &options);
        assert!(holds(&disk), "{wipe}, thin: {thin}");
        home.deleted("first");
        // A thin one gives its blocks back, and LVM tells the disk.
        if !thin {
            assert_eq!(holds(&disk), on_disk, "{wipe}");
        }
        assert_eq!(reaches_the_next(&home, &options), reaches, "{wipe}, thin: {thin}");
    }
    home.assert_forgotten();
}
