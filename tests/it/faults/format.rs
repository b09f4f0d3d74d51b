//! Fault 4: a format that is cut off, for a driver that attaches and leaves the rest to the host. It is done again where
//! that is safe; what holds data, or is not ours, is never formatted.

use std::{fs, path::PathBuf};

use flexvolume_testkit::killat::{Orphans, Plan, Victim};

use super::traced;
use crate::{
    bed::{Bed, pod},
    scripts::{attachable, image, tool},
};

const SIZE: u64 = 16;

/// A pod with one volume on `disk`, its driver `v/disk`.
struct Disk {
    bed: Bed,
    disk: PathBuf,
    file: String,
}

impl Disk {
    fn new() -> Option<Self> {
        let bed = Bed::new()?;
        let disk = bed.sandbox.path().join("disk");
        image(&disk, SIZE);
        bed.script("v/disk", attachable(&disk));
        let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/disk}")]));
        Some(Self { bed, disk, file })
    }

    fn up(&self) -> [&str; 4] {
        ["up", "--jobs", "1", &self.file]
    }

    fn down(&self) {
        self.bed.ok(["down", &self.file]);
        self.bed.assert_clean();
    }

    /// Kills `up` before its `at`-th effect.
    fn cut(&self, victim: Victim, at: u64) {
        let report = traced(&self.bed, &self.up(), Plan::Kill { victim, at }, Orphans::Await);
        assert_eq!(report.struck, Some(at));
    }

    /// The numbers of the effects from just before mkfs to the mount of what it made, of a volume that was never up.
    fn formatting(&self) -> Vec<u64> {
        // The effects that make the ledger come once, and are not among those of the runs that are cut.
        self.bed.ok(["ls"]);
        let report = traced(&self.bed, &self.up(), Plan::Count, Orphans::Await);
        self.down();
        let of_mkfs = |it: &&flexvolume_testkit::killat::Effect| it.comm.starts_with("mkfs");
        let first = report.effects.iter().find(of_mkfs).expect("no mkfs was seen").n;
        let last = report.effects.iter().rfind(of_mkfs).unwrap().n;
        assert!(last - first > 4, "{:#?}", report.shape());
        // The intent is written just before, "formatted" just after.
        (first.saturating_sub(5)..=last + 6).collect()
    }

    /// As if nothing had ever been on it.
    fn blank(&self) {
        fs::remove_file(&self.disk).unwrap();
        image(&self.disk, SIZE);
    }

    fn check(&self, about: &str) {
        let disk = self.disk.to_str().unwrap();
        let said = tool("e2fsck", &["-fn", disk]);
        assert!(said.contains("files"), "{about}: {said}");
    }

    fn uuid(&self) -> String {
        tool("blkid", &["-p", "-o", "value", "-s", "UUID", self.disk.to_str().unwrap()])
    }
}

fn cut_anywhere(victim: Victim, every: usize) {
    let Some(disk) = Disk::new() else { return };
    for at in disk.formatting().into_iter().step_by(every) {
        let about = format!("{victim:?} at {at}");
        disk.blank();
        disk.cut(victim, at);
        let ran = disk.bed.run(disk.up());
        assert_eq!(ran.code, 0, "{about}: {ran:?}");
        fs::write(disk.bed.path_of("web", "data").join("file"), &about).unwrap();
        disk.down();
        disk.check(&about);
        let uuid = disk.uuid();
        disk.bed.ok(disk.up());
        assert_eq!(fs::read_to_string(disk.bed.path_of("web", "data").join("file")).unwrap(), about);
        disk.down();
        assert_eq!(disk.uuid(), uuid, "{about}: formatted once more");
    }
}

#[test]
fn a_format_cut_off_with_everything_is_done_again() {
    cut_anywhere(Victim::Tree, 3);
}

#[test]
fn a_format_whose_mkfs_is_killed_is_done_again() {
    cut_anywhere(Victim::Actor, 4);
}

/// Taken down instead of brought up again: the half-made file system must not pass for somebody's data next time.
#[test]
fn a_format_cut_off_and_taken_down_is_done_again_later() {
    let Some(disk) = Disk::new() else { return };
    for at in disk.formatting().into_iter().step_by(5) {
        disk.blank();
        disk.cut(Victim::Tree, at);
        disk.down();
        let ran = disk.bed.run(disk.up());
        assert_eq!(ran.code, 0, "at {at}: {ran:?}");
        disk.down();
        disk.check(&format!("at {at}"));
    }
}

/// Killed at any time while it comes up, a volume that holds data keeps it.
#[test]
fn what_holds_data_is_never_formatted() {
    let Some(disk) = Disk::new() else { return };
    disk.bed.ok(disk.up());
    fs::write(disk.bed.path_of("web", "data").join("file"), "kept").unwrap();
    disk.down();
    let uuid = disk.uuid();
    let count = traced(&disk.bed, &disk.up(), Plan::Count, Orphans::Await).count();
    disk.down();
    for at in (1..=count).step_by(7) {
        disk.cut(Victim::Tree, at);
        disk.bed.ok(disk.up());
        assert_eq!(fs::read_to_string(disk.bed.path_of("web", "data").join("file")).unwrap(), "kept", "at {at}");
        disk.down();
        assert_eq!(disk.uuid(), uuid, "at {at}");
    }
}

/// After a format was cut off, somebody put a file system of his own there: it is his, whatever our record says.
#[test]
fn a_file_system_with_another_uuid_is_refused_although_a_format_was_cut_off() {
    let Some(disk) = Disk::new() else { return };
    let formatting = disk.formatting();
    disk.blank();
    disk.cut(Victim::Tree, formatting[formatting.len() / 2]);
    tool("mkfs.ext4", &["-q", "-F", disk.disk.to_str().unwrap()]);
    let uuid = disk.uuid();
    let ran = disk.bed.run(disk.up());
    ran.fails(4, &["is not touched", "not the", "that the record names", "hint:"]);
    assert_eq!(disk.uuid(), uuid);
    disk.down();
}

/// A record of one volume's format under the name of another's decides nothing.
#[test]
fn the_record_of_another_volumes_format_is_refused() {
    let Some(disk) = Disk::new() else { return };
    let formatting = disk.formatting();
    disk.blank();
    disk.cut(Victim::Tree, formatting[formatting.len() / 2]);
    let formats = disk.bed.sandbox.root().join("formats");
    let record = fs::read_dir(&formats).unwrap().flatten().next().unwrap().path();
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("v/disk/", "v/else/")).unwrap();
    let ran = disk.bed.run(disk.up());
    ran.fails(4, &["belongs to other storage", "hint:"]);
    fs::write(&record, text).unwrap();
    disk.bed.ok(disk.up());
    disk.down();
}
