//! Volumes that the controller attaches (`--attach=controller`): the driver hears of the node that is named, the device travels in the
//! publish context, and the controller's part remembers nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use flexvolume_csi::wire::csi::{
    ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest, GetPluginCapabilitiesRequest, NodeGetInfoRequest,
    NodeStageVolumeRequest,
    plugin_capability::Type,
    plugin_capability::service::Type::ControllerService,
    volume_capability::access_mode::Mode::{SingleNodeMultiWriter, SingleNodeReaderOnly},
};
use flexvolume_testkit::scripted::{Answer, Script, Scripted};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    bed::Bed,
    client::Leaves,
    command,
    scripts::{self, image, lives, pid_in, until},
    volume::{Came, Volume, block, mounted, refused},
};

const CONTROLLER: [&str; 2] = ["--attach", "controller"];

/// Attaches one image, of the volume `data`, to every node but `elsewhere`; `before` is what it does first.
fn script(disk: &Path, before: &str) -> Script {
    let disk = disk.display();
    let unknown = |what: &str| {
        format!(
            r#"{{ printf '{{"status":"Failure","message":"there is no such {what}","code":"notFound"}}\n'; _end 1; }}"#
        )
    };
    let attach = format!(
        r#"{before}
case "$2" in *'"flexvol/id":"data"'*) ;; *) {} ;; esac
[ "$3" != elsewhere ] || {}
d=$(losetup -n -O NAME -j {disk} | head -n 1)
[ -n "$d" ] || d=$(losetup -f --show {disk})
printf '{{"status":"Success","device":"%s"}}\n' "$d""#,
        unknown("volume"),
        unknown("node"),
    );
    scripts::attachable(Path::new(&disk.to_string())).on("attach", Answer::shell(attach))
}

fn disk(bed: &command::Bed) -> PathBuf {
    let file = bed.sandbox.path().join("disk.img");
    image(&file, 16);
    file
}

fn bed(flags: &[&str], before: fn(&command::Bed) -> String) -> Option<(Bed, Scripted)> {
    Bed::script_with(flags, |bed| script(&disk(bed), &before(bed)))
}

fn nothing(_: &command::Bed) -> String {
    ":".to_owned()
}

fn wish(volume: &Volume, node: &str) -> ControllerPublishVolumeRequest {
    ControllerPublishVolumeRequest {
        volume_id: volume.id.clone(),
        node_id: node.to_owned(),
        volume_capability: Some(volume.capability.clone()),
        volume_context: volume.context.clone(),
        ..ControllerPublishVolumeRequest::default()
    }
}

fn attach(bed: &Bed, volume: &Volume, node: &str) -> Result<BTreeMap<String, String>, Status> {
    bed.client.controller_publish_volume(wish(volume, node)).map(|answer| answer.publish_context)
}

fn detach(bed: &Bed, volume: &Volume, node: &str) -> Came {
    let (volume_id, node_id) = (volume.id.clone(), node.to_owned());
    let request = ControllerUnpublishVolumeRequest { volume_id, node_id, ..Default::default() };
    bed.client.controller_unpublish_volume(request).map(drop)
}

fn stage(bed: &Bed, volume: &Volume, publish_context: &BTreeMap<String, String>) -> Came {
    let publish_context = publish_context.clone();
    let request = NodeStageVolumeRequest { publish_context, ..bed.stage_request(volume) };
    bed.client.node_stage_volume(request).map(drop)
}

fn node_of(bed: &Bed) -> String {
    bed.client.node_get_info(NodeGetInfoRequest {}).unwrap().node_id
}

/// The loop devices of that bed's image.
fn devices(bed: &Bed) -> Vec<String> {
    let loops = bed.command.sandbox.loops().unwrap();
    loops.into_iter().map(|bound| bound.device.display().to_string()).collect()
}

/// Nobody has written anything of a volume down.
#[track_caller]
fn assert_no_record(bed: &Bed) {
    assert_eq!(bed.command.json(["ls"]), json!([]));
}

