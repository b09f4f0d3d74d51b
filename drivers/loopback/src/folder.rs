//! The files in the directory of a volume, reached through its descriptor: whatever becomes of the directory's path during a
//! call, all of the call happens in the same place.

use std::{ffi::OsStr, fs::File, io, path::Path};

use flexvolume_linux::beneath::Trusted;
use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RenameFlags, Stat, fstatvfs, openat, renameat, renameat_with, statat, unlinkat,
};

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

    /// What the kernel says of a file; of a link, of the link itself.
    pub(crate) fn stat(&self, file: &Path) -> io::Result<Stat> {
        Ok(statat(&self.0, name(file), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// All that lies here and has a name that is text, as names of ours are.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.open(Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY)?)? {
            names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
        }
        Ok(names)
    }

    /// How many bytes may still be written here, by whoever is not root.
    pub(crate) fn free(&self) -> io::Result<u64> {
        let stat = fstatvfs(&self.0)?;
        let unit = if stat.f_frsize == 0 { stat.f_bsize } else { stat.f_frsize };
        Ok(stat.f_bavail.saturating_mul(unit))
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
