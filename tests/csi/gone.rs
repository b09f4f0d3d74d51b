//! What somebody took away, put in the way or never made: it is made anew or refused in words, and nothing of anybody's is lost.

use std::fs;

use flexvolume_csi::wire::csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};
use tonic::Code::{FailedPrecondition, NotFound};

use crate::{
    bed::Bed,
    flows::Flow,
    scripts::{tool, until},
    volume::refused,
};

/// The mounts beneath our own root: where volumes are held.
fn held(bed: &Bed) -> Vec<String> {
    let root = bed.command.sandbox.root();
    let mounts = bed.command.sandbox.mounts().unwrap();
    mounts.into_iter().filter(|it| it.point.starts_with(&root)).map(|it| it.point.display().to_string()).collect()
}

fn unmount(point: &str) {
    tool("umount", &[point]);
}

#[test]
fn a_stage_that_somebody_unmounted_is_made_anew() {
    for mut flow in Flow::all().filter(|flow| flow.is_staged) {
        let name = flow.name;
        flow.stage();
        flow.publish("one");
        fs::write(flow.bed.target("one").join("file"), "kept").unwrap();
        flow.unpublish("one");
        for restarted in [false, true] {
            for point in held(&flow.bed) {
                unmount(&point);
            }
            if restarted {
                flow.bed.restart();
            }
            flow.publish("one");
            assert_eq!(fs::read_to_string(flow.bed.target("one").join("file")).unwrap(), "kept", "{name}");
            flow.unpublish("one");
        }
        for point in held(&flow.bed) {
            unmount(&point);
        }
        flow.stage();
        flow.publish("one");
        assert_eq!(fs::read_to_string(flow.bed.target("one").join("file")).unwrap(), "kept", "{name}");
        flow.unpublish("one");
        for point in held(&flow.bed) {
            unmount(&point);
        }
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// One pod still has the volume while the global mount goes: another gets the same volume, not an empty directory.
#[test]
fn a_stage_that_goes_beneath_a_pod_is_the_same_volume_again() {
    for mut flow in Flow::all().filter(|flow| flow.is_staged) {
        let name = flow.name;
        flow.stage();
        flow.publish("one");
        fs::write(flow.bed.target("one").join("file"), "kept").unwrap();
        let globals: Vec<_> = held(&flow.bed).into_iter().filter(|point| !point.contains("/pods/")).collect();
        assert_eq!(globals.len(), 1, "{name}: {globals:?}");
        unmount(&globals[0]);
        flow.publish("two");
        for pod in ["one", "two"] {
            assert_eq!(fs::read_to_string(flow.bed.target(pod).join("file")).unwrap(), "kept", "{name}: {pod}");
        }
        fs::write(flow.bed.target("two").join("file"), "more").unwrap();
        assert_eq!(fs::read_to_string(flow.bed.target("one").join("file")).unwrap(), "more", "{name}");
        flow.unpublish("one");
        flow.unpublish("two");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// The device went with the mount: its driver is asked for it again, by whoever needs it next. Where a volume of a test beside this
/// one has its number by now, nobody can say whose that one's mounts are, so this is tried until it has gone, as clients do.
#[test]
fn a_device_that_was_taken_away_is_attached_anew() {
    let Some(mut flow) = Flow::staged() else { return };
    let file = flow.bed.target("one").join("file");
    flow.stage();
    flow.publish("one");
    fs::write(&file, "kept").unwrap();
    flow.unpublish("one");
    for staged_again in [false, true] {
        flow.bed.command.sandbox.unmount_all().unwrap();
        if staged_again {
            flow.bed.restart();
            until("it is staged again", || flow.bed.stage(&flow.volume).is_ok());
        }
        until("it is published again", || flow.bed.publish(&flow.volume, "one").is_ok());
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
        flow.unpublish("one");
    }
    flow.unstage();
    flow.bed.assert_clean();
}

#[test]
fn a_target_that_somebody_unmounted_is_made_anew_and_goes() {
    for mut flow in Flow::all() {
        let target = flow.bed.target("one");
        flow.stage();
        flow.publish("one");
        fs::write(target.join("file"), "kept").unwrap();
        unmount(target.to_str().unwrap());
        assert!(!target.join("file").exists());
        flow.publish("one");
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "kept", "{}", flow.name);
        unmount(target.to_str().unwrap());
        flow.unpublish("one");
        assert!(!target.exists(), "{}", flow.name);
        flow.publish("one");
        unmount(target.to_str().unwrap());
        fs::remove_dir(&target).unwrap();
        flow.unpublish("one");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

#[test]
fn what_a_target_needs_above_it_is_made() {
    for mut flow in Flow::all() {
        let target = flow.bed.target("deep/down/below");
        assert!(!target.parent().unwrap().exists());
        flow.stage();
        flow.publish("deep/down/below");
        assert_eq!(fs::write(target.join("file"), "here").ok(), Some(()), "{}", flow.name);
        flow.unpublish("deep/down/below");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// Files at a target belong to somebody: they are neither hidden nor removed.
#[test]
fn files_at_a_target_are_left_alone() {
    for mut flow in Flow::all() {
        let (name, target) = (flow.name, flow.bed.target("one"));
        flow.stage();
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join("theirs"), "precious").unwrap();
        let before = flow.bed.command.sandbox.mounts().unwrap();
        refused(flow.bed.publish(&flow.volume, "one"), FailedPrecondition, &["/mount is not empty"]);
        assert_eq!(flow.bed.command.sandbox.mounts().unwrap(), before, "{name}: left of what was refused");
        assert_eq!(fs::read_to_string(target.join("theirs")).unwrap(), "precious", "{name}");
        let came = flow.bed.unpublish(&flow.volume, "one");
        assert!(came.is_err(), "{name}: files are there, and it says that all is gone");
        assert_eq!(fs::read_to_string(target.join("theirs")).unwrap(), "precious", "{name}");
        fs::remove_file(target.join("theirs")).unwrap();
        flow.publish("one");
        flow.unpublish("one");
        // A file where the directory should be, a link that leads elsewhere.
        fs::write(&target, "a file").unwrap();
        assert!(flow.bed.publish(&flow.volume, "one").is_err(), "{name}");
        assert_eq!(fs::read_to_string(&target).unwrap(), "a file", "{name}");
        fs::remove_file(&target).unwrap();
        let elsewhere = flow.bed.command.sandbox.dir("elsewhere").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &target).unwrap();
        assert!(flow.bed.publish(&flow.volume, "one").is_err(), "{name}");
        assert!(flow.bed.unpublish(&flow.volume, "one").is_err(), "{name}");
        assert!(fs::read_link(&target).is_ok(), "{name}");
        fs::remove_file(&target).unwrap();
        flow.unpublish("one");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

#[test]
fn what_is_not_staged_cannot_be_published() {
    for mut flow in Flow::all().filter(|flow| flow.is_staged) {
        let refuse = |flow: &Flow| {
            refused(flow.bed.publish(&flow.volume, "one"), FailedPrecondition, &["not staged"]);
            let nowhere = NodePublishVolumeRequest {
                staging_target_path: String::new(),
                ..flow.bed.publish_request(&flow.volume, "one")
            };
            refused(flow.bed.client.node_publish_volume(nowhere), FailedPrecondition, &["staging_target_path"]);
            assert!(!flow.bed.target("one").exists(), "{}", flow.name);
        };
        refuse(&flow);
        flow.stage();
        flow.unstage();
        refuse(&flow);
        flow.bed.restart();
        refuse(&flow);
        flow.bed.assert_clean();
    }
}

#[test]
fn what_is_published_is_not_unstaged() {
    for mut flow in Flow::all().filter(|flow| flow.is_staged) {
        let (name, file) = (flow.name, flow.bed.target("one").join("file"));
        flow.stage();
        flow.publish("one");
        fs::write(&file, "kept").unwrap();
        for _ in 0..2 {
            let status = flow.bed.unstage(&flow.volume).unwrap_err();
            assert!(matches!(status.code(), FailedPrecondition | tonic::Code::Aborted), "{name}: {status:?}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "kept", "{name}");
            fs::write(&file, "kept").unwrap();
            flow.bed.restart();
        }
        flow.publish("two");
        flow.unpublish("one");
        assert!(flow.bed.unstage(&flow.volume).is_err(), "{name}");
        assert_eq!(fs::read_to_string(flow.bed.target("two").join("file")).unwrap(), "kept", "{name}");
        flow.unpublish("two");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// Nobody knows them: to take them away is to find them gone; to use them is to be told.
#[test]
fn volumes_that_are_not_there() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let nothing = bed.create("data");
    bed.delete(&nothing).unwrap();
    bed.unpublish(&nothing, "one").unwrap();
    bed.unstage(&nothing).unwrap();
    bed.delete(&nothing).unwrap();
    refused(bed.stage(&nothing), NotFound, &[]);
    refused(bed.publish(&nothing, "one"), FailedPrecondition, &["not staged"]);
    let strange = NodeUnpublishVolumeRequest {
        volume_id: "a/b/../c".to_owned(),
        target_path: bed.target("one").to_str().unwrap().to_owned(),
    };
    bed.client.node_unpublish_volume(strange).unwrap();
    bed.assert_clean();
}

/// A volume that is in use is not deleted.
#[test]
fn a_volume_in_use_is_not_deleted() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let volume = bed.create("data");
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    fs::write(bed.target("one").join("file"), "kept").unwrap();
    refused(bed.delete(&volume), FailedPrecondition, &[]);
    bed.unpublish(&volume, "one").unwrap();
    refused(bed.delete(&volume), FailedPrecondition, &[]);
    bed.unstage(&volume).unwrap();
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    assert_eq!(fs::read_to_string(bed.target("one").join("file")).unwrap(), "kept");
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    bed.delete(&volume).unwrap();
    bed.delete(&volume).unwrap();
    refused(bed.stage(&volume), NotFound, &[]);
    bed.assert_clean();
}
