//! Tenants who write into a share what leads out of it: links, devices, other file systems, and directories that are not ours.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

use flexvolume_testkit::driver::J;

use crate::{
    bed::Node,
    copies::picture,
    tools::{text, tool},
};

#[test]
fn a_volume_full_of_ways_out_is_removed_and_nothing_else() {
    let Some(node) = Node::with_pool("") else { return };
    let outside = node.bed.sandbox.dir("outside").unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let id = J::default().with("flexvol/id", &node.make("v", &[]));
    let volume = node.on_server("base/v");
    symlink(&outside, volume.join("dir")).unwrap();
    symlink(outside.join("secret"), volume.join("file")).unwrap();
    symlink("../../..", volume.join("up")).unwrap();
    fs::hard_link(outside.join("secret"), volume.join("hard")).unwrap();
    tool("mknod", &[text(&volume.join("disk")), "b", "7", "0"]);
    tool("mkfifo", &[text(&volume.join("pipe"))]);
    node.through("deletevolume", &id).ok();
    assert!(!volume.exists());
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
}

#[test]
fn links_in_place_of_our_directories_are_not_followed() {
    let Some(node) = Node::with_pool("") else { return };
    let outside = node.bed.sandbox.dir("outside").unwrap();
    fs::write(outside.join("file"), "").unwrap();
    let id = J::default().with("flexvol/id", &node.make("v", &[]));
    // In place of the volume: the link goes, and not what it leads to.
    fs::remove_dir(node.on_server("base/v")).unwrap();
    symlink(&outside, node.on_server("base/v")).unwrap();
    node.through("createvolume", &J::default().with("flexvol/name", "v")).fails("notFound", &["is gone"]);
    node.through("deletevolume", &id).ok();
    assert!(outside.join("file").exists() && !node.on_server("base/v").is_symlink());
    // In place of the base.
    fs::rename(node.on_server("base"), node.on_server("moved")).unwrap();
    symlink(&outside, node.on_server("base")).unwrap();
    node.call(&["createvolume", &J::default().with("flexvol/name", "w").text()]).fails("", &["symbolic link"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    // In place of our own directory.
    fs::remove_file(node.on_server("base")).unwrap();
    fs::rename(node.on_server("moved"), node.on_server("base")).unwrap();
    fs::rename(node.on_server("base/.flexvol"), node.on_server("base/gone")).unwrap();
    symlink(&outside, node.on_server("base/.flexvol")).unwrap();
    node.call(&["createvolume", &J::default().with("flexvol/name", "w").text()]).fails("", &["symbolic link"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn what_others_made_is_neither_taken_nor_deleted() {
    let Some(node) = Node::with_pool("") else { return };
    fs::create_dir(node.on_server("base/theirs")).unwrap();
    fs::write(node.on_server("base/theirs/file"), "").unwrap();
    node.through("createvolume", &J::default().with("flexvol/name", "theirs"))
        .fails("conflict", &["not made by this driver"]);
    node.through("deletevolume", &J::default().with("flexvol/id", "p/theirs")).ok();
    node.make("v", &[]);
    let before = picture(&node.on_server("base"));
    for id in ["p/../x", "p/.flexvol", "../p/x", "p/a/b"] {
        // It is nobody's id, so nothing of that is there.
        node.call(&["deletevolume", &J::default().with("flexvol/id", id).text()]).ok();
    }
    node.call(&["deletevolume", &J::default().with("flexvol/id", "q/v").text()]).fails("invalid", &["no pool q"]);
    assert_eq!(picture(&node.on_server("base")), before);
    // A name that is no file's stays in its place.
    let id = node.make("../../etc/x y", &[]);
    assert!(id.starts_with("p/vetcxy-"), "{id}");
    assert_eq!(fs::metadata(node.on_server("base").join(&id[2..])).unwrap().mode() & 0o7777, 0o770);
}
