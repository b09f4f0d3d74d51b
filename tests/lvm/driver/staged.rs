//! The staged life: attach, wait, mount once per node, bind per pod, and all of it back.

use std::{fs, process::Command};

use super::node::{Kind, Node, read};
use crate::{
    group::{dmsetup, lvm},
    tools::{run, shell, text, tool},
};

/// Every verb twice, two rounds: the device, the mount, a pod's bind, the data.
fn rounds(kind: Kind) {
    let Some(node) = Node::of(kind, 64) else { return };
    let j = node.j_of(kind, "vol1");
    let (gdir, pod) = (node.place("global"), node.place("pod"));
    for round in ["first", "second"] {
        let isattached = ["isattached", &j.text(), "node"];
        assert_eq!(node.twice(&isattached).get("attached"), false);
        let device = node.twice(&["attach", &j.text(), "node"]).word("device");
        assert_eq!(node.twice(&isattached).get("attached"), true);
        for given in ["", "/dev/dm-99", &device] {
            assert_eq!(node.twice(&["waitforattach", given, &j.text()]).word("device"), device);
        }
        node.twice(&["mountdevice", text(&gdir), &device, &j.text()]);
        tool("mount", &["--bind", text(&gdir), text(&pod)]);
        shell("echo $2 >>$1/file", &[text(&pod), round]);
        node.detach(&j).fails("busy", &["vol1", text(&gdir)]);
        tool("umount", &[text(&pod)]);
        node.twice(&["unmountdevice", text(&gdir)]);
        node.twice(&["detach", j.name(), "node"]);
        node.assert_down(round);
    }
    node.attach(&j).ok();
    node.call(&["mountdevice", text(&gdir), "", &j.text()]).ok();
    assert_eq!(read(&gdir.join("file")), "first\nsecond");
    node.call(&["unmountdevice", text(&gdir)]).ok();
    node.detach(&j).ok();
}

#[test]
fn a_thick_volume_goes_round_and_every_verb_may_come_twice() {
    rounds(Kind::Thick);
}

#[test]
fn a_thin_volume_goes_round_and_every_verb_may_come_twice() {
    rounds(Kind::Thin);
}

#[test]
fn what_it_says_of_itself() {
    let Some(node) = Node::new(&[64]) else { return };
    let said = node.twice(&["init"]);
    assert_eq!(said.get("capabilities")["attach"], false, "strangers must not attach");
    for extension in ["staged", "local", "block", "provision", "expand"] {
        assert!(said.get("extensions").as_array().unwrap().iter().any(|one| one == extension), "{extension}");
    }
    let said = run(node.command(&["init"]).env("PATH", "/nowhere"));
    assert!(said.contains("Success"), "it is found where systems have it: {said}");
}

#[test]
fn a_program_at_the_device_keeps_it_and_is_named() {
    let Some(node) = Node::new(&[64]) else { return };
    let j = node.j("vol1");
    let device = node.attach(&j).ok().word("device");
    let mut holder = Command::new("sh");
    holder.args(["-c", "exec 3<$1; echo; exec sleep 1000", "sh", &device]).stdout(std::process::Stdio::piped());
    let mut child = holder.spawn().unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 1]).unwrap();
    node.detach(&j).fails("busy", &[&format!("process {}", child.id())]);
    assert!(node.vg.is_active("vol1"));
    child.kill().unwrap();
    child.wait().unwrap();
    node.detach(&j).ok();
    node.assert_down("after all");
}

#[test]
fn another_mount_at_the_place_is_left_alone() {
    let Some(node) = Node::new(&[64]) else { return };
    let (one, two, gdir) = (node.j("one"), node.j("two"), node.place("global"));
    for j in [&one, &two] {
        node.attach(j).ok();
    }
    node.call(&["mountdevice", text(&gdir), "", &one.text()]).ok();
    node.call(&["mountdevice", text(&gdir), "", &two.text()]).fails("conflict", &[text(&gdir)]);
    node.call(&["unmountdevice", text(&gdir)]).ok();
    for j in [&one, &two] {
        node.detach(j).ok();
    }
    node.assert_down("after all");
}

