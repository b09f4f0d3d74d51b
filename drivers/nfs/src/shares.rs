//! Which mounts are our own: by where they lie, and by what was written down beside them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flexvolume::World;
use flexvolume_linux::mount::Mounted;

use crate::{digest::digest, share};

/// The folder of our own mounts. Only calls of ours work through them, and what those do they can do again.
pub(crate) struct Shares(PathBuf);

impl Shares {
    /// By its real path, as the mount table has it.
    pub(crate) fn of(world: &World) -> Self {
        let run = world.run_dir();
        Self(fs::canonicalize(run).unwrap_or_else(|_| run.to_owned()).join("shares"))
    }

    /// Where the share is mounted that [`Share`] wrote down so.
    pub(crate) fn point(&self, storage: &str) -> PathBuf {
        self.0.join(digest(storage.as_bytes()))
    }

    /// Whether a mount is one of ours, by where it lies.
    pub(crate) fn holds(&self, point: &Path) -> bool {
        point.parent() == Some(&self.0)
    }

    /// Whether the kernel answers for the server of these mounts of one superblock when it is silent, by what was written down beside
    /// our own.
    pub(crate) fn are_soft(&self, mounts: &[Mounted]) -> bool {
        let own = mounts.iter().filter(|mounted| self.holds(&mounted.point));
        own.filter_map(|mounted| fs::read_to_string(note_of(&mounted.point)).ok()).any(|note| share::is_soft(&note))
    }
}

/// Whether a mount is of NFS, whatever its version.
pub(crate) fn is_nfs(mounted: &Mounted) -> bool {
    matches!(mounted.fs_type.as_str(), "nfs" | "nfs4")
}

/// Where it is written down which share is mounted there.
pub(crate) fn note_of(point: &Path) -> PathBuf {
    point.with_extension("share")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_a_superblock_is_soft_stands_beside_our_own_mount_of_it() {
        let tmp = tempfile::tempdir().unwrap();
        let mounted = |point: &str| Mounted {
            id: flexvolume_linux::mount::MountId(1),
            parent: flexvolume_linux::mount::MountId(0),
            point: tmp.path().join(point),
            source: "nas:/srv".into(),
            fs_type: "nfs4".into(),
            root: "/".into(),
            dev: (0, 1),
            read_only: false,
            nosuid: true,
            nodev: true,
            noexec: false,
            times: flexvolume_linux::mount::AccessTimes::Some,
            no_directory_times: false,
            shared: false,
        };
        let shares = Shares(tmp.path().to_owned());
        for (words, soft) in
            [("nas:/soft vers=4.2", false), ("nas:/srv vers=4.2,soft", true), ("n:/ vers=3,softerr,timeo=1", true)]
        {
            fs::write(tmp.path().join("abc.share"), words).unwrap();
            assert_eq!(shares.are_soft(&[mounted("x/view"), mounted("abc")]), soft, "{words}");
        }
        assert!(!shares.are_soft(&[mounted("x/view")]));
    }
}
