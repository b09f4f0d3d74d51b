//! The whole way by the command: pods of a manifest, up and down, on one share.

use std::fs;

use crate::{
    bed::Node,
    server::{self, until},
    tools::text,
};

const DRIVER: &str = "flexvol.io/nfs";

/// A pod; its volume has its name, since another one of that name with other options would be called differently.
fn pod(name: &str, options: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  containers: [{{name: c, image: x, volumeMounts: [{{name: {name}, mountPath: /data}}]}}]
  volumes:
  - name: {name}
    flexVolume: {{driver: {DRIVER}, options: {{{options}}}}}
---
"
    )
}

/// A node whose command has the driver installed.
fn node(patience: u32) -> Option<Node> {
    let node = Node::new()?;
    wait_for(&node, patience);
    let exe = flexvolume_testkit::binary("nfs").unwrap();
    node.bed.ok(["install", exe.to_str().unwrap(), "--as", DRIVER]);
    Some(node)
}

/// So long the driver waits for a server.
fn wait_for(node: &Node, patience: u32) {
    let settings = node.bed.sandbox.dir("settings").unwrap();
    fs::write(settings.join("flexvol.io~nfs.json"), format!("{{\"patience\":{patience}}}")).unwrap();
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
        let place = |who: &str| node.bed.path_of(who, who);
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
fn a_pod_of_a_dead_server_goes_down_and_comes_up_when_it_is_back() {
    let Some(node) = node(2) else { return };
    let dead = pod("dead", &format!("server: 127.0.0.1, share: {}", text(&node.share.path)));
    let manifest = node.bed.manifest("dead.yaml", &dead);
    node.bed.ok(["up", &manifest]);
    fs::write(node.bed.path_of("dead", "dead").join("file"), "x").unwrap();
    server::stop();
    // Somebody of the pod waits for the server. Nobody else on this node has this share, so he need not.
    let mut waiting = node.writer(&node.bed.path_of("dead", "dead"), "out");
    node.waits(&waiting);
    let ran = node.bed.run(["down", &manifest]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("force"), "{ran:?}");
    until("all is unmounted", || node.mounts().is_empty());
    until("he is told", || waiting.try_wait().unwrap().is_some_and(|how| !how.success()));
    server::start();
    wait_for(&node, 20);
    node.bed.ok(["up", &manifest]);
    assert_eq!(fs::read_to_string(node.bed.path_of("dead", "dead").join("file")).unwrap(), "x");
    node.bed.ok(["down", &manifest]);
}

/// Somebody waits in the node's own mount of the volume, which is the driver's to take away.
#[test]
fn what_the_driver_takes_by_force_is_told_by_down() {
    let Some(node) = node(2) else { return };
    let dead = pod("dead", &format!("server: 127.0.0.1, share: {}", text(&node.share.path)));
    let manifest = node.bed.manifest("dead.yaml", &dead);
    node.bed.ok(["up", &manifest]);
    server::stop();
    let global = format!("plugins/kubernetes.io/flexvolume/{DRIVER}/mounts/dead");
    let mut waiting = node.writer(&node.bed.sandbox.root().join(global), "out");
    node.waits(&waiting);
    let ran = node.bed.run(["down", &manifest]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = format!("{DRIVER}/dead: {DRIVER} says to unmountdevice: ");
    assert!(ran.stderr.lines().any(|line| line.starts_with(&said) && line.contains("force")), "{ran:?}");
    until("he is told", || waiting.try_wait().unwrap().is_some_and(|how| !how.success()));
    server::start();
    until("all is unmounted", || node.mounts().is_empty());
}

#[test]
fn a_pod_whose_share_was_made_anew_has_the_new_one_after_up() {
    let Some(node) = node(20) else { return };
    let options = format!("server: 127.0.0.1, share: {}", text(&node.share.path));
    let manifest = node.bed.manifest("pods.yaml", &(pod("one", &options) + &pod("two", &options)));
    node.bed.ok(["up", &manifest]);
    let place = |who: &str| node.bed.path_of(who, who);
    node.share.replace();
    fs::write(node.on_server("new"), "new").unwrap();
    for who in ["one", "two"] {
        until("the client notices", || fs::read_dir(place(who)).is_err());
    }
    node.bed.ok(["up", &manifest]);
    for who in ["one", "two"] {
        assert_eq!(fs::read_to_string(place(who).join("new")).unwrap(), "new", "{who}");
    }
    node.bed.ok(["down", &manifest]);
    assert_eq!(node.mounts(), []);
}
