//! The NFS driver over the bridge: a whole life of a volume that is made, and of one that a person wrote down.

use std::{fs, sync::Arc};

use flexvolume_csi::wire::csi::{
    CapacityRange, ControllerExpandVolumeRequest, NodeExpandVolumeRequest, NodeGetVolumeHealthRequest,
    NodeGetVolumeStatsRequest, ValidateVolumeCapabilitiesRequest,
};
use serde_json::json;
use tonic::Code;

use crate::{
    bed::Node,
    bridge::{
        bed::Bed,
        life::{Kind, lives},
        volume::{Volume, map, refused},
    },
    tools::text,
};

pub const DRIVER: &str = "kubernetes.io/nfs";

/// A node whose driver has one pool.
pub fn pooled() -> Option<Node> {
    let node = Node::new()?;
    fs::create_dir(node.on_server("base")).unwrap();
    let exe = flexvolume_testkit::binary("nfs").unwrap();
    node.bed.ok(["install", exe.to_str().unwrap(), "--as", DRIVER]);
    let pool = json!({"server": "127.0.0.1", "share": text(&node.share.path), "base": "base"});
    let file = node.bed.sandbox.dir("settings").unwrap().join("kubernetes.io~nfs.json");
    fs::write(file, json!({"patience": 30, "pools": {"p": pool}}).to_string()).unwrap();
    Some(node)
}

/// The same, and the bridge.
pub fn served(args: &[&str]) -> Option<(Node, Bed)> {
    let node = pooled()?;
    let bridge = Bed::running(Arc::clone(&node.bed), DRIVER, args);
    Some((node, bridge))
}

/// Nothing is mounted, and nothing is in the pool.
#[track_caller]
pub fn assert_empty(node: &Node, bridge: &mut Bed) {
    bridge.assert_down();
    node.assert_down();
    let left = fs::read_dir(node.on_server("base")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), [".flexvol"]);
}

#[test]
fn a_whole_life() {
    let Some((node, mut bridge)) = served(&[]) else { return };
    lives(&mut bridge, &Kind { by_controller: true, ..Kind::plain("", 1 << 20, 4 << 20) });
    assert_empty(&node, &mut bridge);
}

/// Its id is whatever he calls it, and its context says where it is.
#[test]
fn a_volume_that_a_person_wrote_down() {
    let Some((node, mut bridge)) = served(&[]) else { return };
    fs::create_dir(node.on_server("music")).unwrap();
    fs::write(node.on_server("music/song"), "la").unwrap();
    let context = map([("server", "127.0.0.1"), ("share", text(&node.share.path)), ("subdir", "music")]);
    let volume = Volume { context, ..Volume::named("music of ours") }.of_any_type();
    let validate = ValidateVolumeCapabilitiesRequest {
        volume_id: volume.id.clone(),
        volume_context: volume.context.clone(),
        volume_capabilities: vec![volume.capability.clone()],
        ..ValidateVolumeCapabilitiesRequest::default()
    };
    let unknown = ValidateVolumeCapabilitiesRequest { volume_context: map([]), ..validate.clone() };
    refused(bridge.client.validate_volume_capabilities(unknown), Code::NotFound, &["music of ours"]);
    assert!(bridge.client.validate_volume_capabilities(validate).unwrap().confirmed.is_some());

    bridge.stage(&volume).unwrap();
    bridge.publish(&volume, "one").unwrap();
    let target = bridge.target("one");
    assert_eq!(fs::read_to_string(target.join("song")).unwrap(), "la");
    fs::write(target.join("more"), "lala").unwrap();
    assert_eq!(fs::read_to_string(node.on_server("music/more")).unwrap(), "lala");

    bridge.restart();
    let (volume_id, volume_path) = (volume.id.clone(), text(&target).to_owned());
    let health = NodeGetVolumeHealthRequest { volume_id: volume_id.clone(), ..NodeGetVolumeHealthRequest::default() };
    let health = bridge.client.node_get_volume_health(health).unwrap().volume_health.unwrap();
    assert_eq!((health.volume_id.as_str(), health.health_statuses.len()), ("music of ours", 0));
    let stats = NodeGetVolumeStatsRequest {
        volume_id: volume_id.clone(),
        volume_path: volume_path.clone(),
        ..NodeGetVolumeStatsRequest::default()
    };
    assert!(bridge.client.node_get_volume_stats(stats).unwrap().usage[0].total > 0);
    let capacity_range = Some(CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 });
    let grow = NodeExpandVolumeRequest {
        volume_id: volume_id.clone(),
        volume_path,
        capacity_range,
        ..NodeExpandVolumeRequest::default()
    };
    assert_eq!(bridge.client.node_expand_volume(grow).unwrap().capacity_bytes, 1 << 30);
    // The controller is told the id alone.
    let grow = ControllerExpandVolumeRequest { volume_id, capacity_range, ..ControllerExpandVolumeRequest::default() };
    refused(bridge.client.controller_expand_volume(grow), Code::NotFound, &["music of ours"]);

    bridge.unpublish(&volume, "one").unwrap();
    bridge.unstage(&volume).unwrap();
    bridge.assert_down();
    node.assert_down();
    assert_eq!(fs::read_to_string(node.on_server("music/song")).unwrap(), "la");
}
