//! A directory held open, and what is done to names in it.

use std::{
    ffi::{OsStr, OsString},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, mkdirat, renameat, statat, unlinkat},
    io::Errno,
};

use super::list::names;
use crate::{
    Error, ErrorKind, Result,
    real::{astray, open_real, open_within, stays},
};

/// A directory held open. All below it is reached through it alone.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    /// How it was opened, and how those beneath it are.
    how: OFlags,
}

/// To read names in it.
const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// As a place only.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file with content.
    File,
    /// A link, wherever it leads.
    Link,
    /// A device, a pipe, a socket.
    Special,
}

impl Folder {
    /// Opens a directory by a path without links.
    ///
    /// # Errors
    /// `Refused` for a link; what the kernel says.
    pub fn open(path: &Path) -> Result<Self> {
        Self::opened(path, READ)
    }

    /// The same as a place only (`O_PATH`), and so all that is opened beneath it: to be mounted or looked at, not to be read. It
    /// takes no right to read a directory, which root may lack on a server's share.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn place(path: &Path) -> Result<Self> {
        Self::opened(path, PLACE)
    }

    fn opened(path: &Path, how: OFlags) -> Result<Self> {
        let fd = open_real(path, how).map_err(|e| astray(path, e))?;
        Ok(Self { fd, path: path.to_owned(), how })
    }

    /// The directory that `rel` names beneath this one; an empty one names this itself. No part of it may be a link, and it
    /// lies in this very file system.
    ///
    /// # Errors
    /// `Invalid` for `..` or an absolute path, `Refused` for a link or another file system, `NotFound`; what the kernel says.
    pub fn sub(&self, rel: &Path) -> Result<Self> {
        let path = self.path.join(rel);
        let goes_down = rel.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !goes_down {
            let context = format!("cannot open {:?} beneath {}: it leads out", rel.display(), self.path.display());
            return Err(Error::new(ErrorKind::Invalid, context));
        }
        let name = if rel.as_os_str().is_empty() { Path::new(".") } else { rel };
        let fd = open_within(&self.fd, name, self.how).map_err(|e| stays(&path, e))?;
        Ok(Self { fd, path, how: self.how })
    }

    /// This directory itself, to be read too.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reading(&self) -> Result<Self> {
        let fd = open_within(&self.fd, Path::new("."), READ).map_err(|e| stays(&self.path, e))?;
        Ok(Self { fd, path: self.path.clone(), how: READ })
    }

    /// As [`Folder::sub`], `None` if there is nothing of that name.
    ///
    /// # Errors
    /// As [`Folder::sub`].
    pub fn find(&self, rel: &Path) -> Result<Option<Self>> {
        match self.sub(rel) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the directories of `rel` that are missing, each with this mode less our umask, and opens the last.
    ///
    /// # Errors
    /// As [`Folder::sub`].
    pub fn make_all(&self, rel: &Path, mode: u32) -> Result<Self> {
        let mut at = self.sub(Path::new(""))?;
        for name in rel.components().filter(|part| !matches!(part, Component::CurDir)) {
            let name = Path::new(name.as_os_str());
            if let Some(there) = at.find(name)? {
                at = there;
                continue;
            }
            at.make(name.as_os_str(), mode)?;
            at = at.sub(name)?;
        }
        Ok(at)
    }

    /// Makes a directory with this mode less our umask; `false` if something of that name is there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make(&self, name: &OsStr, mode: u32) -> Result<bool> {
        match mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.failed("make the directory", name, error)),
        }
    }

    /// What is of that name; a link is not followed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn look(&self, name: &OsStr) -> Result<Option<Kind>> {
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Kind::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("look at", name, error)),
        }
    }

    /// Sets owner and mode of this directory. The owner first, for a change of owner takes set-id bits away.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub fn give(&self, mode: Option<u32>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        if uid.is_some() || gid.is_some() {
            let done = fchown(&self.fd, uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            done.map_err(|e| Error::io("change the owner of", &self.path, e))?;
        }
        match mode.map(|mode| fchmod(&self.fd, Mode::from_raw_mode(mode))) {
            Some(Err(error)) => Err(Error::io("change the mode of", &self.path, error)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Gives something here another name, in this directory or in another one, that nothing has. Where the file system can
    /// (NFS cannot) the kernel sees to that; elsewhere it was so a moment before, and no directory that holds anything is ever
    /// replaced.
    ///
    /// # Errors
    /// `Refused` if the new name is taken; what the kernel says.
    pub fn rename(&self, name: &OsStr, to: &Self, new: &OsStr) -> Result<()> {
        use rustix::fs::{RenameFlags, renameat_with};
        let taken =
            || Error::new(ErrorKind::Refused, format!("cannot rename: {} is there", to.path.join(new).display()));
        let done = match renameat_with(&self.fd, name, &to.fd, new, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if to.look(new)?.is_some() => return Err(taken()),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => renameat(&self.fd, name, &to.fd, new),
            done => done,
        };
        match done {
            Ok(()) => Ok(()),
            Err(Errno::EXIST | Errno::NOTEMPTY) => Err(taken()),
            Err(error) => Err(self.failed("rename", name, error)),
        }
    }

    /// What is in it, in no order.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn names(&self) -> Result<Vec<OsString>> {
        names(self.fd.as_fd(), usize::MAX).map_err(|e| Error::io("read the directory", &self.path, e))
    }

    /// Removes a file or a link; `false` if there was nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unlink(&self, name: &OsStr) -> Result<bool> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.failed("remove", name, error)),
        }
    }

    /// Removes an empty directory; `false` if there was nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn rmdir(&self, name: &OsStr) -> Result<bool> {
        match unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.failed("remove the directory", name, error)),
        }
    }

    /// When this returns, what was done to names here survives a power cut.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.fd).map_err(|e| Error::io("flush", &self.path, e))
    }

    /// Where it was opened; for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn failed(&self, what: &str, name: &OsStr, error: Errno) -> Error {
        Error::io(what, self.path.join(name), error)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Kind {
    pub(super) fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Self::Directory,
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Link,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Self::Special,
        }
    }
}
