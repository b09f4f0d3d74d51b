//! The whole way by the command: pods of a manifest, up and down, on one share.

use std::fs;

use crate::{
    bed::Node,
    server::{self, until},
    tools::text,
};

const DRIVER: &str = "flexvol.io/nfs";

fn pod(name: &str, options: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  containers: [{{name: c, image: x, volumeMounts: [{{name: data, mountPath: /data}}]}}]
  volumes:
  - name: data
    flexVolume: {{driver: {DRIVER}, options: {{{options}}}}}
---
"
    )
}

/// A node whose command has the driver installed.
fn node(patience: u32) -> Option<Node> {
    let node = Node::new()?;
    let settings = node.bed.sandbox.dir("settings").unwrap();
    fs::write(settings.join("flexvol.io~nfs.json"), format!("{{\"patience\":{patience}}}")).unwrap();
    let exe = flexvolume_testkit::binary("nfs").unwrap();
    node.bed.ok(["install", exe.to_str().unwrap(), "--as", DRIVER]);
    Some(node)
}

#[test]
fn pods_that_write_and_pods_that_read_share_one_mount() {
    let Some(node) = node(20) else { return };
    fs::create_dir(node.on_server("www")).unwrap();
    let options = format!("server: 127.0.0.1, share: {}, subdir: www", text(&node.share.path));
    let reads = format!("{options}, readonly: \"true\"");
    let pods = pod("writer", &options) + &pod("reader", &reads) + &pod("another", &options);
    let manifest = node.bed.manifest("pods.yaml", &pods);
    for _ in 0..2 {
        node.bed.ok(["up", &manifest]);
        let place = |who: &str| node.bed.path_of(who, "data");
        fs::write(place("writer").join("file"), "data").unwrap();
        assert_eq!(fs::read_to_string(place("reader").join("file")).unwrap(), "data");
        fs::write(place("another").join("more"), "").unwrap();
        assert!(fs::write(place("reader").join("no"), "").is_err());
        let own = node.mounts().into_iter().filter(|it| text(&it.point).contains("/shares/")).count();
        assert_eq!(own, 1, "{:?}", node.mounts());
        node.bed.ok(["down", &manifest]);
        assert_eq!(node.mounts(), []);
    }
}

#[test]
fn a_pod_of_a_dead_server_goes_down_and_another_ones_comes_up() {
    let Some(node) = node(2) else { return };
    let dead = pod("dead", &format!("server: 127.0.0.1, share: {}", text(&node.share.path)));
    let manifest = node.bed.manifest("dead.yaml", &dead);
    node.bed.ok(["up", &manifest]);
    fs::write(node.bed.path_of("dead", "data").join("file"), "x").unwrap();
    server::stop();
    let ran = node.bed.run(["down", &manifest]);
    assert_eq!(ran.code, 0, "{ran:?}");
    until("all is unmounted", || node.mounts().is_empty());
    server::start();
    node.bed.ok(["up", &manifest]);
    assert_eq!(fs::read_to_string(node.bed.path_of("dead", "data").join("file")).unwrap(), "x");
    node.bed.ok(["down", &manifest]);
}
