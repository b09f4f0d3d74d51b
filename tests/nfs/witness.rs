//! Kubernetes' own FlexVolume host drives the NFS driver: the cold life of a share, from the first pod to the last.

#[path = "../it/witness/original.rs"]
#[allow(dead_code, reason = "the original, of which these cases ask for a part")]
mod original;

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::{bed::Node, tools::text};
use original::{Witness, persistent, pod};

const DRIVER: &str = "kubernetes.io/nfs";

#[test]
fn the_original_is_served() {
    let Some(node) = Node::new() else { return };
    let exe = flexvolume_testkit::binary("nfs").unwrap();
    node.bed.ok(["install", exe.to_str().unwrap(), "--as", DRIVER]);
    let Some(mut witness) = Witness::start(&node.bed) else { return };
    let found = witness.found(DRIVER);
    assert_eq!((&found["attachable"], &found["requiresFSResize"]), (&json!(false), &json!(false)));
    let source = json!({"driver": DRIVER, "options": {"server": "127.0.0.1", "share": text(&node.share.path)}});
    let volume = persistent("pv", 1 << 20, source);
    let ask = |who: &str| json!({"persistentVolume": volume, "pod": pod(who)});
    let gone = |who: &str| json!({"driver": DRIVER, "name": "pv", "uid": format!("uid-{who}")});
    for life in ["first", "second"] {
        let one = PathBuf::from(witness.word("setup", ask("one")));
        assert_eq!(witness.word("setup", ask("one")), text(&one), "asked twice");
        fs::write(one.join(life), "kept").unwrap();
        let two = PathBuf::from(witness.word("setup", ask("two")));
        assert_eq!(fs::read_to_string(two.join(life)).unwrap(), "kept", "one share, two pods");
        let own = node.mounts().into_iter().filter(|it| text(&it.point).contains("/shares/")).count();
        assert_eq!((own, node.mounts().len()), (1, 3));
        witness.ok("teardown", gone("one"));
        assert_eq!(fs::read_to_string(two.join(life)).unwrap(), "kept", "the other pod keeps it");
        drop(witness);
        witness = Witness::start(&node.bed).unwrap();
        witness.found(DRIVER);
        witness.ok("teardown", gone("two"));
        witness.ok("teardown", gone("two"));
        assert_eq!(node.mounts(), []);
        assert!(!one.exists() && !two.exists());
    }
}
