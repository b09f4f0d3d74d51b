//! Snapshots and clones of the example in Python: whole or not at all, and independent of what they were made of.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    time::{Duration, SystemTime},
};

use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use super::{Example, ids};

fn source(key: &str, of: &str, name: &str) -> serde_json::Value {
    json!({"flexvol/name": name, format!("flexvol/{key}"): of})
}

#[test]
fn a_snapshot_keeps_what_the_volume_held_and_a_volume_can_be_made_of_it() {
    let Some(example) = Example::python() else { return };
    example.ok("createvolume", &json!({"flexvol/name": "v", "flexvol/requiredBytes": "4096"}));
    let data = example.data("v");
    fs::write(data.join("file"), "then").unwrap();
    symlink("/etc/passwd", data.join("link")).unwrap();
    fs::hard_link(data.join("file"), data.join("same")).unwrap();
    fs::File::create(data.join("sparse")).unwrap().set_len(64 << 20).unwrap();
    std::os::unix::fs::chown(data.join("sparse"), Some(1234), Some(5678)).unwrap();

    let wish = json!({"flexvol/name": "s", "flexvol/id": "v"});
    let snapshot = example.ok("createsnapshot", &wish);
    assert_eq!((&snapshot["snapshot"], &snapshot["id"], &snapshot["ready"]), (&json!("s"), &json!("v"), &json!(true)));
    fs::write(data.join("file"), "now").unwrap();
    assert_eq!(example.ok("createsnapshot", &wish), snapshot, "asked for again it is the one there is");
    example.make("other");
    example.fails("createsnapshot", &json!({"flexvol/name": "s", "flexvol/id": "other"}), "conflict");
    example.fails("createsnapshot", &json!({"flexvol/name": "t", "flexvol/id": "nobody"}), "notFound");

    let clone = example.ok("createvolume", &source("sourceSnapshot", "s", "copy"));
    assert_eq!((&clone["bytes"], &clone["options"]), (&json!(4096), &json!({"folder": "copy"})));
    for id in ["s", "v"] {
        let (verb, key) =
            if id == "s" { ("deletesnapshot", "flexvol/snapshot") } else { ("deletevolume", "flexvol/id") };
        for _ in 0..2 {
            example.ok(verb, &json!({key: id}));
        }
    }
    let copy = example.data("copy");
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "then");
    assert_eq!(fs::read_link(copy.join("link")).unwrap().to_str(), Some("/etc/passwd"));
    let meta = |name: &str| fs::metadata(copy.join(name)).unwrap();
    assert_eq!(meta("file").ino(), meta("same").ino());
    assert_eq!((meta("sparse").uid(), meta("sparse").gid(), meta("sparse").len()), (1234, 5678, 64 << 20));
    assert!(meta("sparse").blocks() < 1024, "the copy of a hole takes room");
}

#[test]
fn a_clone_is_a_volume_of_its_own() {
    let Some(example) = Example::python() else { return };
    example.ok("createvolume", &json!({"flexvol/name": "v", "flexvol/requiredBytes": "4096"}));
    fs::write(example.data("v").join("file"), "then").unwrap();
    let clone = example.ok("createvolume", &source("sourceVolume", "v", "c"));
    assert_eq!(example.ok("createvolume", &source("sourceVolume", "v", "c")), clone);
    fs::write(example.data("c").join("file"), "changed").unwrap();
    assert_eq!(fs::read_to_string(example.data("v").join("file")).unwrap(), "then");
    for other in [json!({"flexvol/name": "c"}), source("sourceVolume", "c", "v"), source("sourceSnapshot", "v", "d")] {
        let answer = example.call("createvolume", &other);
        assert_eq!(
            answer["code"],
            if other["flexvol/name"] == "d" { "notFound" } else { "conflict" },
            "{other}: {answer}"
        );
    }
    let mut small = source("sourceVolume", "v", "small");
    small["flexvol/limitBytes"] = json!("4095");
    example.fails("createvolume", &small, "invalid");
    let mut two = source("sourceVolume", "v", "two");
    two["flexvol/sourceSnapshot"] = json!("s");
    example.fails("createvolume", &two, "invalid");
    assert_eq!(ids(&example.ok("listvolumes", &json!({}))["volumes"], "id"), ["c", "v"]);
}

