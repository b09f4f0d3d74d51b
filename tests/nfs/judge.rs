//! The NFS driver, judged: whatever the judge demands of a driver that does all of that is done.

use std::fs;

use flexvol_tests::judged;
use serde_json::json;

use crate::{bed::Node, tools::text};

const DRIVER: &str = "kubernetes.io/nfs";

/// Calls that are killed in their middle are for the sweeps, which meet every point of them.
const KILLS: &str = "kill";

/// Judged by volumes that it makes, in a part of the whole: what is asked for, and of that what the driver has no part in.
fn fit(only: &[&str], not_its: &[&str]) {
    let Some(node) = Node::new() else { return };
    fs::create_dir(node.on_server("base")).unwrap();
    let exe = flexvolume_testkit::binary("nfs").unwrap();
    node.bed.ok(["install", exe.to_str().unwrap(), "--as", DRIVER]);
    let pool = json!({"server": "127.0.0.1", "share": text(&node.share.path), "base": "base"});
    let file = node.bed.sandbox.dir("settings").unwrap().join("kubernetes.io~nfs.json");
    fs::write(file, json!({"patience": 30, "pools": {"p": pool}}).to_string()).unwrap();

    let volume = json!({"create": {}, "bytes": 4 << 20});
    let chosen = judged::only(only, &[KILLS]);
    let report = judged::report(&volume, DRIVER, &chosen, &node.bed.sandbox, |args| node.bed.command(args));
    judged::assert_fit(&report, not_its);
    node.assert_down();
    let left = fs::read_dir(node.on_server("base")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), [".flexvol"]);
}

#[test]
fn it_attaches_and_mounts() {
    let attaching = ["attach", "isattached", "waitforattach", "mountdevice", "unmountdevice", "detach"];
    fit(&[&["init", "verbs"][..], &attaching, &["mount.", "unmount."]].concat(), &[]);
}

#[test]
fn it_keeps_what_is_written_and_leaves_nothing() {
    fit(&["data", "leftovers", "secrets", "together", "answer"], &[]);
}

#[test]
fn it_takes_every_option() {
    fit(&["options"], &[]);
}

#[test]
fn it_makes_volumes_and_copies_them() {
    fit(
        &["extensions", "provision", "snapshot", "clone", "capacity", "list", "health", "expand.", "modify"],
        &["extensions.block", "modify.all-or-nothing"],
    );
}
