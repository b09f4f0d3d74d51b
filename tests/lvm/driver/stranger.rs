//! The cold life: `mount` and `unmount` alone, as a host calls them that knows nothing of our extensions.

use std::path::Path;

use super::node::{Kind, Node, read};
use crate::tools::{shell, text, tool};

/// The size of the file system mounted there, in MiB.
fn mib(place: &Path) -> u64 {
    let said = shell("echo $(($(stat -f -c '%b * %S' $1) >> 20))", &[text(place)]);
    said.parse().unwrap()
}

/// Made at first mount, shared by two pods, grown while mounted, back after a whole round, deleted without a trace.
fn lives(kind: Kind, fs_type: &str) {
    let Some(node) = Node::of(kind, 500) else { return };
    let j = node.j_of(kind, "vol1").of(fs_type);
    let (one, two) = (node.place("one"), node.place("two"));
    for place in [&one, &two] {
        node.twice(&["mount", text(place), &j.text()]);
        assert_eq!(tool("findmnt", &["-n", "-o", "FSTYPE", text(place)]), fs_type);
        let options = tool("findmnt", &["-n", "-o", "OPTIONS", text(place)]);
        assert!(options.contains("nosuid") && options.contains("nodev"), "{options}");
    }
    shell("echo kept >$1/file", &[text(&one)]);
    assert_eq!(read(&two.join("file")), "kept");

    let before = mib(&one);
    let bytes = (450_u64 << 20).to_string();
    node.twice(&["expandfs", &j.text(), "", text(&one), &bytes, "0"]);
    assert_eq!(node.vg.row("vol1", "lv_size")["lv_size"], (452_u64 << 20).to_string(), "whole extents");
    assert!(mib(&two) > before + 100, "{before} MiB have become {}", mib(&two));

    node.twice(&["unmount", text(&one)]);
    assert!(node.vg.is_active("vol1"), "the other pod has it still");
    node.twice(&["unmount", text(&two)]);
    node.assert_down(fs_type);
    node.call(&["mount", text(&two), &j.text()]).ok();
    assert_eq!(read(&two.join("file")), "kept");
    node.delete("vol1").fails("busy", &["vol1"]);
    node.call(&["unmount", text(&two)]).ok();
    node.delete("vol1").ok();
    node.delete("vol1").ok();
    node.assert_down(fs_type);
    node.assert_only(if kind == Kind::Thin { &["pool"] } else { &[] });
}

#[test]
fn ext4_on_all_its_blocks() {
    lives(Kind::Thick, "ext4");
}

#[test]
fn xfs_on_all_its_blocks() {
    lives(Kind::Thick, "xfs");
}

#[test]
fn btrfs_on_all_its_blocks() {
    lives(Kind::Thick, "btrfs");
}

#[test]
fn ext4_on_a_thin_pool() {
    lives(Kind::Thin, "ext4");
}

#[test]
fn xfs_on_a_thin_pool() {
    lives(Kind::Thin, "xfs");
}

#[test]
fn btrfs_on_a_thin_pool() {
    lives(Kind::Thin, "btrfs");
}

/// The volume of the original's example: made by hand, untagged, its size larger than the options say.
#[test]
fn a_volume_made_beforehand_is_used_and_left_as_it_is() {
    let Some(node) = Node::new(&[128]) else { return };
    node.vg.create("vol1", "40m", &["--activate", "n"]);
    let j = node.j_found("vol1").with("size", "1000m");
    let place = node.place("pod");
    node.twice(&["mount", text(&place), &j.text()]);
    shell("echo kept >$1/file", &[text(&place)]);
    node.twice(&["unmount", text(&place)]);
    node.assert_down("after all");
    assert_eq!(node.vg.tags("vol1"), Vec::<String>::new());
    node.call(&["expandvolume", &j.text(), text(&place), "100000000", "0"]).fails("permission", &["adopt"]);
    node.delete("vol1").fails("permission", &["not made by this driver"]);
    assert_eq!(node.vg.row("vol1", "lv_size")["lv_size"], (40 << 20).to_string());
}

/// A reader's pod mounts read-only, a writer's beside it does not; a reader alone makes nothing.
#[test]
fn readers_make_and_change_nothing() {
    let Some(node) = Node::new(&[128]) else { return };
    let (j, place) = (node.j("vol1"), node.place("reader"));
    let reader = j.clone().read_only();
    node.call(&["mount", text(&place), &reader.text()]).fails("notFound", &["reader"]);
    assert_eq!(node.vg.volumes(), Vec::<String>::new());
    let writer = node.place("writer");
    node.call(&["mount", text(&writer), &j.text()]).ok();
    node.call(&["mount", text(&place), &reader.text()]).ok();
    shell("echo kept >$1/file", &[text(&writer)]);
    assert_eq!(read(&place.join("file")), "kept");
    shell("! touch $1/file 2>/dev/null", &[text(&place)]);
    for place in [&place, &writer] {
        node.call(&["unmount", text(place)]).ok();
    }
    // Somebody else's is not adopted for a reader.
    node.vg.create("theirs", "16m", &[]);
    tool("mkfs.ext4", &["-q", text(&node.vg.device("theirs"))]);
    let reader = node.j_found("theirs").with("adopt", "true").read_only();
    node.call(&["mount", text(&place), &reader.text()]).ok();
    assert_eq!(node.vg.tags("theirs"), Vec::<String>::new());
    node.call(&["unmount", text(&place)]).ok();
    node.assert_down("after all");
}
