//! The NFS driver, judged: whatever the judge demands of a driver that does all of that is done.

use std::fs;

use flexvol_tests::judged;
use serde_json::json;

use crate::{bed::Node, tools::text};

const DRIVER: &str = "kubernetes.io/nfs";

/// What is not asked of it.
const NOT_ITS: [&str; 0] = [];

#[test]
fn by_volumes_that_it_makes() {
    let Some(node) = Node::new() else { return };
    fs::create_dir(node.on_server("base")).unwrap();
    let exe = flexvolume_testkit::binary("nfs").unwrap();
    node.bed.ok(["install", exe.to_str().unwrap(), "--as", DRIVER]);
    let pool = json!({"server": "127.0.0.1", "share": text(&node.share.path), "base": "base"});
    let file = node.bed.sandbox.dir("settings").unwrap().join("kubernetes.io~nfs.json");
    fs::write(file, json!({"patience": 30, "pools": {"p": pool}}).to_string()).unwrap();

    let volume = json!({"create": {}, "bytes": 4 << 20});
    let report = judged::report(&volume, DRIVER, &node.bed.sandbox, |args| node.bed.command(args));
    judged::assert_fit(&report, &NOT_ITS);
    node.assert_down();
    let left = fs::read_dir(node.on_server("base")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), [".flexvol"]);
}
