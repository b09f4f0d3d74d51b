//! Thick snapshots, which lose everything when they are full, and thick clones, which are copied in slices.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use flexvolume_testkit::driver::J;

use super::{
    copies::beside,
    hosted::{Hosted, Volume, fill, sum},
};
use crate::{
    group::lvm,
    tools::{shell, text, tool},
};

/// Each call works for a moment only, so that there are many.
const BRIEF: &str = r#"{"slice": 0.01}"#;

#[test]
fn a_snapshot_holds_until_it_overflows() {
    let Some(host) = Hosted::new(&[300], BRIEF) else { return };
    let volume = host.volume("db", "ext4", &[("size", "48m")]);
    let at = host.up(&volume);
    fill(&at, "before", 2000);
    let then = sum(&at);
    let good = host.snapshot("good", &volume, &[("snapshotSize", "100%")]);
    let full = host.snapshot("full", &volume, &[("snapshotSize", "4m")]);
    assert!(good.get("ready") == true && full.get("ready") == true);
    shell("head -c 8000000 /dev/urandom >$1/more; sync -f $1", &[text(&at)]);
    fill(&at, "after", 2000);

    let listed = host.done("listsnapshots", &J::default().with("flexvol/id", &volume.id));
    let ready: Vec<bool> = listed.get("snapshots").as_array().unwrap().iter().map(|one| one["ready"] == true).collect();
    assert_eq!(ready, [false, true], "in the order of their ids");
    let (condition, message) = host.health(Some(&volume));
    assert!(condition == "degraded" && message.contains("snap-full is lost"), "{condition}: {message}");
    let lost = J::default().with("flexvol/name", "c").with("flexvol/sourceSnapshot", &full.word("snapshot"));
    host.end_of("createvolume", &lost).fails("", &["is lost", "snapshotSize"]);

    // What has snapshots neither goes nor grows.
    let by_id = J::default().with("flexvol/id", &volume.id);
    host.end_of("deletevolume", &by_id).fails("busy", &[]);
    let grow = ["expandvolume", &volume.j.text(), text(&at), "67108864", "0"];
    host.call(&grow).fails("busy", &["thick snapshots"]);

    let clone = host.clone_of("old", ("flexvol/sourceSnapshot", &good.word("snapshot")), "ext4", &[]);
    beside(&host, &volume, &clone, &then);
    host.unsnapshot(&good);
    host.unsnapshot(&full);
    host.call(&grow).ok();
    for one in [&clone, &volume] {
        host.down(one);
        host.drop_volume(one);
    }
    host.assert_only(&[]);
}

#[test]
fn what_a_snapshot_kept_reaches_nobody() {
    let Some(host) = Hosted::new(&[100], BRIEF) else { return };
    for (wipe, left) in [("none", true), ("zero", false)] {
        let marker = format!("SECRET-{wipe}-{}", host.vg.name);
        let volume = host.volume(&format!("db-{wipe}"), "ext4", &[("size", "16m"), ("wipe", wipe)]);
        let device = host.device(&volume);
        shell("yes $2 | head -c 2000000 | dd of=$1 bs=1M seek=8 conv=fsync status=none", &[text(&device), &marker]);
        let snapshot = host.snapshot(wipe, &volume, &[("snapshotSize", "12m")]);
        // Now only the snapshot has it.
        shell("dd if=/dev/zero of=$1 bs=1M seek=8 count=2 conv=fsync status=none", &[text(&device)]);
        assert!(host.holds(&marker));
        host.unsnapshot(&snapshot);
        assert_eq!(host.holds(&marker), left, "wipe: {wipe}");
        host.detach(&volume.j).ok();
        host.drop_volume(&volume);
    }
    host.assert_only(&[]);
}

