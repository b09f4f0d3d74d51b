//! A lock that other machines heed as well: on NFS it is the server's.

use std::{ffi::OsStr, fs::File, path::PathBuf};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, fstat, ftruncate, openat},
    io::Errno,
};

use super::Folder;
use crate::{Error, ErrorKind, Result};

/// A file locked for this process alone, until this is dropped or the process ends. The file stays: others may be waiting for it.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl Folder {
    /// Locks a file of this directory, made if it is missing; `None` if somebody else has it locked, here or on another machine.
    ///
    /// # Errors
    /// `Unsupported` if the file system or its server knows no locks; what the kernel says.
    pub fn lock(&self, name: &OsStr) -> Result<Option<FileLock>> {
        let path = self.path().join(name);
        // To be written: of a file that is only read NFS gives no lock that excludes others.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |flags| openat(self, name, flags, Mode::RUSR | Mode::WUSR);
        // Directly: NFS 4.1 then asks for no delegation. Under one the lock would stay on this machine, where another mount of the same
        // share does not see it, and the server would not be asked to give the file up by whom it takes for one client.
        let opened = match open(flags | OFlags::DIRECT) {
            Err(Errno::INVAL) => open(flags),
            opened => opened,
        };
        let file = opened.map_err(|e| Error::io("open", &path, e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(FileLock { file: file.into(), path })),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
            Err(error @ (Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS)) => {
                let hint = "its file system or server gives no locks; with NFS 3 rpc.statd must run on both sides";
                Err(Error::io("lock", &path, error).with_kind(ErrorKind::Unsupported).with_hint(hint))
            }
            Err(error) => Err(Error::io("lock", &path, error)),
        }
    }
}

impl FileLock {
    /// Whether it is still ours. A server forgets those of a machine that it has not heard of for long, and gives them to others; NFS 4
    /// then refuses what is done to the file under the lock that is lost. So this does something that needs no room and means nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_held(&self) -> Result<bool> {
        let failed = |error| Error::io("look at the lock", &self.path, error);
        let size = fstat(&self.file).map_err(failed)?.st_size;
        match ftruncate(&self.file, u64::from(size == 0)) {
            Ok(()) => Ok(true),
            Err(Errno::BADF | Errno::IO | Errno::STALE | Errno::NOLCK) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}
