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

#[test]
fn a_volume_that_never_came_up_may_be_asked_for_anew() {
    let Some(bed) = Bed::with_drivers() else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let manifest = |size: &str| {
        let source = format!(
            "{{driver: flexvol.io/loopback, options: {{volumeID: v, size: {size}, create: \"true\", directory: {}}}}}",
            images.display()
        );
        bed.manifest("pod.yaml", &pod("web", &[("data", &source)]))
    };
    bed.run(["up", &manifest("many")]).fails(1, &["size", "many"]);
    let scratch = |size: &str| {
        let source = format!("{{driver: flexvol.io/tmpfs, options: {{size: {size}}}}}");
        bed.manifest("scratch.yaml", &pod("scratch", &[("s", &source)]))
    };
    bed.run(["up", &scratch("many")]).fails(1, &["size", "many"]);
    bed.ok(["up", &scratch("1m")]);
    bed.ok(["down", "scratch"]);
    bed.ok(["up", &manifest("16m")]);
    bed.run(["up", &manifest("32m")]).fails(4, &["size", "16m", "32m", "flexvol down"]);
    bed.ok(["down", "web"]);
    bed.assert_clean();
}
