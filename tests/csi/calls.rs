//! What a driver is called with, call by call: the table of the page `docs/csi.md`, one way after the other.

use std::{
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use flexvolume_csi::wire::csi::{
    CapacityRange, ControllerExpandVolumeRequest, NodeExpandVolumeRequest, NodeGetVolumeStatsRequest,
    NodePublishVolumeRequest, volume_capability::access_mode::Mode::SingleNodeMultiWriter,
};
use flexvolume_testkit::scripted::{Answer, Script, Scripted};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    bed::Bed,
    command, flows,
    scripts::{self, image},
    volume::{Volume, block, map, refused},
};

/// What has been called since it was last asked.
fn called(driver: &Scripted) -> String {
    let verbs = driver.verbs().unwrap();
    driver.forget().unwrap();
    verbs.join(" ")
}

fn options(driver: &Scripted, verb: &str) -> Value {
    let calls = driver.calls().unwrap();
    let call = calls.iter().rfind(|call| call.verb() == verb).unwrap_or_else(|| panic!("no {verb}: {calls:?}"));
    serde_json::from_str(call.argv.last().unwrap()).unwrap()
}

/// The steps of a volume's life, and what was called in each.
fn life(bed: &mut Bed, driver: &Scripted, volume: &Volume, is_staged: bool) -> Vec<(&'static str, String)> {
    let mut told = vec![("init", called(driver))];
    if is_staged {
        bed.stage(volume).unwrap();
        told.push(("stage", called(driver)));
    }
    for pod in ["one", "two"] {
        bed.publish(volume, pod).unwrap();
        told.push(("publish", called(driver)));
    }
    let stats = NodeGetVolumeStatsRequest {
        volume_id: volume.id.clone(),
        volume_path: bed.target("one").display().to_string(),
        ..NodeGetVolumeStatsRequest::default()
    };
    bed.client.node_get_volume_stats(stats).unwrap();
    told.push(("stats", called(driver)));
    for pod in ["one", "two"] {
        bed.unpublish(volume, pod).unwrap();
        told.push(("unpublish", called(driver)));
    }
    if is_staged {
        bed.unstage(volume).unwrap();
        told.push(("unstage", called(driver)));
    }
    bed.assert_clean();
    told
}

fn of(told: &[(&str, String)], step: &str) -> Vec<String> {
    told.iter().filter(|(name, _)| *name == step).map(|(_, verbs)| verbs.clone()).collect()
}

#[track_caller]
fn assert_life(told: &[(&str, String)], wanted: &[(&str, &[&str])]) {
    for (step, verbs) in wanted {
        assert_eq!(of(told, step), *verbs, "{step}: {told:?}");
    }
    assert_eq!(of(told, "stats"), [""], "{told:?}");
}

#[test]
fn a_driver_without_attach_is_called_for_each_target() {
    let Some((mut bed, driver)) = Bed::script(flows::direct) else { return };
    let volume = Volume::named("data").of_any_type();
    let told = life(&mut bed, &driver, &volume, false);
    assert_life(&told, &[("publish", &["mount", "mount"]), ("unpublish", &["unmount", "unmount"])]);
}

#[test]
fn a_staged_driver_is_called_once_for_the_node() {
    let Some((mut bed, driver)) = Bed::script(|_| scripts::staged()) else { return };
    let volume = Volume::named("data").of_any_type();
    let told = life(&mut bed, &driver, &volume, true);
    let down = "unmountdevice detach";
    assert_life(
        &told,
        &[
            ("stage", &["attach waitforattach mountdevice"]),
            ("publish", &["", ""]),
            ("unpublish", &["", ""]),
            ("unstage", &[down]),
        ],
    );
}

fn attachable(bed: &command::Bed) -> Script {
    let file = bed.sandbox.path().join("disk.img");
    image(&file, 16);
    scripts::attachable(&file)
}

