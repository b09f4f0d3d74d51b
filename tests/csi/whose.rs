//! Whose a mount is: nothing is taken away that is not the volume's own, and nothing is detached that somebody lives on.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    thread,
    time::Duration,
};

use flexvolume_csi::wire::csi::{
    NodeGetVolumeStatsRequest, NodeUnpublishVolumeRequest, ProbeRequest,
    volume_capability::{
        AccessType,
        access_mode::Mode::{SingleNodeMultiWriter, SingleNodeSingleWriter},
    },
};
use flexvolume_testkit::{
    binary,
    hung::abort_at,
    scripted::{Answer, Script},
};
use tonic::Code::{Aborted, AlreadyExists, FailedPrecondition, NotFound, Unavailable};

use crate::{
    bed::Bed,
    command,
    flows::Flow,
    scripts::{self, tool, until},
    volume::{Came, Volume, block, map, mounted, refused},
};

fn unpublish_at(bed: &Bed, id: &str, target: &Path) -> Came {
    let request =
        NodeUnpublishVolumeRequest { volume_id: id.to_owned(), target_path: target.to_str().unwrap().to_owned() };
    bed.client.node_unpublish_volume(request).map(drop)
}

/// The global mount, where there is one.
fn global(bed: &Bed) -> String {
    let root = bed.command.sandbox.root().join("plugins");
    let mounts = bed.command.sandbox.mounts().unwrap();
    let point = mounts.into_iter().map(|it| it.point).find(|point| point.starts_with(&root)).unwrap();
    point.to_str().unwrap().to_owned()
}

