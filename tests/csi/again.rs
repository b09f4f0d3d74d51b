//! One volume beside others, and after something went wrong: nothing of it stands in anybody's way.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use flexvolume_csi::wire::csi::{
    CapacityRange, ControllerExpandVolumeRequest, CreateVolumeRequest, GetCapacityRequest, NodeExpandVolumeRequest,
    volume_capability::access_mode::Mode::{MultiNodeMultiWriter, MultiNodeSingleWriter, SingleNodeWriter},
};
use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;
use tonic::Code::{AlreadyExists, FailedPrecondition, OutOfRange, ResourceExhausted, Unavailable};

use crate::{
    bed::Bed,
    command,
    flows::Flow,
    scripts::{self, image, tool},
    volume::{Volume, block, mounted, refused},
};

/// A driver of today, which leaves its device to the host, cannot know that several nodes write to it.
#[test]
fn the_host_mounts_no_device_that_several_nodes_write_to() {
    let script = |bed: &command::Bed| {
        let file = bed.sandbox.path().join("disk.img");
        image(&file, 16);
        scripts::attachable(&file)
    };
    let Some((mut bed, _)) = Bed::script(script) else { return };
    let volume = Volume::named("data");
    let shared = volume.used_as(mounted(MultiNodeMultiWriter));
    for mode in [MultiNodeMultiWriter, MultiNodeSingleWriter] {
        let used = volume.used_as(mounted(mode));
        refused(bed.stage(&used), FailedPrecondition, &["leaves the mount of", "one node, or for reading alone"]);
    }
    bed.assert_clean();
    let disk = fs::read(bed.command.sandbox.path().join("disk.img")).unwrap();
    assert!(disk.iter().all(|byte| *byte == 0), "it was formatted");
    // Nor once it is there for one node; which it stays.
    bed.stage(&volume).unwrap();
    refused(bed.stage(&shared), AlreadyExists, &["for this node alone"]);
    bed.restart();
    refused(bed.stage(&shared), AlreadyExists, &["for this node alone"]);
    bed.publish(&volume, "one").unwrap();
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
}

/// What is not on a device bears it.
#[test]
fn what_a_driver_mounts_itself_several_nodes_may_write_to() {
    let Some((mut bed, _)) = Bed::script(|_| scripts::staged()) else { return };
    let volume = Volume::named("data").of_any_type();
    let shared = volume.used_as(mounted(MultiNodeMultiWriter)).of_any_type();
    for first in [&volume, &shared] {
        bed.stage(first).unwrap();
        bed.stage(&shared).unwrap();
        bed.publish(&shared, "one").unwrap();
        bed.unpublish(&shared, "one").unwrap();
        bed.unstage(&shared).unwrap();
        bed.assert_clean();
    }
}

