//! A driver's whole life under the host: each kind of driver, each default, repeated and shared.

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

use crate::bed::{Bed, pod};

/// attach:false, a tmpfs per pod.
fn direct() -> Script {
    Script::sh()
        .on("init", Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}})))
        .on("mount", Answer::success().run(r#"mount -t tmpfs none "$2""#))
        .on("unmount", Answer::success().run(r#"umount "$2""#))
        .otherwise(Answer::failure("not for this driver"))
}

#[test]
fn a_direct_driver_is_called_for_nothing_but_mount_and_unmount() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.script("v/direct", direct());
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/direct, options: {a: b}}")]));
    bed.ok(["up", &file]);
    let path = bed.path_of("web", "data");
    assert!(flexvolume_linux::mount::table::at(&path).unwrap().is_some());
    bed.ok(["up", &file]);
    bed.ok(["down", &file]);
    bed.assert_clean();
    let verbs: Vec<_> = driver.verbs().unwrap().into_iter().filter(|verb| verb != "init").collect();
    assert_eq!(verbs, ["mount", "unmount"]);
    let calls = driver.calls().unwrap();
    let mount = calls.iter().find(|call| call.verb() == "mount").unwrap();
    assert_eq!(mount.argv[1], path.to_str().unwrap());
    let options: serde_json::Value = serde_json::from_str(&mount.argv[2]).unwrap();
    assert_eq!(options["a"], "b");
    assert_eq!(options["kubernetes.io/pod.name"], "web");
    assert_eq!(options["kubernetes.io/readwrite"], "rw");
    assert_eq!(options["kubernetes.io/pvOrVolumeName"], "data");
}