#[test]
fn what_is_mounted_is_not_copied_and_what_is_copied_is_not_mounted() {
    let Some(example) = Example::python() else { return };
    example.make("v");
    example.ok("mount", &json!({"folder": "v"}));
    for (verb, wish) in [
        ("createsnapshot", json!({"flexvol/name": "s", "flexvol/id": "v"})),
        ("createvolume", source("sourceVolume", "v", "c")),
    ] {
        let words = example.fails(verb, &wish, "busy");
        assert!(words.contains("mounted"), "{words}");
    }
    example.ok("unmount", &json!({}));
    // Another call holds it, as one does that copies.
    let held = fs::File::open(example.folder.join("volumes/v")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    example.fails("mount", &json!({"folder": "v"}), "busy");
    example.fails("deletevolume", &json!({"flexvol/id": "v"}), "busy");
    drop(held);
    example.ok("mount", &json!({"folder": "v"}));
    example.ok("unmount", &json!({}));
    let left: Vec<_> = fs::read_dir(&example.folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 2, "what failed has left {left:?}");
}

/// A copy that a live call makes is not swept, though it looks as what a dead one left.
#[test]
fn only_what_nobody_holds_is_swept() {
    let Some(example) = Example::python() else { return };
    let half = example.folder.join(".new.half");
    fs::create_dir(&half).unwrap();
    // One that has just been made is not locked yet.
    example.make("new");
    assert!(half.is_dir());
    let held = fs::File::open(&half).unwrap();
    held.set_modified(SystemTime::now() - Duration::from_secs(3 * 3600)).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    example.make("a");
    assert!(half.is_dir());
    drop(held);
    example.make("b");
    assert!(!half.exists());
}

#[test]
fn snapshots_are_listed_by_pages_and_filters() {
    let Some(example) = Example::python() else { return };
    for volume in ["v", "w"] {
        example.make(volume);
    }
    for (name, volume) in [("s1", "v"), ("s2", "w"), ("s3", "v"), ("s4", "v")] {
        example.ok("createsnapshot", &json!({"flexvol/name": name, "flexvol/id": volume}));
    }
    let list = |options: serde_json::Value| {
        let answer = example.ok("listsnapshots", &options);
        (ids(&answer["snapshots"], "snapshot").join(" "), answer["next"].as_str().map(str::to_owned))
    };
    assert_eq!(list(json!({})), ("s1 s2 s3 s4".into(), None));
    assert_eq!(list(json!({"flexvol/id": "v", "flexvol/max": "2"})), ("s1 s3".into(), Some("s3".into())));
    assert_eq!(list(json!({"flexvol/id": "v", "flexvol/max": "2", "flexvol/token": "s3"})), ("s4".into(), None));
    assert_eq!(list(json!({"flexvol/snapshot": "s2"})), ("s2".into(), None));
    for nothing in [
        json!({"flexvol/snapshot": "nobody"}),
        json!({"flexvol/id": "../v"}),
        json!({"flexvol/snapshot": "s2", "flexvol/id": "v"}),
    ] {
        assert_eq!(list(nothing), (String::new(), None));
    }
}

#[test]
fn the_one_in_shell_makes_no_empty_volume_of_a_copy_that_it_cannot_make() {
    let Some(example) = Example::both().find(|example| example.file == "folders.sh") else { return };
    example.make("v");
    example.fails("createvolume", &source("sourceVolume", "v", "c"), "unsupported");
    example.fails("createvolume", &source("sourceSnapshot", "s", "c"), "unsupported");
    assert_eq!(ids(&example.ok("listvolumes", &json!({}))["volumes"], "id"), ["v"]);
}