#[test]
fn what_is_not_the_volumes_stays_where_it_is() {
    for mut flow in Flow::all() {
        let (name, target) = (flow.name, flow.bed.target("one"));
        flow.stage();
        flow.publish("one");
        fs::write(target.join("file"), "kept").unwrap();
        let kept = |when: &str| assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "kept", "{name}: {when}");
        // By another's id, known or not, and by one that cannot be.
        for id in ["other", "a/b/../c"] {
            refused(unpublish_at(&flow.bed, id, &target), FailedPrecondition, &["mounted at", "/mount"]);
            kept("another's id");
        }
        let full = |id: &str| {
            let volume_path = target.to_str().unwrap().to_owned();
            let volume_id = id.to_owned();
            let request = NodeGetVolumeStatsRequest { volume_id, volume_path, ..NodeGetVolumeStatsRequest::default() };
            flow.bed.client.node_get_volume_stats(request)
        };
        assert!(!full(&flow.volume.id).unwrap().usage.is_empty(), "{name}");
        refused(full("other"), NotFound, &["other"]);
        // Somebody else's mount, elsewhere and over ours.
        let theirs = flow.bed.target("two");
        fs::create_dir_all(&theirs).unwrap();
        for point in [&theirs, &target] {
            tool("mount", &["-t", "tmpfs", "theirs", point.to_str().unwrap()]);
            fs::write(point.join("theirs"), "precious").unwrap();
            refused(unpublish_at(&flow.bed, &flow.volume.id, point), FailedPrecondition, &["theirs (tmpfs)"]);
            assert_eq!(fs::read_to_string(point.join("theirs")).unwrap(), "precious", "{name}");
            tool("umount", &[point.to_str().unwrap()]);
        }
        kept("theirs has gone");
        flow.unpublish("one");
        // Nothing is there any more: to anybody who asks it is gone.
        for id in [&flow.volume.id, "other", "a/b/../c"] {
            unpublish_at(&flow.bed, id, &target).unwrap();
            unpublish_at(&flow.bed, id, &theirs).unwrap();
        }
        assert!(!theirs.exists(), "{name}");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// Pods live on what is left of it.
#[test]
fn what_pods_live_on_is_not_detached_though_its_mount_is_gone() {
    for mut flow in Flow::all().filter(|flow| flow.is_staged) {
        let (name, file) = (flow.name, flow.bed.target("one").join("file"));
        flow.stage();
        flow.publish("one");
        fs::write(&file, "kept").unwrap();
        tool("umount", &[&global(&flow.bed)]);
        for restarted in [false, true] {
            if restarted {
                flow.bed.restart();
            }
            refused(flow.bed.unstage(&flow.volume), FailedPrecondition, &["still published at", "one"]);
            fs::write(&file, "still here").unwrap();
        }
        flow.stage();
        assert_eq!(fs::read_to_string(&file).unwrap(), "still here", "{name}");
        flow.unpublish("one");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// Nor where it could not be made anew, whoever asks, and for whatever.
#[test]
fn what_cannot_be_made_anew_is_not_detached_beneath_a_pod() {
    let mounted = Answer::success().run(r#"mount -t tmpfs none "$2""#);
    let script = scripts::staged().on_each("mountdevice", [mounted.clone(), Answer::failure("not now"), mounted]);
    let Some((mut bed, driver)) = Bed::script(|_| script) else { return };
    let volume = Volume::named("data").of_any_type();
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    let file = bed.target("one").join("file");
    fs::write(&file, "kept").unwrap();
    tool("umount", &[&global(&bed)]);
    let status = bed.publish(&volume, "two").unwrap_err();
    assert!(status.message().contains("not now") && status.message().contains("stage it again"), "{status:?}");
    let another = Volume { context: map([("size", "larger")]), ..volume.clone() };
    refused(bed.stage(&another), FailedPrecondition, &["still mounted at", "one"]);
    refused(bed.unstage(&volume), FailedPrecondition, &["still published at"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    assert!(!driver.verbs().unwrap().contains(&"detach".to_owned()));
    assert_eq!(driver.verbs().unwrap().iter().filter(|verb| *verb == "attach").count(), 1, "a pod lives on it");
    bed.unpublish(&volume, "one").unwrap();
    bed.stage(&volume).unwrap();
    assert_eq!(driver.verbs().unwrap().iter().filter(|verb| *verb == "attach").count(), 2, "nobody does any more");
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
}

/// The node in `/dev` is gone, the one that a pod has is not.
#[test]
fn a_raw_device_that_cannot_be_looked_at_is_not_taken_for_unused() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let volume = bed.create("raw").used_as(block(SingleNodeMultiWriter));
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    let number = fs::metadata(bed.target("one")).unwrap().rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let node = format!("/dev/loop{minor}");
    assert_eq!(fs::metadata(&node).unwrap().rdev(), number);
    fs::remove_file(&node).unwrap();
    let came = bed.unstage(&volume);
    tool("mknod", &[&node, "b", &major.to_string(), &minor.to_string()]);
    refused(came, FailedPrecondition, &["still published at", "one"]);
    assert_eq!(tool("blockdev", &["--getsize64", bed.target("one").to_str().unwrap()]).trim(), "16777216");
    // Another volume's id takes no device away.
    refused(unpublish_at(&bed, "other", &bed.target("one")), FailedPrecondition, &["mounted at"]);
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
}

/// The number of a device that was taken away is given to the next: that one's pods are not taken for the first one's, nor do they
/// count as its users.
#[test]
fn what_has_become_anothers_keeps_nobody() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let [first, second] = ["first", "second"].map(|name| bed.create(name));
    let first = first.used_as(mounted(SingleNodeSingleWriter));
    for unstaged in [true, false] {
        bed.stage(&first).unwrap();
        bed.command.sandbox.unmount_all().unwrap();
        bed.stage(&second).unwrap();
        bed.publish(&second, "second").unwrap();
        let file = bed.target("second").join("file");
        fs::write(&file, "kept").unwrap();
        refused(unpublish_at(&bed, &first.id, &bed.target("second")), FailedPrecondition, &["mounted at"]);
        if !unstaged {
            bed.publish(&first, "first").unwrap();
            bed.unpublish(&first, "first").unwrap();
        }
        bed.unstage(&first).unwrap();
        fs::write(&file, "still here").unwrap();
        refused(bed.unstage(&second), FailedPrecondition, &["still published at", "second"]);
        bed.unpublish(&second, "second").unwrap();
        bed.unstage(&second).unwrap();
        bed.assert_clean();
    }
}

#[test]
fn the_same_in_another_manner_is_there_already() {
    for mut flow in Flow::all() {
        let (name, all) = (flow.name, ["noexec", "noatime", "nodiratime", "strictatime", "ro"]);
        flow.stage();
        flow.publish("plain");
        let flags = flow.volume.flagged(&["noexec", "noatime"]);
        flow.bed.publish(&flags, "flagged").unwrap();
        let mounts = flow.bed.command.sandbox.mounts().unwrap();
        for flag in all {
            refused(flow.bed.publish(&flow.volume.flagged(&[flag]), "plain"), AlreadyExists, &[]);
            refused(flow.bed.publish(&flow.volume.flagged(&[flag]), "flagged"), AlreadyExists, &[]);
        }
        refused(flow.bed.publish(&flow.volume, "flagged"), AlreadyExists, &[]);
        flow.bed.publish(&flags, "flagged").unwrap();
        flow.publish("plain");
        assert_eq!(flow.bed.command.sandbox.mounts().unwrap(), mounts, "{name}");
        if flow.is_staged {
            let mut another = flow.volume.clone();
            if let Some(AccessType::Mount(mount)) = &mut another.capability.access_type {
                mount.fs_type = "xfs".to_owned();
            }
            refused(flow.bed.stage(&another), AlreadyExists, &["fsType"]);
        }
        flow.unpublish("plain");
        flow.unpublish("flagged");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// A folder that is reached by a link is the same one, however a client writes it.
#[test]
fn a_target_is_one_place_however_it_is_written() {
    let Some((mut bed, _)) = Bed::script(|_| scripts::direct()) else { return };
    let volume = Volume::named("data").of_any_type();
    let real = bed.command.sandbox.path().join("real");
    bed.kill();
    fs::rename(bed.kubelet(), &real).unwrap();
    symlink(&real, bed.kubelet()).unwrap();
    bed.start();
    bed.publish(&volume, "one").unwrap();
    let target = real.join(bed.target("one").strip_prefix(bed.kubelet()).unwrap());
    unpublish_at(&bed, &volume.id, &target).unwrap();
    bed.assert_clean();
    fs::remove_file(bed.kubelet()).unwrap();
    fs::rename(&real, bed.kubelet()).unwrap();
}

/// Mounts what never answers.
fn frozen(_: &command::Bed) -> Script {
    let hungfs = binary("hungfs").unwrap();
    scripts::direct().on("mount", Answer::success().run(format!(r#"{} "$2" 0"#, hungfs.display())))
}

#[test]
fn one_process_at_most_is_lost_to_a_file_system_that_hangs() {
    let Some((mut bed, _)) = Bed::script(frozen) else { return };
    let volume = Volume::named("data").of_any_type();
    bed.publish(&volume, "one").unwrap();
    let before = bed.command.workers();
    let stats = || {
        let volume_path = bed.target("one").to_str().unwrap().to_owned();
        let request = NodeGetVolumeStatsRequest {
            volume_id: volume.id.clone(),
            volume_path,
            ..NodeGetVolumeStatsRequest::default()
        };
        bed.client.node_get_volume_stats(request)
    };
    refused(stats(), Aborted, &["has not answered"]);
    for _ in 0..3 {
        refused(stats(), Aborted, &["still at work there"]);
        thread::sleep(Duration::from_millis(50));
    }
    let lost = bed.command.workers();
    assert!(lost <= before + 1, "{lost} workers, {before} before");
    abort_at(&bed.target("one")).unwrap();
    until("the worker to end", || bed.unpublish(&volume, "one").is_ok());
    bed.assert_clean();
}

/// A driver that is not there keeps nobody from being served what is there of it, or from being served when it comes.
#[test]
fn a_driver_that_is_not_there_is_waited_for() {
    let Some((mut bed, _)) = Bed::script(|_| scripts::staged()) else { return };
    let volume = Volume::named("data").of_any_type();
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    let (there, away) = (bed.command.sandbox.plugins().join("v~scripted"), bed.command.sandbox.path().join("away"));
    for volumes in [true, false] {
        bed.kill();
        fs::rename(&there, &away).unwrap();
        bed.start();
        refused(bed.client.probe(ProbeRequest {}), Unavailable, &[]);
        if volumes {
            bed.unpublish(&volume, "one").unwrap();
            refused(bed.unstage(&volume), Unavailable, &[]);
        }
        fs::rename(&away, &there).unwrap();
        until("the driver to be found", || bed.client.probe(ProbeRequest {}).is_ok());
        bed.unstage(&volume).unwrap();
    }
    bed.assert_clean();
}
