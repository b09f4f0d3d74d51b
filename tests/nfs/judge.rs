//! The NFS driver, judged: whatever the judge demands of a driver is done.

use std::fs;

use flexvol_tests::judged;
use serde_json::json;

use crate::bridged::{DRIVER, pooled};

/// Judged by volumes that it makes; in the end nothing is left. `not_its` is what the driver has no part in.
fn fit(asked: &[&str], not_its: &[&str]) {
    let Some(node) = pooled() else { return };
    let volume = json!({"create": {}, "bytes": 4 << 20});
    let chosen = judged::only(asked);
    let report = judged::report(&volume, DRIVER, &chosen, &node.bed.sandbox, |args| node.bed.command(args));
    judged::assert_fit(&report, not_its);
    node.assert_down();
    node.bed.assert_down();
    let left = fs::read_dir(node.on_server("base")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), [".flexvol"]);
}

/// It has no devices, so none can be lost beneath a file system, and does not announce `block`; whether something is attached nobody can
/// ask, for nothing ever is.
#[test]
fn volumes_are_attached_mounted_and_keep_bytes_alone() {
    let not_its = ["detach.undoes", "extensions.block", "isattached.true", "unmount.shut-down"];
    fit(&[judged::MOUNTS, judged::VALUES].concat(), &not_its);
}

/// A share has no file system to grow (`requiresFSResize` is false), and nothing of a volume can be changed but its size: `modify` is not announced.
#[test]
fn volumes_are_made_grown_copied_and_deleted() {
    fit(judged::VOLUMES, &["expandfs.again", "expandfs.grows", "modify.all-or-nothing"]);
}

#[test]
fn volumes_outlive_kills() {
    fit(&[judged::KILLS, judged::KILLS_OF_VOLUMES].concat(), &[]);
}
