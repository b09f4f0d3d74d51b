//! Two users of one volume on one node: together, one of them only reading, or one alone.

use std::{
    fs::{self, File},
    path::Path,
};

use flexvolume_csi::wire::csi::volume_capability::access_mode::Mode::{
    SingleNodeMultiWriter, SingleNodeReaderOnly, SingleNodeSingleWriter,
};
use tonic::Code::{AlreadyExists, FailedPrecondition, InvalidArgument};

use crate::{
    bed::Bed,
    flows::Flow,
    scripts::tool,
    volume::{block, mounted, refused},
};

#[test]
fn two_pods_see_the_same_and_one_goes_without_the_other() {
    for mut flow in Flow::all() {
        let name = flow.name;
        flow.stage();
        flow.publish("one");
        flow.publish("two");
        let [one, two] = ["one", "two"].map(|pod| flow.bed.target(pod).join("file"));
        fs::write(&one, "shared").unwrap();
        assert_eq!(fs::read_to_string(&two).unwrap(), "shared", "{name}");
        flow.unpublish("one");
        assert!(!flow.bed.target("one").exists(), "{name}");
        fs::write(&two, "still here").unwrap();
        flow.publish("one");
        assert_eq!(fs::read_to_string(&one).unwrap(), "still here", "{name}");
        flow.unpublish("two");
        flow.unpublish("one");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// Reading goes, writing does not, and neither do changes of the mount by who may write elsewhere.
#[track_caller]
fn assert_only_read(target: &Path, name: &str) {
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "shared", "{name}");
    let wrote = fs::write(target.join("file"), "lost").unwrap_err();
    assert_eq!(wrote.raw_os_error(), Some(30), "{name}: {wrote}");
    assert!(fs::write(target.join("new"), "").is_err(), "{name}");
    assert!(fs::remove_file(target.join("file")).is_err(), "{name}");
}

#[test]
fn read_only_beside_read_write_is_really_read_only() {
    for mut flow in Flow::all() {
        let name = flow.name;
        flow.stage();
        flow.publish("writer");
        let writer = flow.bed.target("writer").join("file");
        fs::write(&writer, "shared").unwrap();
        flow.bed.publish_read_only(&flow.volume, "reader").unwrap();
        flow.bed.publish_read_only(&flow.volume, "reader").unwrap();
        assert_only_read(&flow.bed.target("reader"), name);
        fs::write(&writer, "shared").unwrap();
        // Nor after another has come and gone, nor after a restart.
        flow.unpublish("writer");
        flow.publish("writer");
        assert_only_read(&flow.bed.target("reader"), name);
        flow.bed.restart();
        flow.bed.publish_read_only(&flow.volume, "reader").unwrap();
        assert_only_read(&flow.bed.target("reader"), name);
        flow.unpublish("reader");
        flow.unpublish("writer");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// By the access mode, and by the mount flag: a write fails as well.
#[test]
fn whoever_asks_for_reading_alone_cannot_write() {
    for mut flow in Flow::all() {
        let name = flow.name;
        flow.stage();
        flow.publish("writer");
        fs::write(flow.bed.target("writer").join("file"), "shared").unwrap();
        let mut flagged = flow.volume.clone();
        if let Some(flexvolume_csi::wire::csi::volume_capability::AccessType::Mount(mount)) =
            &mut flagged.capability.access_type
        {
            mount.mount_flags = vec!["ro".to_owned()];
        }
        flow.bed.publish(&flagged, "flagged").unwrap();
        assert_only_read(&flow.bed.target("flagged"), name);
        flow.unpublish("flagged");
        flow.unpublish("writer");
        flow.unstage();
        flow.bed.assert_clean();
        let mut reading = mounted(SingleNodeReaderOnly);
        reading.access_type.clone_from(&flow.volume.capability.access_type);
        let reader = flow.volume.used_as(reading);
        if flow.is_staged {
            flow.bed.stage(&reader).unwrap();
        }
        flow.bed.publish(&reader, "reader").unwrap();
        assert_only_read(&flow.bed.target("reader"), name);
        flow.unpublish("reader");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

#[test]
fn a_device_for_reading_is_read_only_or_refused() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let volume = bed.create("raw");
    let writer = volume.used_as(block(SingleNodeMultiWriter));
    bed.stage(&writer).unwrap();
    bed.publish(&writer, "writer").unwrap();
    refused(bed.publish_read_only(&writer, "reader"), FailedPrecondition, &["read-only"]);
    assert!(!bed.target("reader").exists());
    bed.unpublish(&writer, "writer").unwrap();
    bed.unstage(&writer).unwrap();
    bed.assert_clean();
    let reader = volume.used_as(block(SingleNodeReaderOnly));
    let staged = bed.stage(&reader);
    staged.unwrap();
    bed.publish(&reader, "reader").unwrap();
    let target = bed.target("reader");
    assert_eq!(tool("blockdev", &["--getro", target.to_str().unwrap()]).trim(), "1");
    assert!(File::options().write(true).open(&target).is_err() || fs::write(&target, "lost").is_err());
    bed.unpublish(&reader, "reader").unwrap();
    bed.unstage(&reader).unwrap();
    bed.assert_clean();
    // And afterwards it can be written to again.
    bed.stage(&writer).unwrap();
    bed.publish(&writer, "writer").unwrap();
    assert_eq!(tool("blockdev", &["--getro", bed.target("writer").to_str().unwrap()]).trim(), "0");
    bed.unpublish(&writer, "writer").unwrap();
    bed.unstage(&writer).unwrap();
    bed.assert_clean();
}

#[test]
fn one_user_alone_has_it() {
    for mut flow in Flow::all() {
        let name = flow.name;
        let mut alone = mounted(SingleNodeSingleWriter);
        alone.access_type.clone_from(&flow.volume.capability.access_type);
        flow.volume = flow.volume.used_as(alone);
        flow.stage();
        flow.publish("one");
        fs::write(flow.bed.target("one").join("file"), name).unwrap();
        for _ in 0..2 {
            refused(flow.bed.publish(&flow.volume, "two"), FailedPrecondition, &[]);
            assert!(!flow.bed.target("two").exists(), "{name}: something is left of the refusal");
            flow.bed.restart();
        }
        flow.publish("one");
        flow.unpublish("one");
        flow.publish("two");
        assert_eq!(fs::read_to_string(flow.bed.target("two").join("file")).unwrap(), name);
        refused(flow.bed.publish(&flow.volume, "one"), FailedPrecondition, &[]);
        flow.unpublish("two");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// Who has it alone has it alone, whatever the next one asks for; and who wants it alone does not get it beside another.
#[test]
fn one_user_alone_is_not_joined_by_one_who_asks_for_less() {
    for mut flow in Flow::all() {
        let name = flow.name;
        let used = |mode| {
            let mut capability = mounted(mode);
            capability.access_type.clone_from(&flow.volume.capability.access_type);
            flow.volume.used_as(capability)
        };
        let (alone, shared) = (used(SingleNodeSingleWriter), used(SingleNodeMultiWriter));
        flow.stage();
        flow.bed.publish(&alone, "one").unwrap();
        for _ in 0..2 {
            refused(flow.bed.publish(&shared, "two"), FailedPrecondition, &[]);
            assert!(!flow.bed.target("two").exists(), "{name}: something is left of the refusal");
            flow.bed.restart();
        }
        flow.bed.publish(&alone, "one").unwrap();
        flow.unpublish("one");
        flow.bed.publish(&shared, "two").unwrap();
        refused(flow.bed.publish(&alone, "one"), FailedPrecondition, &[]);
        flow.bed.publish(&shared, "three").unwrap();
        flow.unpublish("three");
        flow.unpublish("two");
        flow.bed.publish(&alone, "one").unwrap();
        flow.unpublish("one");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// `ls` says who has it, where the node has it and where its clients see it; and `down --all` leaves what is held, and says so.
#[test]
fn what_is_held_and_where_it_is_published_can_be_seen() {
    for mut flow in Flow::all() {
        let name = flow.name;
        flow.stage();
        flow.publish("one");
        let one = flow.bed.target("one").display().to_string();
        let rows = flow.bed.command.json(["ls"]);
        let rows = rows.as_array().unwrap();
        let showing: Vec<_> = rows.iter().filter(|row| row["targets"] == serde_json::json!([one])).collect();
        assert!(!showing.is_empty(), "{name}: {rows:?}");
        let held: Vec<_> = rows.iter().filter(|row| row["held"] == true).collect();
        assert_eq!(held.len(), usize::from(flow.is_staged), "{name}: {rows:?}");
        for row in held {
            assert!(
                Path::new(row["path"].as_str().unwrap()).is_dir() && row["state"] == "held (staged)",
                "{name}: {row}"
            );
        }
        let wide = flow.bed.command.ok(["-o", "wide", "ls"]);
        assert!(wide.contains("TARGETS") && wide.contains(&one), "{wide}");
        assert_eq!(wide.contains("held: by flexvol csi"), flow.is_staged, "{wide}");
        flow.unpublish("one");
        if flow.is_staged {
            let ran = flow.bed.command.run(["down", "--all"]);
            ran.fails(0, &["flexvol csi holds it, staged at ", "NodeUnstageVolume"]);
            assert!(ran.stdout.contains("nothing to take down but"), "{ran:?}");
            flow.publish("one");
            flow.unpublish("one");
        }
        flow.unstage();
        flow.bed.assert_clean();
    }
}

#[test]
fn one_user_alone_has_a_device() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let volume = bed.create("raw").used_as(block(SingleNodeSingleWriter));
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    bed.publish(&volume, "one").unwrap();
    refused(bed.publish(&volume, "two"), FailedPrecondition, &["one user alone"]);
    bed.restart();
    refused(bed.publish(&volume, "two"), FailedPrecondition, &["one user alone"]);
    bed.unpublish(&volume, "one").unwrap();
    bed.publish(&volume, "two").unwrap();
    bed.unpublish(&volume, "two").unwrap();
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
}

/// The same target twice is a no-op: one mount, and the driver is not called again.
#[test]
fn the_same_twice_is_done_once() {
    for mut flow in Flow::all() {
        let name = flow.name;
        flow.stage();
        flow.stage();
        flow.publish("one");
        let mounts = flow.bed.command.sandbox.mounts().unwrap();
        let calls = |flow: &Flow| flow.script.as_ref().map(|script| script.calls().unwrap().len());
        let before = calls(&flow);
        flow.publish("one");
        flow.stage();
        assert_eq!(flow.bed.command.sandbox.mounts().unwrap(), mounts, "{name}");
        assert_eq!(calls(&flow), before, "{name}: the driver was called again");
        // In another manner it is another wish.
        refused(
            flow.bed.publish_read_only(&flow.volume, "one"),
            AlreadyExists,
            &["; unpublish it there first (NodeUn"],
        );
        assert_eq!(flow.bed.command.sandbox.mounts().unwrap(), mounts, "{name}");
        flow.unpublish("one");
        flow.unpublish("one");
        flow.unstage();
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// A type of another kind, or no wish at all, is no use of a volume.
#[test]
fn a_volume_is_used_in_one_way_at_a_time() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let volume = bed.create("data");
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    let raw = volume.used_as(block(SingleNodeMultiWriter));
    for came in [bed.stage(&raw), bed.publish(&raw, "two")] {
        let status = came.unwrap_err();
        assert!(
            matches!(status.code(), FailedPrecondition | InvalidArgument | tonic::Code::AlreadyExists),
            "{status:?}"
        );
    }
    assert!(!bed.target("two").exists());
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    bed.stage(&raw).unwrap();
    let status = bed.publish(&volume, "two").unwrap_err();
    assert!(matches!(status.code(), FailedPrecondition | InvalidArgument), "{status:?}");
    assert!(!bed.target("two").exists());
    bed.unstage(&raw).unwrap();
    bed.assert_clean();
}
