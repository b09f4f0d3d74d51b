//! What is lost, replaced or on another node is said, and nothing new is put in its place.

use std::{fs, path::Path};

use flexvolume_testkit::driver::J;

use super::node::Node;
use crate::{
    group::{self, Disk, lvm},
    tools::{run, text, tool},
};

/// A volume that was used on this node and is at rest.
fn used(node: &Node, volume: &str) -> J {
    let (j, gdir) = (node.j(volume), node.place("global"));
    node.attach(&j).ok();
    node.call(&["mountdevice", text(&gdir), "", &j.text()]).ok();
    node.call(&["unmountdevice", text(&gdir)]).ok();
    node.detach(&j).ok();
    j
}

fn pull(disk: &Disk) {
    tool("losetup", &["--detach", text(&disk.device)]);
}

fn plug(disk: &Disk, device: &Path) {
    tool("losetup", &[text(device), text(&disk.file)]);
}

#[test]
fn a_volume_that_is_gone_is_not_made_again() {
    let Some(node) = Node::new(&[64]) else { return };
    let j = used(&node, "vol1");
    lvm(["lvremove", "--yes", &node.vg.of("vol1")]);
    let mark = node.seen("vol1");
    for j in [&j, &j.clone().without("create"), &j.clone().read_only()] {
        node.attach(j).fails("notFound", &["is gone", "backup", text(&mark)]);
        node.call(&["mount", text(&node.place("pod")), &j.text()]).fails("notFound", &["is gone"]);
    }
    node.make("vol1", "1000000", &[]).fails("notFound", &["is gone", text(&mark)]);
    assert_eq!(node.vg.volumes(), Vec::<String>::new());
    // Another of that name is not it.
    node.vg.create("vol1", "16m", &["--activate", "n"]);
    node.attach(&j).fails("notFound", &["another one", text(&mark)]);
    lvm(["lvremove", "--yes", &node.vg.of("vol1")]);
    node.detach(&j).ok();
    fs::remove_file(&mark).unwrap();
    node.attach(&j).ok();
    node.detach(&j).ok();
}

#[test]
fn a_volume_that_was_renamed_is_another() {
    let Some(node) = Node::new(&[64]) else { return };
    let j = used(&node, "vol1");
    lvm(["lvrename", &node.vg.of("vol1"), &node.vg.of("vol2")]);
    node.attach(&j).fails("notFound", &["is gone"]);
    node.attach(&node.j("vol2")).fails("conflict", &["vol1", "lvrename"]);
    node.delete("vol2").fails("conflict", &["vol1"]);
    lvm(["lvrename", &node.vg.of("vol2"), &node.vg.of("vol1")]);
    node.attach(&j).ok();
    node.detach(&j).ok();
    node.detach(&node.j("vol2")).ok();
    node.assert_down("after all");
}

#[test]
fn a_disk_that_is_missing_is_told_and_others_go_on() {
    let Some(node) = Node::new(&[64, 64]) else { return };
    let [first, second] = &node.vg.disks[..] else { panic!("two disks") };
    // Tagged as ours, each on a disk of its own.
    for (volume, disk) in [("here", first), ("there", second)] {
        node.vg.create(volume, "16m", &["--activate", "n", text(&disk.device)]);
        node.attach(&node.j(volume).with("adopt", "true")).ok();
        node.detach(&node.j(volume)).ok();
    }
    pull(second);
    node.attach(&node.j("there")).fails("", &["missing", "there"]);
    node.delete("there").fails("", &["missing"]);
    node.attach(&node.j("here")).ok();
    node.detach(&node.j("here")).ok();
    node.attach(&node.j("new")).fails("", &["PVs are missing"]);
    pull(first);
    for volume in ["here", "there", "new"] {
        node.attach(&node.j(volume)).fails("notFound", &["no volume group", &node.vg.name]);
        // Not "gone": nobody knows what is in that group.
        node.delete(volume).fails("", &["no volume group"]);
        node.detach(&node.j(volume)).ok();
    }
    // Back, and called otherwise.
    plug(first, &second.device);
    plug(second, &first.device);
    for volume in ["here", "there"] {
        node.attach(&node.j(volume)).ok();
        node.detach(&node.j(volume)).ok();
    }
    assert_eq!(node.vg.volumes(), ["here", "there"]);
    node.assert_down("after all");
}

