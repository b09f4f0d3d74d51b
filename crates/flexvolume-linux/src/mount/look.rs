//! What lies at a path, told without waking whatever file system is mounted there.

use std::path::Path;

use rustix::{
    fd::BorrowedFd,
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags, openat, statx},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{MountId, table::Backend};
use crate::{Error, Result};

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// Nothing.
    Absent,
    /// A directory that nothing is mounted on.
    Plain,
    /// A mount, directory or file; the one on top if several lie there.
    Mount(MountId),
    /// A mount, or something in one, that answers only with this error number, one of those that [`corrupted`] knows.
    Corrupted(i32),
    /// A symbolic link, wherever it leads.
    Symlink,
    /// A file, socket or device node.
    Other,
}

/// What lies at `path`, its last component not followed.
///
/// Takes microseconds, however many mounts there are, and never waits for a file system mounted *at* `path`: a server
/// that is dead or does not answer shows as a [`Presence::Mount`]. (It may wait for one that `path` leads *through*.)
///
/// Errors: the path cannot be walked for another reason than a part of it not being there.
pub fn look(path: &Path) -> Result<Presence> {
    look_at(CWD, path).map_err(|e| Error::io("look at", path, e))
}

/// As [`look`], for a path that begins at an open directory.
pub(crate) fn look_at(dir: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<Presence> {
    let seen = match Backend::here().see(dir, path) {
        Ok(seen) => seen,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Presence::Absent),
        // On the way to a name this one means that we may not walk there, not that anything is broken.
        Err(Errno::ACCESS) => return Err(Errno::ACCESS),
        Err(error) if corrupted(error.raw_os_error()) => return Ok(Presence::Corrupted(error.raw_os_error())),
        Err(error) => return Err(error),
    };
    Ok(match (seen.mount, seen.file_type) {
        (Some(id), _) => Presence::Mount(id),
        (None, FileType::Directory) => Presence::Plain,
        (None, FileType::Symlink) => Presence::Symlink,
        (
            None,
            FileType::RegularFile
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown,
        ) => Presence::Other,
    })
}

/// As [`look`], and a mount is also asked whether it is alive: its attributes, and for a directory its first entry.
///
/// May block for as long as the file system pleases: for processes that can be thrown away.
///
/// Errors: the mount answers with an error that does not mean that it is broken.
pub fn probe(path: &Path) -> Result<Presence> {
    let presence = look(path)?;
    let Presence::Mount(_) = presence else { return Ok(presence) };
    match touch(path) {
        Ok(()) => Ok(presence),
        Err(error) if corrupted(error.raw_os_error()) => Ok(Presence::Corrupted(error.raw_os_error())),
        Err(error) => Err(Error::io("ask the mount at", path, error)),
    }
}

fn touch(path: &Path) -> rustix::io::Result<()> {
    let at = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_FORCE_SYNC;
    let seen = statx(CWD, path, at, StatxFlags::BASIC_STATS)?;
    if FileType::from_raw_mode(seen.stx_mode.into()) == FileType::Directory {
        first_entry(path)?;
    }
    Ok(())
}

/// Whether the directory at `path`, not followed if a link, holds nothing. May block as [`probe`].
///
/// Errors: it is no directory or cannot be read.
pub fn is_empty_dir(path: &Path) -> Result<bool> {
    first_entry(path).map(|first| !first).map_err(|e| Error::io("read the directory", path, e))
}

/// Whether the directory holds anything but itself and its parent.
fn first_entry(path: &Path) -> rustix::io::Result<bool> {
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let dir = Dir::new(openat(CWD, path, how, Mode::empty())?)?;
    for entry in dir {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether this error number, from a call on a mount that the table shows, means that its file system is broken or its
/// server gone rather than that the call was wrong.
pub fn corrupted(errno: i32) -> bool {
    let broken =
        [Errno::NOTCONN, Errno::STALE, Errno::IO, Errno::ACCESS, Errno::HOSTDOWN, Errno::WOULDBLOCK, Errno::NODEV];
    broken.iter().any(|known| known.raw_os_error() == errno)
}
