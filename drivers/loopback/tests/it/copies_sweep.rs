//! Snapshots, clones and their first mounts killed before one effect after the other, and called again: each comes to the right end.

use flexvolume_testkit::killat::{Plan, Victim};

use crate::{
    bed::{Bed, text},
    copies::{clone, delete, delete_snapshot, in_small_slices, snapshot, uuid},
};

/// Kills a call at every `stride`-th effect (an odd number, so that odd and even ones come); `after` is told each time, and goes on from there.
fn sweep(bed: &Bed, call: &[&str], (stride, least): (usize, u64), after: impl Fn(u64)) {
    for at in (1..).step_by(stride) {
        let report = bed.traced(call, Plan::Kill { victim: Victim::Tree, at });
        after(at);
        if report.struck.is_none() {
            assert!(at > least, "the tracer sees {at} effects of {call:?}");
            break;
        }
    }
}

/// A snapshot and a clone of it, each killed and made again, or given up.
fn copies(bed: &Bed, stride: usize) {
    let (held, names) = (bed.held("v", "ext4"), bed.names());
    let whole = |id: &str, about: &str| {
        bed.finish(&clone("whole", id, "")).1.ok();
        assert_eq!(bed.held("whole", "ext4"), held, "{about}");
        bed.ask(&delete("whole")).ok();
    };
    let (call, drop) = (snapshot("s", "v"), delete_snapshot("s.snap"));
    sweep(bed, &[&call[0], &call[1]], (stride, 5), |at| {
        if at % 2 == 0 {
            bed.finish(&call).1.ok();
            whole("s.snap", &format!("a snapshot after {at}"));
        }
        bed.ask(&drop).ok();
        assert_eq!(bed.names(), names, "a snapshot after {at}");
    });
    bed.finish(&call).1.ok();
    let (with, copy, undo) = (bed.names(), clone("c", "s.snap", ""), delete("c"));
    sweep(bed, &[&copy[0], &copy[1]], (stride, 5), |at| {
        if at % 2 == 0 {
            bed.finish(&copy).1.ok();
            assert_eq!(bed.held("c", "ext4"), held, "a clone after {at}");
        }
        bed.ask(&undo).ok();
        assert_eq!(bed.names(), with, "a clone after {at}");
    });
    // Deleted in part: it is never offered again, and goes.
    sweep(bed, &[&drop[0], &drop[1]], (1, 3), |at| {
        let listed = bed.call(&["listsnapshots", "{}"]).ok().get("snapshots").as_array().unwrap().len();
        match listed {
            0 => assert_eq!(bed.ask(&copy).get("code"), "notFound"),
            _ => whole("s.snap", &format!("a deletion after {at}")),
        }
        bed.ask(&drop).ok();
        assert_eq!(bed.names(), names, "a deletion after {at}");
        bed.finish(&call).1.ok();
    });
    bed.assert_down("after all");
}

#[test]
fn copies_that_share_blocks_are_made_or_not() {
    let Some(bed) = Bed::on("xfs") else { return };
    bed.volume("v", "ext4", "16m", 2);
    copies(&bed, 3);
}

#[test]
fn copies_in_slices_are_made_or_not() {
    let Some(bed) = Bed::on("ext4") else { return };
    in_small_slices(&bed);
    bed.volume("v", "ext4", "32m", 12);
    copies(&bed, 3);
}

/// The second call of a copy, which goes on where the first ended.
#[test]
fn a_slice_that_is_cut_off_is_copied_again() {
    let Some(bed) = Bed::on("ext4") else { return };
    in_small_slices(&bed);
    bed.volume("v", "ext4", "64m", 20);
    let (held, call) = (bed.held("v", "ext4"), clone("c", "v", ""));
    for at in (1..).step_by(5) {
        assert_eq!(bed.ask(&call).get("status"), "In progress");
        let report = bed.traced(&[&call[0], &call[1]], Plan::Kill { victim: Victim::Tree, at });
        bed.finish(&call).1.ok();
        assert_eq!(bed.held("c", "ext4"), held, "after {at}");
        bed.ask(&delete("c")).ok();
        if report.struck.is_none() {
            break;
        }
    }
}

/// The first mount of a clone, in which its file system is given another UUID; and an attachment for reading alone.
fn first_mounts(fs_type: &str, size: &str, stride: usize) {
    let Some(bed) = Bed::on("xfs") else { return };
    bed.volume("v", fs_type, size, 2);
    let (held, place) = (bed.held("v", fs_type), bed.place("pod"));
    let (call, undo) = (clone("c", "v", ""), delete("c"));
    let (j, ro) = (bed.of_host("c", fs_type), bed.of_host("c", fs_type).read_only());
    bed.ask(&call).ok();
    let again = |about: &str| {
        assert_eq!(bed.held("c", fs_type), held, "{about}");
        assert_ne!(uuid(&bed.image("c")), uuid(&bed.image("v")), "{about}");
        bed.ask(&undo).ok();
        bed.ask(&call).ok();
    };
    sweep(&bed, &["mount", text(&place), &j.text()], (stride, 10), |at| {
        bed.unmount(&place).ok();
        bed.assert_down(fs_type);
        again(&format!("mount of {fs_type} after {at}"));
    });
    sweep(&bed, &["attach", &ro.text(), "node"], (stride, 10), |at| {
        bed.call(&["attach", &ro.text(), "node"]).ok();
        assert_ne!(uuid(&bed.image("c")), uuid(&bed.image("v")), "attach of {fs_type} after {at}");
        bed.call(&["detach", ro.name(), "node"]).ok();
        bed.assert_down(fs_type);
        again(&format!("attach of {fs_type} after {at}"));
    });
}

#[test]
fn the_first_mount_of_an_ext4_clone_dies() {
    first_mounts("ext4", "16m", 7);
}

#[test]
fn the_first_mount_of_an_xfs_clone_dies() {
    first_mounts("xfs", "300m", 23);
}

#[test]
fn the_first_mount_of_a_btrfs_clone_dies() {
    first_mounts("btrfs", "128m", 13);
}