/// A share that two volumes show: each goes by itself.
#[test]
fn two_volumes_of_one_storage_go_one_by_one() {
    let script = |bed: &command::Bed| {
        let share = bed.sandbox.dir("share").unwrap();
        scripts::staged().on("mountdevice", Answer::success().run(format!(r#"mount --bind {} "$2""#, share.display())))
    };
    let Some((mut bed, _)) = Bed::script(script) else { return };
    let [first, second] = ["first", "second"].map(|name| Volume::named(name).of_any_type());
    for restarted in [false, true] {
        for volume in [&first, &second] {
            bed.stage(volume).unwrap();
            bed.publish(volume, &volume.id).unwrap();
        }
        let file = bed.target("second").join("file");
        fs::write(&file, "kept").unwrap();
        if restarted {
            bed.restart();
        }
        bed.unpublish(&first, "first").unwrap();
        bed.unstage(&first).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
        // Of the last one it is known who has it.
        refused(bed.unstage(&second), FailedPrecondition, &["still published at", "second"]);
        bed.unpublish(&second, "second").unwrap();
        bed.unstage(&second).unwrap();
        bed.assert_clean();
    }
}

/// What grows, and fails to once.
fn growing(_: &command::Bed) -> Script {
    let capabilities = json!({"attach": true, "requiresFSResize": true});
    let init = json!({"status": "Success", "capabilities": capabilities, "extensions": ["expand"]});
    let full = json!({"status": "Failure", "code": "exhausted", "message": "no room"});
    Script::sh()
        .on("init", Answer::json(&init))
        .on("attach", Answer::json(&json!({"status": "Success", "device": "none"})))
        .on("waitforattach", Answer::json(&json!({"status": "Success", "device": "none"})))
        .on("mountdevice", Answer::success().run(r#"mount -t tmpfs none "$2""#))
        .on("unmountdevice", Answer::success().run(r#"umount "$2""#))
        .on("detach", Answer::success())
        .on("expandvolume", Answer::json(&full))
        .on("mount", Answer::success().run(r#"mount -t tmpfs none "$2""#))
        .on("unmount", Answer::success().run(r#"umount "$2""#))
}

#[test]
fn a_growth_that_failed_keeps_no_pod_waiting() {
    let Some((mut bed, _)) = Bed::script(growing) else { return };
    let volume = Volume::named("data").of_any_type();
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    let request = NodeExpandVolumeRequest {
        volume_id: volume.id.clone(),
        volume_path: bed.target("one").display().to_string(),
        capacity_range: Some(CapacityRange { required_bytes: 1 << 40, limit_bytes: 0 }),
        ..NodeExpandVolumeRequest::default()
    };
    for _ in 0..2 {
        refused(bed.client.node_expand_volume(request.clone()), ResourceExhausted, &["no room"]);
        bed.publish(&volume, "one").unwrap();
        bed.publish(&volume, "two").unwrap();
    }
    for pod in ["two", "one"] {
        bed.unpublish(&volume, pod).unwrap();
    }
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
}

/// Pods of `flexvol up` have it in another way: the client is told so for good, and nothing of theirs is touched.
#[test]
fn what_pods_of_the_host_have_in_another_way_is_there_already() {
    let Some((mut bed, driver)) = Bed::script(|_| scripts::staged()) else { return };
    let source = "{driver: v/scripted, options: {size: large}}";
    let file = bed.command.manifest("pod.yaml", &command::pod("web", &[("data", source)]));
    bed.command.ok(["up", &file]);
    driver.forget().unwrap();
    let volume = Volume::named("data").of_any_type();
    for _ in 0..2 {
        refused(bed.stage(&volume), AlreadyExists, &["with other settings"]);
    }
    assert_eq!(driver.verbs().unwrap(), Vec::<String>::new());
    bed.command.ok(["down", "--all"]);
    bed.stage(&volume).unwrap();
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
}

/// Numbers of mounts are given away: what a place had once is not taken for the volume's by whom another has it.
#[test]
fn what_places_had_is_forgotten_with_them() {
    let script = |bed: &command::Bed| {
        let file = bed.sandbox.path().join("disk.img");
        image(&file, 16);
        scripts::attachable(&file)
            .on("mount", Answer::success().run(r#"mount -t tmpfs none "$2""#))
            .on("unmount", Answer::success().run(r#"umount "$2""#))
    };
    let Some((mut bed, _)) = Bed::script(script) else { return };
    let volume = Volume::named("data");
    bed.stage(&volume).unwrap();
    let number = |path: &Path| fs::metadata(path).unwrap().dev();
    let theirs = ["two", "three"].map(|pod| bed.target(pod));
    // The number that its tmpfs had is the lowest that is free, unless somebody else on this machine was faster.
    let has_it = (0..100).any(|_| {
        bed.publish(&volume, "one").unwrap();
        let had = number(&bed.target("one"));
        bed.unpublish(&volume, "one").unwrap();
        for target in &theirs {
            fs::create_dir_all(target).unwrap();
            tool("mount", &["-t", "tmpfs", "theirs", target.to_str().unwrap()]);
        }
        let has_it = theirs.iter().any(|target| number(target) == had);
        if !has_it {
            theirs.iter().for_each(|target| drop(tool("umount", &[target.to_str().unwrap()])));
        }
        has_it
    });
    assert!(has_it, "nobody ever got the number that the volume's place had");
    bed.unstage(&volume).unwrap();
    for target in &theirs {
        tool("umount", &[target.to_str().unwrap()]);
        fs::remove_dir(target).unwrap();
    }
    bed.assert_clean();
}

/// `down` takes nothing from a client's user, whatever it is told; what nobody sees any more it takes if it is named.
#[test]
fn down_leaves_alone_what_clients_have() {
    for flow in [Flow::direct, Flow::mounting] {
        let Some(mut flow) = flow() else { return };
        let (name, target) = (flow.name, flow.bed.target("one"));
        flow.stage();
        flow.publish("one");
        fs::write(target.join("file"), "kept").unwrap();
        let down = flow.bed.command.run(["down", "--all"]);
        assert_eq!(down.code, 0, "{down:?}");
        assert!(down.stderr.contains("1 left alone") && down.stderr.contains(target.to_str().unwrap()), "{down:?}");
        let place = fs::read_dir(flow.bed.command.sandbox.root().join("pods")).unwrap().next().unwrap().unwrap();
        let place = place.file_name().into_string().unwrap();
        flow.bed.command.run(["down", &place]).fails(4, &["published at", target.to_str().unwrap(), "hint:"]);
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "kept", "{name}");
        // Somebody took it from its user by hand.
        tool("umount", &[target.to_str().unwrap()]);
        let down = flow.bed.command.run(["down", "--all"]);
        assert!(down.code == 0 && down.stderr.contains("1 left alone"), "{down:?}");
        flow.bed.command.ok(["down", &place]);
        flow.unpublish("one");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// Smaller would be full before its time, and larger was not to be.
#[test]
fn a_driver_that_answers_a_wrong_size_is_at_fault() {
    let script = |_: &command::Bed| {
        let capabilities = json!({"attach": false});
        let init = json!({"status": "Success", "capabilities": capabilities, "extensions": ["provision", "expand", "capacity"]});
        let made = json!({"status": "Success", "id": "v", "bytes": 2 << 20});
        scripts::direct()
            .on("init", Answer::json(&init))
            .on("createvolume", Answer::json(&made))
            .on("expandvolume", Answer::json(&json!({"status": "Success", "bytes": 2 << 20})))
            .on("getcapacity", Answer::json(&json!({"status": "Success", "available": 5})))
    };
    let Some((bed, _)) = Bed::script(script) else { return };
    let create = |required_bytes, limit_bytes| {
        let capacity_range = Some(CapacityRange { required_bytes, limit_bytes });
        bed.client.create_volume(CreateVolumeRequest { capacity_range, ..bed.wish("v") })
    };
    create(2 << 20, 2 << 20).unwrap();
    refused(create(4 << 20, 0), Unavailable, &["2097152 bytes", "4194304"]);
    refused(create(0, 1 << 20), Unavailable, &["2097152 bytes", "1048576"]);
    let grow = |required_bytes, limit_bytes| {
        let capacity_range = Some(CapacityRange { required_bytes, limit_bytes });
        let volume_id = "v".to_owned();
        let request = ControllerExpandVolumeRequest { volume_id, capacity_range, ..Default::default() };
        bed.client.controller_expand_volume(request)
    };
    grow(1 << 20, 0).unwrap();
    refused(grow(4 << 20, 0), Unavailable, &["2097152 bytes"]);
    refused(grow(1 << 20, 1 << 20), OutOfRange, &["none is made smaller"]);
    // What cannot be made has no room.
    let room = |volume_capabilities| {
        let request = GetCapacityRequest { volume_capabilities, ..Default::default() };
        bed.client.get_capacity(request).unwrap().available_capacity
    };
    assert_eq!((room(vec![]), room(vec![mounted(SingleNodeWriter)]), room(vec![block(SingleNodeWriter)])), (5, 5, 0));
}
