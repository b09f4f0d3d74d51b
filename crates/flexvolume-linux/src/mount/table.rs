//! The mount table, asked by number, point, device or place; none of these questions reaches into a file system.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use linux_raw_sys::general::{STATX_MNT_ID, STATX_MNT_ID_UNIQUE};
use rustix::{
    fd::BorrowedFd,
    fs::{AtFlags, CWD, FileType, StatxAttributes, StatxFlags, statx},
    io::Errno,
};

use super::{MountId, Mounted, mountinfo, propagation, statmount};
use crate::{Error, Result};

/// The two ways to read the table. Numbers of one mean nothing to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// By system calls, with unique numbers; kernel 6.8 and later.
    Statmount,
    /// By the text file of the proc file system, with numbers that are used again.
    Mountinfo,
}

/// What a name is, as told by the mount table and the inode cache alone.
pub(super) struct Seen {
    /// The mount whose root the name is, if it is one.
    pub(super) mount: Option<MountId>,
    /// `Unknown` where the file system would not say; only at the root of a mount.
    pub(super) file_type: FileType,
}

impl Backend {
    /// The better of the two that works here; the same one for the whole life of the process.
    pub fn here() -> Self {
        static HERE: OnceLock<Backend> = OnceLock::new();
        *HERE.get_or_init(|| {
            let ask = StatxFlags::from_bits_retain(STATX_MNT_ID_UNIQUE);
            match statx(CWD, "/", AtFlags::STATX_DONT_SYNC, ask) {
                Ok(root) if statmount::works(MountId(root.stx_mnt_id)) => Self::Statmount,
                Ok(_) | Err(_) => Self::Mountinfo,
            }
        })
    }

    /// As [`all`].
    pub fn all(self) -> Result<Vec<Mounted>> {
        match self {
            Self::Statmount => statmount::all(),
            Self::Mountinfo => mountinfo::all(),
        }
    }

    /// As [`by_id`].
    pub fn by_id(self, id: MountId) -> Result<Option<Mounted>> {
        match self {
            Self::Statmount => statmount::by_id(id),
            Self::Mountinfo => Ok(mountinfo::all()?.into_iter().find(|mounted| mounted.id == id)),
        }
    }

    /// As [`at`].
    pub fn at(self, path: &Path) -> Result<Option<Mounted>> {
        let seen = match self.see(CWD, path) {
            Ok(seen) => seen,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            // One that was shut down, as XFS is when its device is gone, says nothing even of its root: the table knows it.
            Err(error @ Errno::IO) => {
                return self.dead_at(path)?.ok_or_else(|| Error::io("look at", path, error)).map(Some);
            }
            Err(error) => return Err(Error::io("look at", path, error)),
        };
        match seen.mount {
            Some(id) => self.by_id(id),
            None => Ok(None),
        }
    }

    fn dead_at(self, path: &Path) -> Result<Option<Mounted>> {
        let real = real_path(CWD, path).map_err(|error| Error::io("look at", path, error))?;
        Ok(self.all()?.into_iter().rfind(|mounted| mounted.point == real))
    }

    /// As [`under`].
    pub fn under(self, id: MountId) -> Result<Vec<Mounted>> {
        match self {
            Self::Statmount => statmount::under(id),
            Self::Mountinfo => {
                let mut rest = mountinfo::all()?;
                let mut found: Vec<Mounted> = Vec::new();
                // No tree is deeper than the table is long.
                for _ in 0..rest.len() {
                    let is_under = |it: &Mounted| it.parent == id || found.iter().any(|above| above.id == it.parent);
                    let (more, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_under);
                    rest = others;
                    if more.is_empty() {
                        break;
                    }
                    found.extend(more);
                }
                Ok(found)
            }
        }
    }

    /// As [`later_under`].
    pub fn later_under(self, id: MountId) -> Result<Vec<Mounted>> {
        match self {
            Self::Statmount => statmount::later_under(id),
            Self::Mountinfo => self.under(id),
        }
    }

    /// The mount that an open file lies in.
    fn id_of(self, fd: BorrowedFd<'_>) -> rustix::io::Result<MountId> {
        let id = StatxFlags::from_bits_retain(match self {
            Self::Statmount => STATX_MNT_ID_UNIQUE,
            Self::Mountinfo => STATX_MNT_ID,
        });
        let at = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let seen = match statx(fd, "", at, id) {
            // As for a path: another user's FUSE file system.
            Err(Errno::ACCESS) => statx(fd, "", at, StatxFlags::empty())?,
            seen => seen?,
        };
        if seen.stx_mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE) == 0 {
            // Before kernel 5.8.
            let path = path_of(&fd)?;
            let rows = propagation::rows().map_err(|_| Errno::IO)?;
            return propagation::covering(&rows, &path).map(|row| row.mounted.id).ok_or(Errno::NOENT);
        }
        match MountId(seen.stx_mnt_id) {
            small if self == Self::Statmount && !small.is_unique() => {
                statmount::unique(small.0).ok().flatten().ok_or(Errno::ACCESS)
            }
            id => Ok(id),
        }
    }

    /// Asks the kernel what `path` is, without asking the file system it leads to.
    pub(super) fn see(self, dir: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<Seen> {
        let path = bare(path);
        let at = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let id = StatxFlags::from_bits_retain(match self {
            Self::Statmount => STATX_MNT_ID_UNIQUE,
            Self::Mountinfo => STATX_MNT_ID,
        });
        let seen = match statx(dir, &path, at, StatxFlags::TYPE | id) {
            // Another user's FUSE file system tells us nothing of itself; that it is a mount can still be had.
            Err(Errno::ACCESS) => statx(dir, &path, at, StatxFlags::empty())?,
            seen => seen?,
        };
        let file_type = FileType::from_raw_mode(seen.stx_mode.into());
        let root = StatxAttributes::MOUNT_ROOT;
        if !seen.stx_attributes_mask.contains(root) || seen.stx_mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE) == 0 {
            return Ok(Seen { mount: search(dir, &path)?, file_type });
        }
        if !seen.stx_attributes.contains(root) {
            return Ok(Seen { mount: None, file_type });
        }
        let mut mount = MountId(seen.stx_mnt_id);
        if self == Self::Statmount && !mount.is_unique() {
            mount = statmount::unique(mount.0).ok().flatten().ok_or(Errno::ACCESS)?;
        }
        Ok(Seen { mount: Some(mount), file_type })
    }
}

