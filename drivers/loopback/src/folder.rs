//! The files in the directory of a volume, reached through its descriptor: whatever becomes of the directory's path during a
//! call, all of the call happens in the same place.

use std::{ffi::OsStr, fs::File, io, path::Path};

use flexvolume_linux::beneath::Trusted;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, statat, unlinkat};

/// A directory held open. Files in it are named by their whole path, of which the last part counts.
#[derive(Clone, Debug)]
pub(crate) struct Folder(Trusted);

impl Folder {
    pub(crate) fn new(directory: Trusted) -> Self {
        Self(directory)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The directory itself.
    pub(crate) fn held(&self) -> &Trusted {
        &self.0
    }

    /// Opens a file; a link is none.
    pub(crate) fn open(&self, file: &Path, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.0, name(file), flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// The length of a file; of a link, that of the link.
    pub(crate) fn length(&self, file: &Path) -> io::Result<u64> {
        let stat = statat(&self.0, name(file), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(stat.st_size.unsigned_abs())
    }

    pub(crate) fn remove(&self, file: &Path) -> io::Result<()> {
        Ok(unlinkat(&self.0, name(file), AtFlags::empty())?)
    }

    /// Puts a file in the place of another.
    pub(crate) fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat(&self.0, name(from), &self.0, name(to))?)
    }

    /// Gives a file a name that nothing has.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat_with(&self.0, name(from), &self.0, name(to), RenameFlags::NOREPLACE)?)
    }

    /// When this returns, what was done to names here survives a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.open(Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY)?.sync_all()
    }
}

fn name(file: &Path) -> &OsStr {
    file.file_name().unwrap_or(OsStr::new("."))
}