fn count(driver: &Scripted, verb: &str) -> usize {
    driver.verbs().unwrap().iter().filter(|it| *it == verb).count()
}

fn last(driver: &Scripted, verb: &str) -> Vec<String> {
    driver.calls().unwrap().into_iter().rfind(|call| call.verb() == verb).unwrap().argv
}

#[test]
fn the_controller_attaches_and_the_node_uses_what_it_says() {
    let Some((mut bed, driver)) = bed(&CONTROLLER, nothing) else { return };
    let (volume, node) = (Volume::named("data"), node_of(&bed));
    let offers = bed.client.get_plugin_capabilities(GetPluginCapabilitiesRequest {}).unwrap().capabilities;
    let is_controller =
        |it: &Type| matches!(it, Type::Service(service) if service.r#type == i32::from(ControllerService));
    assert!(offers.iter().filter_map(|it| it.r#type.as_ref()).any(is_controller), "{offers:?}");

    let context = attach(&bed, &volume, &node).unwrap();
    let [device] = &devices(&bed)[..] else { panic!("{:?}", devices(&bed)) };
    assert_eq!(context, BTreeMap::from([("device".to_owned(), device.clone())]));
    let argv = last(&driver, "attach");
    assert_eq!(argv[2], node, "{argv:?}");
    let options: Value = serde_json::from_str(&argv[1]).unwrap();
    let told = ["kubernetes.io/fsType", "kubernetes.io/readwrite", "kubernetes.io/pvOrVolumeName", "flexvol/id"];
    assert_eq!(told.map(|key| options[key].as_str().unwrap_or_default()), ["ext4", "rw", "data", "data"], "{options}");
    assert_eq!(attach(&bed, &volume, &node).unwrap(), context, "the same again");
    assert_eq!(devices(&bed).len(), 1);
    assert_no_record(&bed);

    let called = count(&driver, "attach");
    for _ in 0..2 {
        stage(&bed, &volume, &context).unwrap();
        bed.publish(&volume, "one").unwrap();
    }
    // Ours for the node, ours for this target, and the target.
    let sources = bed.command.sandbox.mounts().unwrap().into_iter().map(|mount| mount.source);
    assert_eq!(sources.collect::<Vec<_>>(), [device.clone(), device.clone(), device.clone()]);
    let file = bed.target("one").join("file");
    fs::write(&file, "kept").unwrap();
    bed.restart();
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    bed.unstage(&volume).unwrap();
    // The node has attached nothing and detaches nothing.
    assert_eq!((count(&driver, "attach"), count(&driver, "detach")), (called, 0));
    assert_eq!(devices(&bed).len(), 1);
    assert_no_record(&bed);

    stage(&bed, &volume, &context).unwrap();
    bed.publish(&volume, "one").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept", "staged anew");
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    for _ in 0..2 {
        detach(&bed, &volume, &node).unwrap();
        assert_eq!(last(&driver, "detach"), ["detach", "data", &node]);
    }
    bed.assert_clean();
}

#[test]
fn what_nobody_attached_is_not_staged() {
    let Some((mut bed, driver)) = bed(&CONTROLLER, nothing) else { return };
    let volume = Volume::named("data");
    refused(bed.stage(&volume), Code::InvalidArgument, &["publish_context", "not attached"]);
    assert!(driver.verbs().unwrap().iter().all(|verb| verb == "init"), "{:?}", driver.verbs());
    // A device that is not there, and what is none.
    let file = bed.command.sandbox.path().join("disk.img");
    for device in ["/dev/flexvol-nothing", file.to_str().unwrap(), "../disk.img"] {
        let context = BTreeMap::from([("device".to_owned(), device.to_owned())]);
        let came = stage(&bed, &volume, &context).and_then(|()| bed.publish(&volume, "one"));
        assert!(came.is_err(), "{device} is mounted");
        bed.unpublish(&volume, "one").unwrap();
        bed.unstage(&volume).unwrap();
        assert_eq!((count(&driver, "attach"), count(&driver, "detach")), (0, 0), "{device}");
        bed.assert_clean();
    }
    assert!(fs::read(&file).unwrap().iter().all(|byte| *byte == 0), "it was written to");
}

#[test]
fn volumes_and_nodes_that_nobody_knows() {
    let Some((mut bed, driver)) = bed(&CONTROLLER, nothing) else { return };
    let (data, other) = (Volume::named("data"), Volume::named("other"));
    refused(attach(&bed, &other, "near"), Code::NotFound, &["there is no such volume"]);
    refused(attach(&bed, &data, "elsewhere"), Code::NotFound, &["there is no such node"]);
    refused(attach(&bed, &data, ""), Code::InvalidArgument, &["node_id"]);
    let no_use = ControllerPublishVolumeRequest { volume_capability: None, ..wish(&data, "near") };
    refused(bed.client.controller_publish_volume(no_use), Code::InvalidArgument, &["volume_capability"]);
    assert_eq!(count(&driver, "attach"), 2);
    detach(&bed, &other, "near").unwrap();
    assert_eq!(last(&driver, "detach"), ["detach", "other", "near"]);
    // No driver can have given it that id, so none is asked.
    let calls = driver.calls().unwrap().len();
    let nobodys = Volume::named("/a/../b/");
    refused(attach(&bed, &nobodys, "near"), Code::NotFound, &[]);
    detach(&bed, &nobodys, "near").unwrap();
    assert_eq!(driver.calls().unwrap().len(), calls);
    bed.assert_clean();
}

/// Many drivers attach nothing, and so would not miss a volume that is not there.
#[test]
fn what_is_not_there_is_not_attached_where_health_tells() {
    let gone = json!({"status": "Failure", "message": "never heard of it", "code": "notFound"});
    let well = json!({"status": "Success", "condition": "ok"});
    for (health, is_there) in [(gone, false), (well, true)] {
        let made = Bed::script_with(&CONTROLLER, |bed| {
            let init = json!({"status": "Success", "extensions": ["health"]});
            script(&disk(bed), ":").on("init", Answer::json(&init)).on("gethealth", Answer::json(&health))
        });
        let Some((mut bed, driver)) = made else { return };
        let volume = Volume::named("data");
        match is_there {
            true => drop(attach(&bed, &volume, "near").unwrap()),
            false => refused(attach(&bed, &volume, "near"), Code::NotFound, &["never heard of it"]),
        }
        assert_eq!((count(&driver, "gethealth"), count(&driver, "attach")), (1, usize::from(is_there)));
        detach(&bed, &volume, "near").unwrap();
        bed.assert_clean();
    }
}

/// Where the node attaches, and where another driver has come whose volumes live on one node: nobody calls it.
#[test]
fn what_the_node_attaches_the_controller_does_not() {
    for flags in [&[][..], &CONTROLLER] {
        let Some((mut bed, mut driver)) = bed(flags, nothing) else { return };
        if !flags.is_empty() {
            // At the start it would be refused.
            let init = json!({"status": "Success", "extensions": ["local", "provision"]});
            let script = script(&bed.command.sandbox.path().join("disk.img"), ":");
            driver = bed.command.script("v/scripted", script.on("init", Answer::json(&init)));
        }
        let volume = Volume::named("data");
        refused(attach(&bed, &volume, "near"), Code::Unimplemented, &[]);
        refused(detach(&bed, &volume, "near"), Code::Unimplemented, &[]);
        assert_eq!(count(&driver, "attach"), 0);
        // What a client says of a device counts for nothing here.
        let context = BTreeMap::from([("device".to_owned(), "/dev/null".to_owned())]);
        stage(&bed, &volume, &context).unwrap();
        assert_eq!((count(&driver, "attach"), devices(&bed).len()), (1, 1));
        bed.unstage(&volume).unwrap();
        bed.assert_clean();
    }
}

/// What the driver was told each time that it attached: for which node, and `rw` or `ro`.
fn attaches(driver: &Scripted) -> Vec<(String, String)> {
    let calls = driver.calls().unwrap();
    let of_attach = calls.iter().filter(|call| call.verb() == "attach");
    let told = of_attach.map(|call| {
        let options: Value = serde_json::from_str(&call.argv[1]).unwrap();
        (call.argv[2].clone(), options["kubernetes.io/readwrite"].as_str().unwrap().to_owned())
    });
    told.collect()
}

#[test]
fn read_only_is_refused_of_the_controller_and_real_on_the_node() {
    let Some((mut bed, driver)) = bed(&CONTROLLER, nothing) else { return };
    let volume = Volume::named("data");
    let reading = ControllerPublishVolumeRequest { readonly: true, ..wish(&volume, "near") };
    refused(bed.client.controller_publish_volume(reading), Code::InvalidArgument, &["PUBLISH_READONLY"]);
    assert_eq!(attaches(&driver), [], "refused, and yet attached");

    let context = attach(&bed, &volume, "near").unwrap();
    stage(&bed, &volume, &context).unwrap();
    bed.publish(&volume, "writer").unwrap();
    fs::write(bed.target("writer").join("file"), "seen").unwrap();
    bed.publish_read_only(&volume, "reader").unwrap();
    let file = bed.target("reader").join("file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "seen");
    assert_eq!(fs::write(&file, "lost").unwrap_err().raw_os_error(), Some(30));
    for pod in ["reader", "writer"] {
        bed.unpublish(&volume, pod).unwrap();
    }
    bed.unstage(&volume).unwrap();
    detach(&bed, &volume, "near").unwrap();
    assert_eq!(attaches(&driver), [("near".to_owned(), "rw".to_owned())], "attached once, and not by the node");
    bed.assert_clean();
}

#[test]
fn by_its_access_mode_a_volume_is_attached_read_only() {
    let Some((mut bed, driver)) = bed(&CONTROLLER, nothing) else { return };
    for (mode, told) in [(SingleNodeMultiWriter, "rw"), (SingleNodeReaderOnly, "ro")] {
        let volume = Volume::named("data").used_as(mounted(mode));
        // A flag is for the mount, and the node will not tell the driver of it either.
        for volume in [volume.flagged(&["ro"]), volume] {
            driver.forget().unwrap();
            attach(&bed, &volume, "near").unwrap();
            assert_eq!(attaches(&driver), [("near".to_owned(), told.to_owned())]);
            detach(&bed, &volume, "near").unwrap();
        }
    }
    bed.assert_clean();
}

/// A raw device's name may be another's by now, so it is looked up for each user; but attached it is by the controller alone.
#[test]
fn a_raw_device_is_attached_by_the_controller_alone() {
    let made = Bed::script_with(&CONTROLLER, |bed| {
        let file = disk(bed);
        let init = json!({"status": "Success", "extensions": ["staged", "block"]});
        let device = format!(
            r#"printf '{{"status":"Success","device":"%s"}}\n' "$(losetup -n -O NAME -j {} | head -n 1)""#,
            file.display()
        );
        script(&file, ":").on("init", Answer::json(&init)).on("waitforattach", Answer::shell(device))
    });
    let Some((mut bed, driver)) = made else { return };
    let volume = Volume::named("data").used_as(block(SingleNodeMultiWriter));
    let context = attach(&bed, &volume, "near").unwrap();
    stage(&bed, &volume, &context).unwrap();
    for pod in ["one", "two"] {
        bed.publish(&volume, pod).unwrap();
        bed.restart();
    }
    assert_eq!(count(&driver, "attach"), 1);
    for pod in ["one", "two"] {
        bed.unpublish(&volume, pod).unwrap();
    }
    bed.unstage(&volume).unwrap();
    assert_eq!((count(&driver, "attach"), count(&driver, "detach"), devices(&bed).len()), (1, 0, 1));
    detach(&bed, &volume, "near").unwrap();
    bed.assert_clean();
}

/// Two machines, as it were: each part with a root, a plugin directory and a socket of its own.
#[test]
fn both_parts_serve_apart() {
    let (Some(there), Some(here)) = (command::Bed::new(), command::Bed::new()) else { return };
    let file = disk(&there);
    let theirs = there.script("v/scripted", script(&file, ":"));
    let ours = here.script("v/scripted", script(&file, ":"));
    let flags = |part| [&CONTROLLER[..], &["--serve", part]].concat();
    let mut controller = Bed::running(there, "v/scripted", &flags("controller"));
    let mut node = Bed::running(here, "v/scripted", &flags("node"));
    let volume = Volume::named("data");
    let name = node_of(&node);
    refused(attach(&node, &volume, &name), Code::Unimplemented, &[]);
    refused(controller.stage(&volume), Code::Unimplemented, &[]);
    for text in ["first", "second"] {
        let context = attach(&controller, &volume, &name).unwrap();
        controller.restart();
        stage(&node, &volume, &context).unwrap();
        node.restart();
        node.publish(&volume, "one").unwrap();
        let file = node.target("one").join("file");
        assert_eq!(fs::read_to_string(&file).ok(), (text == "second").then(|| "first".to_owned()));
        fs::write(&file, text).unwrap();
        assert_no_record(&controller);
        node.unpublish(&volume, "one").unwrap();
        node.unstage(&volume).unwrap();
        assert_eq!(devices(&controller).len(), 1, "it is attached still");
        controller.restart();
        detach(&controller, &volume, &name).unwrap();
        node.assert_clean();
        controller.assert_clean();
    }
    let verbs = |driver: &Scripted| driver.verbs().unwrap().into_iter().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(verbs(&theirs).iter().map(String::as_str).collect::<Vec<_>>(), ["attach", "detach", "init"]);
    assert!(!verbs(&ours).contains("attach") && !verbs(&ours).contains("detach"), "{:?}", verbs(&ours));
}

/// Writes its pid down and waits.
fn waits(bed: &command::Bed) -> String {
    let [pid, go] = ["pid", "go"].map(|name| bed.sandbox.path().join(name));
    format!("echo $$ > {}; while [ ! -e {} ]; do sleep 0.05; done", pid.display(), go.display())
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// Nothing has to be remembered: the next one, with nothing at all on its disk, attaches and detaches the same volume.
#[test]
fn a_controller_that_is_killed_in_mid_attach_is_replaced_by_a_new_one() {
    for the_driver_ends_too in [true, false] {
        let Some((mut first, driver)) = bed(&CONTROLLER, waits) else { return };
        let volume = Volume::named("data");
        let (pid, go) = (first.command.sandbox.path().join("pid"), first.command.sandbox.path().join("go"));
        let client = first.hasty(Leaves::Silently(Duration::from_secs(60)));
        let orphan = thread::scope(|scope| {
            let call = scope.spawn(|| client.controller_publish_volume(wish(&volume, "near")));
            let orphan = pid_in(&pid);
            kill(first.pid());
            drop(call.join().unwrap().unwrap_err());
            orphan
        });
        assert!(lives(orphan), "the driver has ended with the bridge");
        if the_driver_ends_too {
            kill(orphan);
        }
        fs::write(&go, "").unwrap();
        until("the driver to end", || !lives(orphan));
        first.kill();
        assert_no_record(&first);

        let Some(fresh) = command::Bed::new() else { return };
        let heard = fresh.script("v/scripted", script(&first.command.sandbox.path().join("disk.img"), ":"));
        let mut second = Bed::running(fresh, "v/scripted", &CONTROLLER);
        let context = attach(&second, &volume, "near").unwrap();
        let [device] = &devices(&first)[..] else { panic!("{:?}", devices(&first)) };
        assert_eq!(&context["device"], device);
        assert_no_record(&second);
        second.kill();

        // And the first one once more, of whose root the second knows nothing.
        first.start();
        assert_eq!(attach(&first, &volume, "near").unwrap(), context);
        detach(&first, &volume, "near").unwrap();
        assert_eq!((count(&driver, "attach"), count(&heard, "attach"), count(&heard, "detach")), (2, 1, 0));
        first.assert_clean();
        second.start();
        detach(&second, &volume, "near").unwrap();
        second.assert_clean();
    }
}
