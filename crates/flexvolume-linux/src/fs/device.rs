//! A device held under its lock: the lock that udev, other calls and the mkfs of a dead call all meet on.

use std::{
    fs::{File, OpenOptions},
    os::{fd::AsFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

use crate::{Error, ErrorKind, Result, block, process::lending};

/// What counts as an end of a device, in bytes.
pub(super) const ENDS: u64 = 1 << 20;

/// A block device, locked exclusively (flock, udev's convention) until dropped.
pub(super) struct Device {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Device {
    /// Opens and locks `path`. The descriptor is read-only, so closing it makes no udev event.
    pub(super) fn lock(path: &Path) -> Result<Self> {
        let this = Self::open(path)?;
        block::lock(&this.file, path)?;
        Ok(this)
    }

    /// Opens `path` without a lock, to look at it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io("open device", path, error))?;
        let size = block::measure(&file, path)?;
        if size == 0 {
            return Err(Error::new(ErrorKind::Invalid, format!("{} is a device without a medium", path.display())));
        }
        Ok(Self { file, path: path.to_owned(), size })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Reads `len` bytes at `at`, cut at the end of the device.
    pub(super) fn read(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        let len = len.min(self.size.saturating_sub(at));
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, at).map_err(|error| Error::io("read", &self.path, error))?;
        Ok(bytes)
    }

    /// Opens the device exclusively for as long as the answer lives; `None` if it is mounted or otherwise claimed, in
    /// whatever mount namespace.
    pub(super) fn claim(&self) -> Result<Option<File>> {
        block::claim(&self.path, false)
    }

    /// [`claim`](Self::claim), but not put off by who holds the device for a moment only.
    pub(super) fn claim_patiently(&self) -> Result<Option<File>> {
        block::claim_patiently(&self.path, false)
    }

    /// Whether a program or a mount can claim the device now.
    pub(super) fn is_free(&self) -> Result<bool> {
        Ok(self.claim_patiently()?.is_some())
    }

    /// Zeroes both ends, durably. Only for the ruins of our own mkfs: the next one must not find its own UUID there
    /// (mkfs.btrfs refuses one that is in use), and cut off in between, nothing is left that could be misread.
    pub(super) fn wipe_ends(&self) -> Result<()> {
        let fail = |error| Error::io("clear", &self.path, error);
        let file = OpenOptions::new().write(true).open(&self.path).map_err(fail)?;
        let zeroes = vec![0; usize::try_from(ENDS.min(self.size)).unwrap_or(0)];
        for at in [0, self.size.saturating_sub(ENDS)] {
            file.write_all_at(&zeroes, at).map_err(fail)?;
        }
        self.sync()
    }

    /// Pushes everything written to the device down to the medium.
    pub(super) fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.file).map_err(|error| Error::io("flush", &self.path, error))
    }

    /// Runs `start` while a child born in it inherits the lock. If we die, the lock lives on until that child has
    /// ended, so nobody formats beneath a running mkfs whose caller is gone.
    pub(super) fn lending<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        lending(self.file.as_fd(), start)
    }
}