#[test]
fn a_group_of_another_host_is_the_wrong_node() {
    let Some(node) = Node::new(&[64]) else { return };
    let (j, vg) = (used(&node, "vol1"), node.vg.name.as_str());
    lvm(["vgchange", "--yes", "--systemid", "elsewhere", vg]);
    node.attach(&j).fails("notFound", &["another host", "elsewhere"]);
    node.delete("vol1").fails("", &["another host"]);
    // Only its own host may give it away.
    let dir = node.bed.sandbox.dir("elsewhere").unwrap();
    let words = "local {\n system_id=\"elsewhere\"\n}\nglobal {\n system_id_source=\"lvmlocal\"\n}\n";
    fs::write(dir.join("lvm.conf"), words).unwrap();
    let mut give = group::command(["vgchange", "--yes", "--systemid", "", vg]);
    run(give.env("LVM_SYSTEM_DIR", dir));
    node.attach(&j).ok();
    node.detach(&j).ok();
    lvm(["vgexport", vg]);
    node.attach(&j).fails("unsupported", &["exported", "vgimport"]);
    lvm(["vgimport", vg]);
    node.attach(&j).ok();
    node.detach(&j).ok();
    node.assert_down("after all");
}

#[test]
fn two_groups_of_one_name_and_two_copies_of_one_disk_are_told() {
    let Some(node) = Node::new(&[64]) else { return };
    let (j, vg) = (used(&node, "vol1"), node.vg.name.as_str());
    let uuid = group::report("vgs", "vg_uuid", vg)[0]["vg_uuid"].clone();
    let forget = || fs::remove_dir_all(node.bed.sandbox.path().join("run/lvm/groups")).unwrap();
    let other = node.bed.group(&[64]);
    pull(&node.vg.disks[0]);
    lvm(["vgrename", &other.name, vg]);
    plug(&node.vg.disks[0], &node.vg.disks[0].device);
    // As long as its disks are remembered, nothing is asked of the others.
    node.attach(&j).ok();
    node.detach(&j).ok();
    forget();
    // Of one that was handed out here it is known in which of the two it is.
    node.attach(&j).ok();
    node.detach(&j).ok();
    forget();
    let fresh = node.j("fresh");
    node.attach(&fresh).fails("conflict", &[vg, &uuid, "vgrename"]);
    node.attach(&fresh.clone().with("volumegroupUUID", &uuid)).ok();
    node.detach(&fresh).ok();
    pull(&other.disks[0]);

    let copy = node.bed.disk(64);
    tool("cp", &[text(&node.vg.disks[0].file), text(&copy.file)]);
    forget();
    node.attach(&j).fails("conflict", &["twice"]);
    pull(&copy);
    node.attach(&j).ok();
    node.detach(&j).ok();
    node.assert_down("after all");
}

#[test]
fn what_another_group_of_that_name_lacks_is_not_taken_for_deleted() {
    let Some(node) = Node::new(&[64]) else { return };
    let (j, vg) = (used(&node, "vol1"), node.vg.name.as_str());
    let other = node.bed.group(&[64]);
    pull(&node.vg.disks[0]);
    lvm(["vgrename", &other.name, vg]);
    // By the id alone.
    node.delete("vol1").fails("", &["wrong node"]);
    // Of that other group there is nothing to delete, nor to forget.
    let uuid = &group::report("vgs", "vg_uuid", vg)[0]["vg_uuid"];
    let by_both = J::default().with("flexvol/id", &node.vg.of("vol1")).with("volumegroupUUID", uuid);
    node.call(&["deletevolume", &by_both.text()]).ok();
    assert!(node.seen("vol1").exists());
    node.attach(&j).fails("notFound", &["is gone"]);
    pull(&other.disks[0]);
    plug(&node.vg.disks[0], &node.vg.disks[0].device);
    node.attach(&j).ok();
    node.detach(&j).ok();
    node.delete("vol1").ok();
    assert!(node.vg.volumes().is_empty() && !node.seen("vol1").exists());
}

#[test]
fn a_clone_does_not_take_the_name_of_a_volume_that_is_gone() {
    let Some(node) = Node::new(&[64]) else { return };
    let j = used(&node, "vol1");
    lvm(["lvremove", "--yes", &node.vg.of("vol1")]);
    node.make("db", "8000000", &[]).ok();
    let source = node.vg.of("db");
    let clone = || node.make("vol1", "8000000", &[("flexvol/sourceVolume", &source)]);
    clone().fails("notFound", &["is gone", text(&node.seen("vol1"))]);
    assert_eq!(node.vg.volumes(), ["db"]);
    node.detach(&j).ok();
}
