//! An mkfs that is cut off, for every file system: done again, while nothing that was handed out is ever formatted twice.

use std::fs;

use flexvolume_testkit::killat::{Plan, Victim};

use crate::bed::{Bed, read, text, write};

/// Kills everything at moments inside mkfs, spread over its length.
fn cut_off(fs_type: &str, moments: u64) {
    let Some(bed) = Bed::new() else { return };
    let place = bed.place("pod");
    let j = |n: u64| bed.j(&format!("v{n}")).of(fs_type);
    let whole = bed.traced(&["mount", text(&place), &j(0).text()], Plan::Count);
    let mkfs: Vec<u64> = whole.effects.iter().filter(|it| it.comm.starts_with("mkfs")).map(|it| it.n).collect();
    assert!(mkfs.len() > 3, "{:#?}", whole.effects);
    bed.unmount(&place).ok();
    let step = (mkfs.len() as u64).div_ceil(moments).max(1);
    for (n, at) in (1..).zip(mkfs.into_iter().step_by(usize::try_from(step).unwrap())) {
        let j = j(n);
        let args = ["mount", text(&place), &j.text()];
        let report = bed.traced(&args, Plan::Kill { victim: Victim::Tree, at });
        assert_eq!(report.struck, Some(at));
        bed.call(&args).ok();
        bed.assert_up(1, fs_type);
        write(&place.join("file"), fs_type);
        bed.unmount(&place).ok();
        bed.mount(&place, &j).ok();
        assert_eq!(read(&place.join("file")), fs_type, "formatted twice");
        bed.unmount(&place).ok();
        bed.assert_down(fs_type);
        fs::remove_file(bed.image(&format!("v{n}"))).unwrap();
    }
}

#[test]
fn mkfs_ext4_is_done_again() {
    cut_off("ext4", 20);
}

#[test]
fn mkfs_xfs_is_done_again() {
    cut_off("xfs", 12);
}

#[test]
fn mkfs_btrfs_is_done_again() {
    cut_off("btrfs", 12);
}
