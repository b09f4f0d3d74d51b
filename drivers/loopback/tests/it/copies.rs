//! What cases of snapshots and clones have in common: the calls, and a volume with something on it.

use std::{fs, path::Path};

use crate::bed::{Bed, J, Said, read, run, text, write};

/// The settings of a node on which one call copies as little as it can.
pub(crate) fn in_small_slices(bed: &Bed) {
    bed.set(&format!(r#"{{"directory":{:?},"slice":0}}"#, bed.images()));
}

pub(crate) fn snapshot(name: &str, id: &str) -> [String; 2] {
    ["createsnapshot".into(), format!(r#"{{"flexvol/name":"{name}","flexvol/id":"{id}"}}"#)]
}

pub(crate) fn delete_snapshot(id: &str) -> [String; 2] {
    ["deletesnapshot".into(), format!(r#"{{"flexvol/snapshot":"{id}"}}"#)]
}

/// A clone, of a snapshot if the source's id is one's.
pub(crate) fn clone(name: &str, of: &str, more: &str) -> [String; 2] {
    let key = if of.ends_with(".snap") { "flexvol/sourceSnapshot" } else { "flexvol/sourceVolume" };
    ["createvolume".into(), format!(r#"{{"flexvol/name":"{name}","{key}":"{of}"{more}}}"#)]
}

pub(crate) fn delete(id: &str) -> [String; 2] {
    ["deletevolume".into(), format!(r#"{{"flexvol/id":"{id}"}}"#)]
}

impl Bed {
    #[track_caller]
    pub(crate) fn ask(&self, call: &[String; 2]) -> Said {
        self.call(&[&call[0], &call[1]])
    }

    #[track_caller]
    pub(crate) fn finish(&self, call: &[String; 2]) -> (usize, Said) {
        self.until_done(&[&call[0], &call[1]])
    }

    /// The options by which a volume that a host made is mounted.
    pub(crate) fn of_host(&self, id: &str, fs_type: &str) -> J {
        self.j(id).without("create").without("size").with("kubernetes.io/fsType", fs_type)
    }

    /// Makes a volume that has a file called `file`, and some megabytes of others; it is down afterwards.
    pub(crate) fn volume(&self, id: &str, fs_type: &str, size: &str, megabytes: u32) {
        let (place, j) = (self.place("maker"), self.j(id).of(fs_type).with("size", size));
        self.mount(&place, &j).ok();
        write(&place.join("file"), id);
        let ballast = format!("of={}", text(&place.join("ballast")));
        run("dd", &["if=/dev/urandom", &ballast, "bs=1M", &format!("count={megabytes}"), "status=none"]);
        self.unmount(&place).ok();
    }

    /// Mounts a volume, gives what `file` holds and the digest of the ballast, and takes it down. Its file system is sound then.
    #[track_caller]
    pub(crate) fn held(&self, id: &str, fs_type: &str) -> (String, String) {
        let (place, j) = (self.place("reader"), self.of_host(id, fs_type));
        self.mount(&place, &j).ok();
        let (file, sum) = (read(&place.join("file")), run("sha256sum", &[text(&place.join("ballast"))]));
        self.unmount(&place).ok();
        check(&self.image(id), fs_type);
        (file, sum.split(' ').next().unwrap().to_owned())
    }
}

/// The file system in the image is whole.
#[track_caller]
pub(crate) fn check(image: &Path, fs_type: &str) {
    match fs_type {
        "ext4" => run("e2fsck", &["-fn", text(image)]),
        "xfs" => run("xfs_repair", &["-n", text(image)]),
        "btrfs" => run("btrfs", &["check", "-q", text(image)]),
        other => panic!("{other}"),
    };
}

/// The UUID of the file system in an image.
#[track_caller]
pub(crate) fn uuid(image: &Path) -> String {
    run("blkid", &["-p", "-s", "UUID", "-o", "value", text(image)])
}

/// How many bytes a file has taken.
pub(crate) fn taken(image: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&fs::metadata(image).unwrap()) * 512
}
