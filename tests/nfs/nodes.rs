//! Several nodes at one pool: who makes or deletes a tree has it for himself, and he who was cut off from the server has lost it.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
};

use flexvolume_testkit::driver::{Driver, J};

use crate::{
    bed::Node,
    server::until,
    tools::{shell, text},
};

/// Another node: nothing of what the first keeps is known to it but what lies on the server. Its mount is another one to the kernel,
/// which then has locks of its own for it.
fn another(node: &Node) -> Driver {
    let run = node.bed.sandbox.dir("another").unwrap();
    let settings = run.join("settings.json");
    let first = fs::read_to_string(node.bed.sandbox.path().join("settings.json")).unwrap();
    fs::write(&settings, first.replace(r#""base":"#, r#""mountOptions":"acregmin=4","base":"#)).unwrap();
    node.driver.clone().with_env("FLEXVOL_RUN", &run).with_env("FLEXVOL_SETTINGS", &settings)
}

/// The first node waits no longer than so for others.
fn set_slice(node: &Node, old: &str, new: &str) {
    let file = node.bed.sandbox.path().join("settings.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&format!("\"slice\":{old}"), &format!("\"slice\":{new}"))).unwrap();
}

/// A volume with so many files that its copy takes a while, and a copy by another node that is held in its midst.
fn held(node: &Node) -> (Child, J, String) {
    let volume = node.make("v", &[]);
    shell("cd $1 && for n in $(seq 1000 1100); do echo original >f$n; done", &[text(&node.on_server("base/v"))]);
    let ask = J::default().with("flexvol/name", "c").with("flexvol/sourceVolume", &volume);
    let mut command = another(node).command(&["createvolume", &ask.text()]);
    let mut other = command.stdout(Stdio::piped()).spawn().unwrap();
    until("it copies", || {
        if other.try_wait().unwrap().is_some() {
            panic!("it ended: {}", std::io::read_to_string(other.stdout.take().unwrap()).unwrap());
        }
        fs::read_dir(node.on_server("base/.flexvol/new/volume-c")).map_or(0, Iterator::count) > 5
    });
    let child = shell("pgrep -n -f '^flexvol-nfs-pool$'", &[]).trim().to_owned();
    shell("kill -STOP $1", &[&child]);
    (other, ask, child)
}

/// The other node's child goes on, and is done with it: what a pod wrote is still there.
fn assert_kept(node: &Node, mut other: Child, child: &str) {
    let last = node.on_server("base/c/f1100");
    fs::write(&last, "what a pod wrote, and longer than it was").unwrap();
    let _ = shell("kill -CONT $1 || true", &[child]);
    other.wait().unwrap();
    until("its child is gone", || !Path::new(&format!("/proc/{child}")).exists());
    assert_eq!(fs::read_to_string(last).unwrap(), "what a pod wrote, and longer than it was");
}

#[test]
fn two_nodes_that_make_one_copy_do_not_undo_each_others_work() {
    let Some(node) = Node::with_pool(r#","slice":200"#) else { return };
    let (other, ask, child) = held(&node);
    set_slice(&node, "200", "1");
    let said = node.call(&["createvolume", &ask.text()]);
    assert_eq!(said.get("status"), "In progress");
    shell("kill -CONT $1", &[&child]);
    node.through("createvolume", &ask).ok();
    assert_kept(&node, other, &child);
}

#[test]
fn a_node_that_its_server_has_forgotten_goes_on_with_nothing() {
    let Some(node) = Node::with_pool(r#","slice":200"#) else { return };
    let (other, ask, child) = held(&node);
    set_slice(&node, "200", "60");
    shell("for client in /proc/fs/nfsd/clients/*/ctl; do echo expire >$client; done", &[]);
    node.through("createvolume", &ask).ok();
    assert_kept(&node, other, &child);
}
