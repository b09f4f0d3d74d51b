//! The LVM driver: a volume group on one disk, the driver's own state on another. They lose their power together, and each
//! loses its own cache.

use std::fs;
use std::path::{Path, PathBuf};

use flexvolume_testkit::killat::Effect;
use flexvolume_testkit::powercut::{Range, Source};
use serde_json::{Value, json};

use super::branch::Branch;
use super::life::{Disks, Life};
use super::node::{Node, Omitted, mounted, nothing, run};
use super::sweep::{Outcome, Part, sweep};
use crate::group::{self, POOL};
use crate::tools::{text, tool};

const GROUP: &str = "powercut";

/// Where LVM keeps its own records. It writes a new text, then the head that points to it, and flushes neither: a disk that
/// takes the second and loses the first leaves a group that LVM itself cannot read. No driver can help that.
const METADATA: Range = Range { at: 0, bytes: 1 << 20 };

/// What the volumes are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Thick,
    Thin,
}

impl Disks for Kind {
    fn up(&self, node: &Node, devices: &[&Path]) -> Result<(), String> {
        mounted(devices[1], &node.lasting())?;
        node.set(&json!({"volumegroups": [GROUP]}));
        Ok(())
    }

    fn parameters(&self) -> Value {
        match self {
            Kind::Thick => json!({"volumegroup": GROUP}),
            Kind::Thin => json!({"volumegroup": GROUP, "thinpool": POOL}),
        }
    }

    fn sizes(&self) -> (u64, u64) {
        (16 << 20, 24 << 20)
    }
}

impl Kind {
    /// The image of a disk with the volume group on it, as an administrator makes it.
    fn group(self, node: &Node) -> PathBuf {
        let image = node.image("group", 112);
        let device = tool("losetup", &["--find", "--show", text(&image)]);
        let lvm = |words: &[&str]| {
            let ran =
                group::command(words.iter().copied()).env("LVM_SYSTEM_DIR", config(node, "loop")).output().unwrap();
            assert!(ran.status.success(), "{words:?}: {ran:?}");
        };
        // Links that a point which failed has left in a machine without udev.
        let _ = fs::remove_dir_all(format!("/dev/{GROUP}"));
        lvm(&["vgcreate", GROUP, &device]);
        if self == Kind::Thin {
            lvm(&["lvcreate", "--yes", "--type", "thin-pool", "--size", "64m", "--name", POOL, GROUP]);
            lvm(&["vgchange", "-an", GROUP]);
        }
        tool("losetup", &["--detach", &device]);
        image
    }
}

/// A configuration of LVM that sees devices of this kind alone: below a recorded or rebuilt disk lies a loop device with the
/// very same content. Nothing of what LVM keeps beside the disks is kept, for a case has many machines in one.
fn config(node: &Node, devices: &str) -> PathBuf {
    let dir = node.work(&format!("lvm-{devices}"));
    let words = format!(
        "devices {{\n global_filter=[ \"a|^/dev/{devices}|\", \"r|.*|\" ]\n hints=\"none\"\n}}\n\
         backup {{\n backup=0\n archive=0\n}}\nactivation {{\n monitoring=0\n}}\n"
    );
    fs::write(dir.join("lvm.conf"), words).unwrap();
    // What this system says of itself, such as whether it has udev.
    let _ = fs::copy("/etc/lvm/lvmlocal.conf", dir.join("lvmlocal.conf"));
    dir
}

/// A node for such volumes, and its disks.
fn node(kind: Kind) -> Option<(Node, PathBuf, PathBuf)> {
    let mut node = Node::new("lvm")?;
    if kind == Kind::Thin {
        group::targets(&["thin-pool"])?;
    }
    let conf = config(&node, "dm-");
    node.env("LVM_SYSTEM_DIR", conf);
    let (group, state) = (kind.group(&node), node.image("state", 16));
    run("mkfs.ext4", &["-q", text(&state)]).unwrap();
    Some((node, group, state))
}

fn sources<'a>(group: &'a Path, state: &'a Path) -> [Source<'a>; 2] {
    [
        Source { name: "group", image: group, ordered: METADATA },
        Source { name: "state", image: state, ordered: Range::NONE },
    ]
}

fn live(name: &str, part: Part, kind: Kind, omitted: Omitted) -> Option<Outcome> {
    let (node, group, state) = node(kind)?;
    let life = Life { node: &node, disks: &kind };
    let lived = life.record(&sources(&group, &state), omitted);
    Some(sweep(name, part, &lived.recording, &node, |crash| lived.recover(crash)))
}

fn branch(name: &str, kind: Kind) -> Option<Outcome> {
    let (node, group, state) = node(kind)?;
    let branch = Branch { life: Life { node: &node, disks: &kind } };
    let branched = branch.record(&sources(&group, &state));
    Some(sweep(name, Part::ALL, &branched.recording, &node, |crash| branched.recover(crash)))
}

#[test]
fn the_power_goes_at_any_moment_of_a_volume() {
    let Some(outcome) = live("thick", Part::ALL, Kind::Thick, nothing) else { return };
    outcome.is_well();
}

#[test]
fn the_power_goes_at_any_moment_of_a_thin_volume() {
    let Some(outcome) = live("thin", Part::ALL, Kind::Thin, nothing) else { return };
    outcome.is_well();
}

#[test]
fn the_power_goes_at_any_moment_of_a_snapshot_and_a_clone() {
    let Some(outcome) = branch("snapshot", Kind::Thick) else { return };
    outcome.is_well();
}

#[test]
fn the_power_goes_at_any_moment_of_a_thin_snapshot_and_a_clone() {
    let Some(outcome) = branch("thin-snapshot", Kind::Thin) else { return };
    outcome.is_well();
}

#[test]
fn an_intent_to_format_that_is_not_synced_is_found_out() {
    let unsynced = |effect: &Effect| effect.syscall.ends_with("sync") && effect.detail.contains("/format/");
    let Some(outcome) = live("intent-unsynced", Part::during("begin mount"), Kind::Thick, unsynced) else { return };
    outcome.is_found_out("an intent to format that is not synced");
}

/// LVM flushes nothing itself, and what it acknowledged is on another disk by then.
#[test]
fn a_group_that_is_not_flushed_is_found_out() {
    let unflushed = |effect: &Effect| {
        effect.comm == "lvm" && effect.syscall.ends_with("sync") && effect.detail.starts_with("/dev/dm-")
    };
    let Some(outcome) = live("group-unflushed", Part::during("done attach"), Kind::Thick, unflushed) else { return };
    outcome.is_found_out("a volume group that is not flushed");
}