#[test]
fn a_clone_is_whole_while_its_source_is_written_to() {
    let Some(host) = Hosted::new(&[900], BRIEF) else { return };
    let volume = host.volume("db", "xfs", &[("size", "300m"), ("snapshotSize", "50%")]);
    let at = host.up(&volume);
    fill(&at, "before", 2000);
    let then = sum(&at);
    // What was there when it was first asked for counts, whatever is written meanwhile.
    let writer = "while [ -d $1 ] && [ ! -e $1/stop ]; do date >$1/noise; sync -f $1; sleep 0.1; done";
    let mut child = Command::new("sh").args(["-euc", writer, "sh", text(&at)]).stdin(Stdio::null()).spawn().unwrap();
    let clone = host.clone_of("c", ("flexvol/sourceVolume", &volume.id), "xfs", &[]);
    shell(": >$1/stop", &[text(&at)]);
    child.wait().unwrap();
    beside(&host, &volume, &clone, &then);
    assert_eq!(host.vg.volumes(), ["c", "db"], "the snapshot for the copy is gone");
}

#[test]
fn a_source_that_nobody_has_attached_has_no_device_afterwards() {
    let Some(host) = Hosted::new(&[300], BRIEF) else { return };
    let volume = host.volume("db", "ext4", &[("size", "40m")]);
    let at = host.up(&volume);
    fill(&at, "before", 100);
    let then = sum(&at);
    host.down(&volume);
    let clone = host.clone_of("c", ("flexvol/sourceVolume", &volume.id), "ext4", &[("size", "64m")]);
    assert!(!host.vg.is_active("db") && !host.vg.is_active("c"));
    assert_eq!(host.vg.row("c", "lv_size")["lv_size"], (64_u64 << 20).to_string());
    beside(&host, &volume, &clone, &then);
    let at = host.up(&clone);
    let room: u64 = shell("stat -f -c '%b %S' $1 | { read b s; echo $((b * s)); }", &[text(&at)]).parse().unwrap();
    assert!(room > 50 << 20, "{room}");
}

