//! Attached by the controller: what it hands over is what the node uses, and who only reads says so on the node.

use std::{collections::BTreeMap, fs};

use flexvolume_csi::wire::csi::{
    ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest, NodeStageVolumeRequest,
    volume_capability::access_mode::Mode::{SingleNodeMultiWriter, SingleNodeReaderOnly},
};
use flexvolume_testkit::scripted::Scripted;
use serde_json::Value;
use tonic::{Code, Status};

use crate::{
    bed::Bed,
    command,
    scripts::staged,
    volume::{Volume, mounted, refused},
};

const NODE: &str = "another";

fn served() -> Option<(Bed, Scripted)> {
    let command = command::Bed::new()?;
    let driver = command.script("v/scripted", staged());
    Some((Bed::running(command, "v/scripted", &["--attach=controller"]), driver))
}

/// Attaches; gives what the node is to be told.
fn attach(bed: &Bed, volume: &Volume, readonly: bool) -> Result<BTreeMap<String, String>, Status> {
    let request = ControllerPublishVolumeRequest {
        volume_id: volume.id.clone(),
        node_id: NODE.to_owned(),
        volume_capability: Some(volume.capability.clone()),
        volume_context: volume.context.clone(),
        readonly,
        ..ControllerPublishVolumeRequest::default()
    };
    bed.client.controller_publish_volume(request).map(|answer| answer.publish_context)
}

/// What the driver was told each time: for which node, and `rw` or `ro`.
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
    let Some((mut bed, driver)) = served() else { return };
    let volume = Volume::named("v").of_any_type();
    refused(attach(&bed, &volume, true), Code::InvalidArgument, &["PUBLISH_READONLY"]);
    assert_eq!(attaches(&driver), [], "refused, and yet attached");

    let publish_context = attach(&bed, &volume, false).unwrap();
    let stage = NodeStageVolumeRequest { publish_context, ..bed.stage_request(&volume) };
    bed.client.node_stage_volume(stage).unwrap();
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
    let request = ControllerUnpublishVolumeRequest {
        volume_id: volume.id,
        node_id: NODE.to_owned(),
        ..ControllerUnpublishVolumeRequest::default()
    };
    bed.client.controller_unpublish_volume(request).unwrap();
    assert_eq!(attaches(&driver), [(NODE.to_owned(), "rw".to_owned())], "attached once, and not by the node");
    bed.assert_clean();
}

#[test]
fn by_its_access_mode_a_volume_is_attached_read_only() {
    let Some((bed, driver)) = served() else { return };
    for (mode, told) in [(SingleNodeMultiWriter, "rw"), (SingleNodeReaderOnly, "ro")] {
        driver.forget().unwrap();
        let volume = Volume::named("v").used_as(mounted(mode)).of_any_type();
        attach(&bed, &volume, false).unwrap();
        assert_eq!(attaches(&driver), [(NODE.to_owned(), told.to_owned())]);
        // A flag is for the mount, and the node will not tell the driver of it either.
        driver.forget().unwrap();
        attach(&bed, &volume.flagged(&["ro"]), false).unwrap();
        assert_eq!(attaches(&driver), [(NODE.to_owned(), told.to_owned())]);
    }
}