/// What a driver does not know it is asked once, and not again.
#[test]
fn a_driver_with_attach_alone_is_bound_by_the_host() {
    let Some((mut bed, driver)) = Bed::script(attachable) else { return };
    let volume = Volume::named("data");
    for (stage, publish, unpublish, unstage) in [
        ("attach waitforattach mountdevice", ["mount", ""], ["unmount", ""], "unmountdevice detach"),
        ("attach", ["", ""], ["", ""], "detach"),
    ] {
        let told = life(&mut bed, &driver, &volume, true);
        assert_life(
            &told,
            &[("stage", &[stage]), ("publish", &publish), ("unpublish", &unpublish), ("unstage", &[unstage])],
        );
    }
}

#[test]
fn a_driver_with_attach_and_mount_mounts_for_each_target() {
    let made = Bed::script(|bed| {
        let file = bed.sandbox.path().join("disk.img").display().to_string();
        let mount = format!(r#"mount "$(losetup -n -O NAME -j {file} | head -n 1)" "$2""#);
        let script = attachable(bed).on("mount", Answer::success().run(mount));
        script.on("unmount", Answer::success().run(r#"umount "$2""#))
    });
    let Some((mut bed, driver)) = made else { return };
    let told = life(&mut bed, &driver, &Volume::named("data"), true);
    assert_life(&told, &[("publish", &["mount", "mount"]), ("unpublish", &["unmount", "unmount"])]);
    assert!(of(&told, "stage")[0].starts_with("attach") && of(&told, "unstage")[0].ends_with("detach"), "{told:?}");
}

/// Its name may be another's by now, so it is asked for again for each user.
#[test]
fn a_raw_device_is_mounted_by_nobody() {
    let made = Bed::script(|bed| {
        let init = json!({"status": "Success", "extensions": ["staged", "block"]});
        let script = attachable(bed).on("init", Answer::json(&init));
        let file = bed.sandbox.path().join("disk.img").display().to_string();
        let device =
            format!(r#"printf '{{"status":"Success","device":"%s"}}\n' "$(losetup -n -O NAME -j {file} | head -n 1)""#);
        script.on("waitforattach", Answer::shell(device))
    });
    let Some((mut bed, driver)) = made else { return };
    let volume = Volume::named("data").used_as(block(SingleNodeMultiWriter));
    let told = life(&mut bed, &driver, &volume, true);
    assert_life(
        &told,
        &[
            ("stage", &["attach waitforattach"]),
            ("publish", &["attach waitforattach", "attach waitforattach"]),
            ("unpublish", &["", ""]),
            ("unstage", &["detach"]),
        ],
    );
}

/// As `/dev/VG/LV` is: what is shown is the device that the link leads to, and neither the link nor what it leads to later.
#[test]
fn a_raw_device_may_go_by_a_link() {
    let made = Bed::script(|bed| {
        let init = json!({"status": "Success", "extensions": ["staged", "block"]});
        let (file, link) = (bed.sandbox.path().join("disk.img"), bed.sandbox.dir("vg").unwrap().join("lv"));
        let (file, link) = (file.display(), link.display());
        let say = format!(r#"printf '{{"status":"Success","device":"%s"}}\n' {link}"#);
        let find = format!("losetup -n -O NAME -j {file} | head -n 1");
        attachable(bed)
            .on("init", Answer::json(&init))
            .on(
                "attach",
                Answer::shell(format!(
                    "d=$({find}); [ -n \"$d\" ] || d=$(losetup -f --show {file}); ln -sfn $d {link}; {say}"
                )),
            )
            .on("waitforattach", Answer::shell(say))
            .on("detach", Answer::success().run(format!("rm -f {link}; d=$({find}); [ -z \"$d\" ] || losetup -d $d")))
    });
    let Some((mut bed, driver)) = made else { return };
    let volume = Volume::named("data").used_as(block(SingleNodeMultiWriter));
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    let loops = bed.command.sandbox.loops().unwrap();
    let [device] = &loops[..] else { panic!("{} devices", loops.len()) };
    let number = |path: &std::path::Path| std::fs::symlink_metadata(path).unwrap().rdev();
    let (one, device) = (bed.target("one"), device.device.clone());
    assert!(std::fs::symlink_metadata(&one).unwrap().file_type().is_block_device(), "a link is shown");
    assert_eq!(number(&one), number(&device));
    std::fs::write(&one, "written").unwrap();
    bed.publish(&volume, "one").unwrap();
    // Nor is it led astray: the link that leads elsewhere by now is made anew by `attach`, and the same device is shown.
    let link = bed.command.sandbox.path().join("vg/lv");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    bed.restart();
    bed.publish(&volume, "two").unwrap();
    assert_eq!(number(&bed.target("two")), number(&device));
    for pod in ["one", "two"] {
        bed.unpublish(&volume, pod).unwrap();
    }
    bed.unstage(&volume).unwrap();
    assert_eq!(driver.verbs().unwrap().last().map(String::as_str), Some("detach"));
    let mut read = [0; 7];
    std::io::Read::read_exact(
        &mut std::fs::File::open(bed.command.sandbox.path().join("disk.img")).unwrap(),
        &mut read,
    )
    .unwrap();
    assert_eq!(&read, b"written");
    bed.assert_clean();
}

/// Growing: the device first, then what is mounted.
#[test]
fn a_volume_that_grows() {
    for requires in [false, true] {
        let made = Bed::script(|_| {
            let capabilities = json!({"attach": false, "requiresFSResize": requires});
            let init = json!({"status": "Success", "capabilities": capabilities, "extensions": ["expand"]});
            let grown = json!({"status": "Success", "bytes": 2 << 20});
            let script = scripts::direct().on("init", Answer::json(&init));
            script.on("expandvolume", Answer::json(&grown)).on("expandfs", Answer::success())
        });
        let Some((mut bed, driver)) = made else { return };
        let volume = Volume::named("data").of_any_type();
        bed.publish(&volume, "one").unwrap();
        called(&driver);
        let range = Some(CapacityRange { required_bytes: 2 << 20, limit_bytes: 0 });
        let request = NodeExpandVolumeRequest {
            volume_id: volume.id.clone(),
            volume_path: bed.target("one").display().to_string(),
            capacity_range: range,
            ..NodeExpandVolumeRequest::default()
        };
        assert_eq!(bed.client.node_expand_volume(request).unwrap().capacity_bytes, 2 << 20);
        assert_eq!(called(&driver), if requires { "expandvolume expandfs" } else { "expandvolume" });
        let request = ControllerExpandVolumeRequest {
            volume_id: volume.id.clone(),
            capacity_range: range,
            ..ControllerExpandVolumeRequest::default()
        };
        let answer = bed.client.controller_expand_volume(request).unwrap();
        assert_eq!((answer.capacity_bytes, answer.node_expansion_required), (2 << 20, requires));
        assert_eq!(called(&driver), "expandvolume");
        bed.unpublish(&volume, "one").unwrap();
        bed.assert_clean();
    }
}

/// Who calls out of turn is told which call comes first.
#[test]
fn what_comes_first_is_said() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let volume = Volume::named("data");
    refused(
        bed.publish(&volume, "one"),
        Code::FailedPrecondition,
        &["not staged", "; stage it first (NodeStageVolume)"],
    );
    let unsaid = NodePublishVolumeRequest { staging_target_path: String::new(), ..bed.publish_request(&volume, "one") };
    refused(
        bed.client.node_publish_volume(unsaid),
        Code::FailedPrecondition,
        &["no staging_target_path", "; name where this one was staged"],
    );
    let ask = |volume_path: String| NodeGetVolumeStatsRequest {
        volume_id: volume.id.clone(),
        volume_path,
        ..NodeGetVolumeStatsRequest::default()
    };
    refused(
        bed.client.node_get_volume_stats(ask("/etc".to_owned())),
        Code::NotFound,
        &["no volume is at /etc; name a path beneath --kubelet-dir"],
    );
    let grow = NodeExpandVolumeRequest {
        volume_id: volume.id.clone(),
        volume_path: bed.target("one").display().to_string(),
        ..NodeExpandVolumeRequest::default()
    };
    refused(
        bed.client.node_expand_volume(grow),
        Code::NotFound,
        &["not up on this node; publish it here first (NodePublishVolume)"],
    );
    bed.assert_clean();
}

/// `8-4-4-4-12` digits, as of a pod.
fn is_uid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12] && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[test]
fn a_driver_mounts_beneath_our_own_root_as_beneath_the_kubelets() {
    let Some((mut bed, driver)) = Bed::script(flows::direct) else { return };
    let (slashed, plain) = (Volume::named("group/data"), Volume::named("data"));
    let (mut uids, mut names) = (Vec::new(), Vec::new());
    for (volume, pod) in [(&plain, "one"), (&plain, "two"), (&slashed, "three")] {
        let volume = volume.clone().of_any_type();
        bed.publish(&volume, pod).unwrap();
        let dir = driver.calls().unwrap().into_iter().rfind(|call| call.verb() == "mount").unwrap().argv[1].clone();
        let rel = Path::new(&dir).strip_prefix(bed.command.sandbox.root()).unwrap().to_str().unwrap().to_owned();
        let ["pods", uid, "volumes", "v~scripted", name] = rel.split('/').collect::<Vec<_>>()[..] else {
            panic!("{rel}")
        };
        assert!(is_uid(uid), "{rel}");
        uids.push(uid.to_owned());
        names.push(name.to_owned());
        let rows = bed.command.json(["ls"]);
        assert!(rows.as_array().unwrap().iter().any(|row| row["path"] == dir.as_str()), "{dir} is not in {rows}");
    }
    assert!(uids[0] != uids[1] && uids[1] != uids[2], "{uids:?}");
    assert!(names[0] == "data" && names[1] == "data" && names[2] != "data", "{names:?}");
    for (volume, pod) in [(&plain, "one"), (&plain, "two"), (&slashed, "three")] {
        bed.unpublish(volume, pod).unwrap();
    }
    bed.assert_clean();
}

/// What Kubernetes tells of a pod are the contract's keys; what it adds besides is no option, and a token goes nowhere.
#[test]
fn a_context_becomes_options_and_the_keys_of_a_pod() {
    const TOKEN: &str = "eyJhbGciOi-a-token";
    let Some((mut bed, driver)) = Bed::script(flows::direct) else { return };
    let mut volume = Volume::named("data").of_any_type();
    volume.context = map([
        ("share", "10.0.0.1:/all"),
        ("storage.kubernetes.io/csiProvisionerIdentity", "1700000000000-8081-nobody"),
        ("csi.storage.k8s.io/pod.name", "web-0"),
        ("csi.storage.k8s.io/pod.namespace", "shop"),
        ("csi.storage.k8s.io/pod.uid", "5c2a4e70-6d1b-4a5e-9a53-0f3f2a1b7c8d"),
        ("csi.storage.k8s.io/serviceAccount.name", "clerk"),
        ("csi.storage.k8s.io/ephemeral", "false"),
        ("csi.storage.k8s.io/fstype", "xfs"),
        ("csi.storage.k8s.io/serviceAccount.tokens", TOKEN),
    ]);
    bed.publish(&volume, "one").unwrap();
    let heard = options(&driver, "mount");
    let wanted = json!({
        "flexvol/id": "data",
        "kubernetes.io/fsType": "xfs",
        "kubernetes.io/pod.name": "web-0",
        "kubernetes.io/pod.namespace": "shop",
        "kubernetes.io/pod.uid": "5c2a4e70-6d1b-4a5e-9a53-0f3f2a1b7c8d",
        "kubernetes.io/pvOrVolumeName": "data",
        "kubernetes.io/readwrite": "rw",
        "kubernetes.io/serviceAccount.name": "clerk",
        "share": "10.0.0.1:/all",
    });
    assert_eq!(heard, wanted);
    for text in [bed.log(), bed.command.ok(["-o", "json", "ls"])] {
        assert!(!text.contains(TOKEN), "{text}");
    }
    bed.unpublish(&volume, "one").unwrap();
    bed.assert_clean();
}