#[test]
fn a_copy_that_is_cut_off_goes_on() {
    let Some(host) = Hosted::new(&[300], BRIEF) else { return };
    let volume = host.volume("db", "ext4", &[("size", "64m")]);
    let device = host.device(&volume);
    shell("yes $2 | head -c 67108864 | dd of=$1 bs=1M iflag=fullblock conv=fsync status=none", &[text(&device), "x"]);
    let j = J::default().with("flexvol/name", "c").with("flexvol/sourceVolume", &volume.id);
    // Each is killed a little later than the one before; what LVM does for it meanwhile goes on.
    let mut patience = Duration::from_millis(50);
    let said = loop {
        let start = Instant::now();
        let mut child = host.command(&["createvolume", &j.text()]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while start.elapsed() < patience && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        child.wait().unwrap();
        patience = patience * 3 / 2;
        if patience > Duration::from_secs(8) {
            break host.done("createvolume", &j);
        }
    };
    let clone = Volume::of(&said, "");
    shell("cmp $1 $2", &[text(&device), text(&host.device(&clone))]);
    host.detach(&clone.j).ok();
    assert_eq!(host.vg.volumes(), ["c", "db"], "the snapshot for the copy is gone");
    assert!(!host.vg.tags("c").iter().any(|tag| tag.contains("state")));
    host.drop_volume(&clone);
    host.detach(&volume.j).ok();
    host.drop_volume(&volume);
    host.assert_only(&[]);
}

#[test]
fn a_copy_that_is_given_up_leaves_nothing() {
    let Some(host) = Hosted::new(&[300], BRIEF) else { return };
    let marker = format!("COPIED-{}", host.vg.name);
    let volume = host.volume("db", "ext4", &[("size", "64m")]);
    let device = host.device(&volume);
    shell(
        "yes $2 | head -c 67108864 | dd of=$1 bs=1M iflag=fullblock conv=fsync status=none",
        &[text(&device), &marker],
    );
    let j = J::default().with("flexvol/name", "c").with("flexvol/sourceVolume", &volume.id);
    let begun = host.call(&["createvolume", &j.text()]);
    assert_eq!(begun.get("status"), "In progress", "{begun:?}");
    host.call(&["createvolume", &j.with("flexvol/requiredBytes", "90000000").text()]).fails("conflict", &["size"]);
    // It is nobody's to use.
    let half = J::default().with("flexvol/id", &host.vg.of("c")).with("kubernetes.io/pvOrVolumeName", "pv-c");
    host.attach(&half).fails("notFound", &["not finished"]);
    let listed = host.done("listvolumes", &J::default());
    assert_eq!(listed.get("volumes").as_array().unwrap().len(), 1, "{listed:?}");
    assert_eq!(host.vg.volumes(), ["c", "copy-c", "db"]);
    host.end_of("deletevolume", &J::default().with("flexvol/id", &volume.id)).fails("busy", &[]);
    host.done("deletevolume", &J::default().with("flexvol/id", &host.vg.of("c")));
    assert_eq!(host.vg.volumes(), ["db"]);
    host.detach(&volume.j).ok();
    host.drop_volume(&volume);
    assert!(!host.holds(&marker));
    host.assert_only(&[]);
}

#[test]
fn a_copy_whose_snapshot_overflows_says_so_and_leaves_nothing() {
    let Some(host) = Hosted::new(&[300], BRIEF) else { return };
    let marker = format!("COPIED-{}", host.vg.name);
    let volume = host.volume("db", "ext4", &[("size", "64m")]);
    let device = host.device(&volume);
    let write = "yes $2 | head -c 67108864 | dd of=$1 bs=1M iflag=fullblock conv=fsync status=none";
    shell(write, &[text(&device), &marker]);
    let j = J::default().with("flexvol/name", "c").with("flexvol/sourceVolume", &volume.id);
    let begun = host.call(&["createvolume", &j.clone().with("snapshotSize", "4m").text()]);
    assert_eq!(begun.get("status"), "In progress", "{begun:?}");
    shell("dd if=/dev/urandom of=$1 bs=1M count=12 conv=fsync status=none", &[text(&device)]);
    // Told when nothing of it is left, and not before.
    host.end_of("createvolume", &j).fails("exhausted", &["snapshotSize"]);
    assert_eq!(host.vg.volumes(), ["db"]);
    // With no room for the snapshot nothing is begun.
    host.call(&["createvolume", &j.with("snapshotSize", "1000%").text()]).fails("exhausted", &[&host.vg.name]);
    assert_eq!(host.vg.volumes(), ["db"]);
    host.detach(&volume.j).ok();
    host.drop_volume(&volume);
    assert!(!host.holds(&marker));
    host.assert_only(&[]);
}

#[test]
fn an_origin_is_not_left_suspended() {
    let Some(host) = Hosted::new(&[200], BRIEF) else { return };
    let volume = host.volume("db", "ext4", &[("size", "16m")]);
    let at = host.up(&volume);
    fill(&at, "before", 10);
    // As a command leaves it that was torn off.
    let name = format!("{}-db", host.vg.name.replace('-', "--"));
    tool("dmsetup", &["suspend", "--nolockfs", &name]);
    let (condition, message) = host.health(Some(&volume));
    assert!(condition == "inaccessible" && message.contains("stands still"), "{condition}: {message}");
    let snapshot = host.snapshot("s", &volume, &[]);
    fill(&at, "after", 10);
    assert_eq!(host.health(Some(&volume)).0, "ok");
    host.unsnapshot(&snapshot);
    host.down(&volume);
    host.drop_volume(&volume);
    lvm(["vgck", &host.vg.name]);
}

/// In LVM's place: who asks `lvs` is stopped, once, before he learns the answer, which is old by the time he goes on. `$0.d` is its
/// folder.
const LATE: &str = r#"#!/bin/sh
/usr/sbin/lvm "$@"
status=$?
case $1 in lvs) if mkdir $0.d/held 2>/dev/null; then kill -STOP $PPID; fi ;; esac
exit $status
"#;

