//! One row of the mount table, as both of its readers give it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The kernel's number of one mount.
///
/// Since kernel 6.8 a mount has a number that is never used again until the next boot; older kernels only know a
/// small one that the next mount may inherit. The two ranges do not meet, so one number holds either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MountId(pub u64);

/// Which reads of a file are written down as its access time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessTimes {
    /// The first after a change, and one a day (`relatime`).
    Some,
    /// Every one (`strictatime`).
    Every,
    /// None (`noatime`).
    None,
}

/// A mount, as the kernel's table shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Its number.
    pub id: MountId,
    /// The number of the mount it lies on; that of a mount at the root of all may not be in the table.
    pub parent: MountId,
    /// Where it is, seen from this process's root.
    pub point: PathBuf,
    /// What was mounted: a device, an export, any word. Bytes that are not UTF-8 are replaced.
    pub source: String,
    /// The type, with its subtype: `ext4`, `fuse.sshfs`.
    pub fs_type: String,
    /// Which directory (or file) of the file system is seen here; `/` unless it is a bind of a part.
    pub root: PathBuf,
    /// Major and minor device number of the file system.
    pub dev: (u32, u32),
    /// Nothing can be written through this mount, be it the mount's or the file system's doing.
    pub read_only: bool,
    /// Set-user-id bits have no effect.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Programs cannot be run.
    pub noexec: bool,
    /// Which reads are written down.
    pub times: AccessTimes,
    /// Those of directories are not.
    pub no_directory_times: bool,
    /// Mounts made beneath it appear in its peers too.
    pub shared: bool,
}

/// What a mount shows: a directory of a file system, and all beneath it. It says whose a mount is wherever that lies, as long as the
/// file system is mounted anywhere; after that its number may be given to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    dev: (u32, u32),
    fs_type: String,
    shown: PathBuf,
}

impl Part {
    /// Whether its file system lies on a block device. btrfs hides its own.
    pub fn is_on_device(&self) -> bool {
        self.dev.0 != 0 || self.fs_type == "btrfs"
    }

    /// Whether `other` is this part, or lies in it.
    pub fn holds(&self, other: &Self) -> bool {
        self.dev == other.dev && self.fs_type == other.fs_type && other.shown.starts_with(&self.shown)
    }
}

impl Mounted {
    /// What it shows.
    pub fn part(&self) -> Part {
        Part { dev: self.dev, fs_type: self.fs_type.clone(), shown: self.shown().to_owned() }
    }

    /// What a directory or file in it shows, by its path from here.
    pub fn part_at(&self, path: &Path) -> Part {
        let shown = if path.as_os_str().is_empty() { self.shown().to_owned() } else { self.shown().join(path) };
        Part { shown, ..self.part() }
    }

    /// Whether both show the same directory of the same file system.
    pub fn is_same_tree(&self, other: &Self) -> bool {
        self.dev == other.dev && self.shown() == other.shown()
    }

    /// Whether what this one shows is what the other shows, or beneath it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.dev == other.dev && self.shown().starts_with(other.shown())
    }

    /// Which part of its file system it shows. NFS calls each one `/`, and says in its source which it is.
    fn shown(&self) -> &Path {
        if matches!(self.fs_type.as_str(), "nfs" | "nfs4") { Path::new(&self.source) } else { &self.root }
    }
}

/// The kernel gives unique numbers from here on, and reusable ones below.
const FIRST_UNIQUE: u64 = 1 << 31;

impl MountId {
    /// Whether the number stays this mount's own until the next boot.
    pub fn is_unique(self) -> bool {
        self.0 >= FIRST_UNIQUE
    }
}

impl std::fmt::Display for MountId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(fs_type: &str, minor: u32, root: &str, source: &str) -> Mounted {
        Mounted {
            id: MountId(1),
            parent: MountId(0),
            point: "/x".into(),
            source: source.to_owned(),
            fs_type: fs_type.to_owned(),
            root: root.into(),
            dev: (0, minor),
            read_only: false,
            nosuid: false,
            nodev: false,
            noexec: false,
            times: AccessTimes::Some,
            no_directory_times: false,
            shared: false,
        }
    }

    #[test]
    fn parts_of_a_file_system_are_told_apart() {
        let ext4 = |root, source| mounted("ext4", 7, root, source);
        let one = ext4("/a", "/dev/dm-0");
        assert!(one.is_same_tree(&ext4("/a", "/dev/mapper/v")), "however its device was called");
        assert!(!one.is_same_tree(&ext4("/b", "/dev/dm-0")) && !one.is_same_tree(&mounted("ext4", 8, "/a", "")));
        assert!(ext4("/a/b", "").is_within(&one) && !ext4("/ab", "").is_within(&one) && !ext4("/", "").is_within(&one));
        let nfs = |source| mounted("nfs4", 7, "/", source);
        let one = nfs("nas:/srv/a");
        assert!(one.is_same_tree(&nfs("nas:/srv/a")) && !one.is_same_tree(&nfs("nas:/srv/b")));
        assert!(nfs("nas:/srv/a/b").is_within(&one) && !nfs("nas:/srv/ab").is_within(&one));
        assert!(one.is_within(&nfs("nas:/srv")) && !nfs("nas:/srv").is_within(&one));
        let (share, tree) = (nfs("nas:/srv").part(), one.part());
        assert!(
            share.holds(&tree) && tree.holds(&tree) && !tree.holds(&share) && !tree.holds(&nfs("nas:/srv/ab").part())
        );
        assert!(!ext4("/", "").part().holds(&mounted("xfs", 7, "/", "").part()), "the number is another's by now");
    }
}