/// Kernels before 5.8 do not say what is the root of a mount: look for the real path in the table.
fn search(dir: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<Option<MountId>> {
    let real = real_path(dir, path)?;
    let table = mountinfo::all().map_err(|_| Errno::IO)?;
    Ok(table.iter().rfind(|mounted| mounted.point == real).map(|mounted| mounted.id))
}

/// The path with its parent's links resolved and its last name as it is.
pub(super) fn real_path(dir: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<PathBuf> {
    use rustix::fs::{Mode, OFlags, openat};
    let parent = match path.parent() {
        None => return Ok(path.to_owned()),
        Some(parent) if parent == Path::new("") => Path::new("."),
        Some(parent) => parent,
    };
    let parent = openat(dir, parent, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(path_of(&parent)?.join(path.file_name().unwrap_or(OsStr::new(""))))
}

/// Where an open file is now, seen from this process's root.
pub(crate) fn path_of(fd: &impl std::os::fd::AsRawFd) -> rustix::io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let text = rustix::fs::readlink(link, Vec::new())?.into_bytes();
    Ok(std::ffi::OsString::from_vec(text).into())
}

/// A trailing slash makes the kernel follow a link; this leaves none (nor doubled ones, nor `.`).
fn bare(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Every mount of this mount namespace below this process's root, oldest first.
///
/// Errors: the table cannot be read.
pub fn all() -> Result<Vec<Mounted>> {
    Backend::here().all()
}

/// The mount that is on top at exactly this path; `None` if there is none or no such path. A link as the last
/// component is not followed.
///
/// Errors: the path cannot be walked, the table cannot be read.
pub fn at(path: &Path) -> Result<Option<Mounted>> {
    Backend::here().at(path)
}

/// The mount with this number, `None` if it is gone.
///
/// Errors: the table cannot be read.
pub fn by_id(id: MountId) -> Result<Option<Mounted>> {
    Backend::here().by_id(id)
}

/// The mount that an open file or directory lies in.
pub(super) fn id_of(fd: BorrowedFd<'_>) -> rustix::io::Result<MountId> {
    Backend::here().id_of(fd)
}

/// Every mount beneath the mount with this number, at any depth. The kernel looks at all that there are.
///
/// Errors: the table cannot be read.
pub fn under(id: MountId) -> Result<Vec<Mounted>> {
    Backend::here().under(id)
}

/// Every mount beneath the mount with this number that was made after it, at any depth: of a young mount that takes as long as few others
/// are younger. Where the kernel does not number mounts for good, those that are older and were moved there are among them.
///
/// Errors: the table cannot be read.
pub fn later_under(id: MountId) -> Result<Vec<Mounted>> {
    Backend::here().later_under(id)
}

/// Every mount of the file system on this device, given by major and minor number. Other mount namespaces may hold
/// more.
///
/// Errors: the table cannot be read.
pub fn of_device(dev: (u32, u32)) -> Result<Vec<Mounted>> {
    Ok(all()?.into_iter().filter(|mounted| mounted.dev == dev).collect())
}

/// Every mount strictly below `path`, which must be a real path (no links in it).
///
/// Errors: the table cannot be read.
pub fn beneath(path: &Path) -> Result<Vec<Mounted>> {
    Ok(all()?.into_iter().filter(|mounted| mounted.point != path && mounted.point.starts_with(path)).collect())
}

/// Every mount at exactly `path`, a real path, the lowest first.
///
/// Errors: the table cannot be read.
pub fn stacked(path: &Path) -> Result<Vec<Mounted>> {
    let mut here: Vec<_> = all()?.into_iter().filter(|mounted| mounted.point == path).collect();
    // Each lies on the root of the one before it.
    let mut stack = Vec::with_capacity(here.len());
    while !here.is_empty() {
        let lowest = here.iter().position(|one| here.iter().all(|other| other.id != one.parent));
        stack.push(here.remove(lowest.unwrap_or(0)));
    }
    Ok(stack)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::mount::{Flags, bind, testing::private_mounts};

    #[test]
    fn kernels_that_do_not_mark_mount_roots_are_served_by_path() {
        private_mounts(|tmp| {
            fs::create_dir(tmp.join("m")).unwrap();
            fs::create_dir(tmp.join("plain")).unwrap();
            symlink(tmp, tmp.join("way")).unwrap();
            symlink("m", tmp.join("link")).unwrap();
            for _ in 0..2 {
                bind(&tmp.join("m"), &tmp.join("m"), Flags::default()).unwrap();
                let marked = Backend::Mountinfo.see(CWD, &tmp.join("m")).unwrap().mount;
                assert!(marked.is_some());
                for way in ["m", "way/m", "way/way/./m"] {
                    assert_eq!(search(CWD, &tmp.join(way)).unwrap(), marked, "{way}");
                }
            }
            for plain in ["plain", "link"] {
                assert_eq!(search(CWD, &tmp.join(plain)).unwrap(), None, "{plain}");
            }
            assert!(search(CWD, Path::new("/")).unwrap().is_some());
        });
    }
}