#[test]
fn a_snapshot_that_comes_while_its_volume_is_deleted_is_kept() {
    let Some(host) = Hosted::new(&[100], BRIEF) else { return };
    let volume = host.volume("db", "ext4", &[("size", "16m")]);
    let path = host.bed.sandbox.dir("path").unwrap();
    let dir = host.bed.sandbox.dir("path/lvm.d").unwrap();
    fs::write(path.join("lvm"), LATE).unwrap();
    fs::set_permissions(path.join("lvm"), Permissions::from_mode(0o755)).unwrap();
    let mut delete = host.command(&["deletevolume", &J::default().with("flexvol/id", &volume.id).text()]);
    delete.env("PATH", format!("{}:{}", text(&path), env::var("PATH").unwrap()));
    let mut delete = delete.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while !dir.join("held").exists() {
        assert!(start.elapsed() < Duration::from_secs(300) && delete.try_wait().unwrap().is_none(), "lvs is not asked");
        thread::sleep(Duration::from_millis(20));
    }
    // It was seen without snapshots, and is not marked yet.
    let snapshot = host.snapshot("s", &volume, &[("snapshotSize", "100%")]);
    shell("kill -CONT $1", &[&delete.id().to_string()]);
    let ran = delete.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
    assert!(said.contains(r#""busy""#) && said.contains("snap-s"), "{said}");
    assert!(!host.vg.tags("db").iter().any(|tag| tag.contains("state")), "it can be used still");
    host.unsnapshot(&snapshot);
    host.drop_volume(&volume);
    host.assert_only(&[]);
}

#[test]
fn what_is_half_made_or_parted_stays_inactive_at_boot() {
    let Some(host) = Hosted::new(&[400], BRIEF) else { return };
    let comes_up = |name: &str| !host.vg.row(name, "lv_autoactivation")["lv_autoactivation"].is_empty();
    host.vg.create("theirs", "4m", &["--activate", "n"]);
    assert!(comes_up("theirs"));
    let volume = host.volume("db", "ext4", &[("size", "96m")]);
    let snapshot = host.snapshot("s", &volume, &[("snapshotSize", "96m")]);
    let j = J::default().with("flexvol/name", "c").with("flexvol/sourceVolume", &volume.id);
    let half = host.call(&["createvolume", &j.text()]);
    let j = J::default().with("flexvol/snapshot", &snapshot.word("snapshot"));
    let parted = host.call(&["deletesnapshot", &j.text()]);
    assert!(half.get("status") == "In progress" && parted.get("status") == "In progress", "{half:?} {parted:?}");
    assert_eq!(host.vg.row("snap-s", "origin")["origin"], "");
    // A snapshot that has its volume still comes up with that alone.
    let up: Vec<&str> = ["db", "c", "snap-s"].into_iter().filter(|name| comes_up(name)).collect();
    assert!(up.is_empty(), "{up:?}");
}

#[test]
fn a_copy_that_was_never_begun_goes_at_once() {
    let Some(host) = Hosted::new(&[300], BRIEF) else { return };
    let volume = host.volume("db", "ext4", &[("size", "96m")]);
    // The snapshot for the copy cannot be taken, which shows only when the clone has been made.
    host.vg.create("copy-c", "4m", &["--activate", "n"]);
    let j = J::default().with("flexvol/name", "c").with("flexvol/sourceVolume", &volume.id);
    host.call(&["createvolume", &j.text()]).fails("conflict", &["copy-c"]);
    assert_eq!(host.vg.volumes(), ["copy-c", "db"]);
    lvm(["lvremove", "--yes", &host.vg.of("copy-c")]);
    host.drop_volume(&volume);
    host.assert_only(&[]);
}
