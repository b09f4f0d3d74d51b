//! detach: of what was never attached, and of what was moved or renamed meanwhile.

use std::fs::File;

use super::node::Node;
use crate::{
    group::{lvm, targets},
    tools::text,
};

/// A host lets go also of what it did not get. The driver had no part in it being active, and has none now.
#[test]
fn what_was_refused_stays_to_whose_it_is() {
    let Some(node) = Node::new(&[64]) else { return };
    let device = node.vg.create("theirs", "16m", &[]);
    let j = node.j_found("theirs");
    let open = File::open(&device).unwrap();
    node.attach(&j).fails("busy", &["was not made by this driver and is in use already"]);
    node.detach(&j).ok();
    node.attach(&j).fails("busy", &["in use already"]);
    // For a moment nobody has it open, as while it is checked.
    drop(open);
    node.detach(&j).ok();
    assert!(device.exists(), "it is active as it was");
    // Nothing is asked about a group that cannot be used either.
    lvm(["lvchange", "-an", &node.vg.of("theirs")]);
    lvm(["vgexport", &node.vg.name]);
    node.attach(&j).fails("unsupported", &["exported"]);
    node.detach(&j).ok();
    lvm(["vgimport", &node.vg.name]);
}

#[test]
fn a_volume_goes_though_its_group_was_moved_and_renamed() {
    let Some(()) = targets(&["mirror"]) else { return };
    let Some(node) = Node::new(&[64]) else { return };
    let (j, other) = (node.j("vol1"), node.bed.disk(64));
    node.attach(&j).ok();
    let (old, new) = (text(&node.vg.disks[0].device), text(&other.device));
    lvm(["vgextend", "-q", &node.vg.name, new]);
    lvm(["pvmove", "-q", old, new]);
    lvm(["vgreduce", "-q", &node.vg.name, old]);
    lvm(["pvremove", "-q", old]);
    node.detach(&j).ok();
    node.assert_down("moved");
    node.attach(&j).ok();
    let renamed = format!("{}-renamed", node.vg.name);
    lvm(["vgrename", &node.vg.name, &renamed]);
    node.detach(&j).ok();
    lvm(["vgrename", &renamed, &node.vg.name]);
    node.assert_down("renamed");
}