/// What a boot leaves: nothing active, the driver's notes of this boot gone or void, the state still there.
#[test]
fn it_goes_on_after_a_reboot() {
    let Some(node) = Node::new(&[64]) else { return };
    let (j, gdir) = (node.j("vol1"), node.place("global"));
    node.attach(&j).ok();
    node.call(&["mountdevice", text(&gdir), "", &j.text()]).ok();
    shell("echo kept >$1/file", &[text(&gdir)]);
    tool("umount", &[text(&gdir)]);
    lvm(["lvchange", "-an", &node.vg.of("vol1")]);
    let run_dir = node.bed.sandbox.path().join("run");
    for wiped in [false, true] {
        if wiped {
            fs::rename(&run_dir, node.bed.sandbox.path().join("before")).unwrap();
        }
        assert_eq!(node.call(&["isattached", &j.text(), "node"]).ok().get("attached"), false);
        let said = node.call(&["waitforattach", "/dev/mapper/vg-vol1", &j.text()]);
        said.fails("", &["not attached", "attach comes first"]);
        node.call(&["unmountdevice", text(&gdir)]).ok();
        node.detach(&j).ok();
    }
    node.attach(&j).ok();
    node.call(&["mountdevice", text(&gdir), "", &j.text()]).ok();
    assert_eq!(read(&gdir.join("file")), "kept");
    node.call(&["unmountdevice", text(&gdir)]).ok();
    node.detach(&j).ok();
    node.assert_down("after all");
}

/// A command that was cut off left the device suspended: whoever touched it would hang.
#[test]
fn a_suspended_volume_is_revived_before_it_is_touched() {
    let Some(node) = Node::new(&[64]) else { return };
    let (j, gdir) = (node.j("vol1"), node.place("global"));
    let device = node.attach(&j).ok().word("device");
    let suspend = || run(dmsetup().args(["suspend", "--noflush", &device]));
    let is_suspended = || node.vg.row("vol1", "lv_suspended")["lv_suspended"] == "suspended";
    let calls: [&[&str]; 4] = [
        &["attach", &j.text(), "node"],
        &["mountdevice", text(&gdir), &device, &j.text()],
        &["unmountdevice", text(&gdir)],
        &["detach", j.name(), "node"],
    ];
    for call in calls {
        suspend();
        assert!(is_suspended());
        node.call(call).ok();
        assert!(!is_suspended(), "{call:?}");
    }
    node.assert_down("after all");
}

#[test]
fn a_volume_grows_mounted_and_unmounted_and_never_shrinks() {
    let Some(node) = Node::new(&[256]) else { return };
    let (j, gdir) = (node.j("vol1"), node.place("global"));
    let size = || node.vg.row("vol1", "lv_size")["lv_size"].clone();
    let grow = |to: u64| node.twice(&["expandvolume", &j.text(), text(&gdir), &(to << 20).to_string(), "0"]);
    let device = node.attach(&j).ok().word("device");
    node.call(&["mountdevice", text(&gdir), &device, &j.text()]).ok();
    assert_eq!(grow(30).get("bytes"), 32 << 20, "whole extents, and that is told");
    assert_eq!(grow(8).get("bytes"), 32 << 20);
    node.twice(&["expandfs", &j.text(), &device, text(&gdir), "0", "0"]);
    let mib = || shell("echo $(($(stat -f -c '%b * %S' $1) >> 20))", &[text(&gdir)]).parse::<u64>().unwrap();
    assert!(mib() > 24, "{}", mib());
    node.call(&["unmountdevice", text(&gdir)]).ok();
    node.call(&["expandvolume", &j.text(), text(&gdir), &(64_u64 << 20).to_string(), "0"]).ok();
    node.twice(&["expandfs", &j.text(), &device, text(&gdir), "0", "0"]);
    node.detach(&j).ok();
    grow(100);
    assert!(!node.vg.is_active("vol1"), "growing attaches nothing");
    assert_eq!(size(), (100 << 20).to_string());
    let full = node.call(&["expandvolume", &j.text(), text(&gdir), &(1_u64 << 30).to_string(), "0"]);
    full.fails("exhausted", &[&node.vg.name, "924m"]);
    node.attach(&j).ok();
    node.call(&["mountdevice", text(&gdir), &device, &j.text()]).ok();
    assert!(mib() > 50, "{}", mib());
    node.call(&["unmountdevice", text(&gdir)]).ok();
    node.detach(&j).ok();
}
