//! Paths that cannot be led astray: names resolved beneath an open directory, and chains of directories nobody else can
//! change.

#[cfg(test)]
mod hostile;
mod trust;

use std::{
    ffi::{OsStr, OsString},
    path::{Component, Path, PathBuf},
};

pub use trust::{Trust, Trusted, real_place, trusted, trusted_chain};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, unlinkat},
    io::Errno,
};

use crate::{
    Error, ErrorKind, Result,
    mount::{Mounted, Presence, look, look_at, table},
    real::{astray, open_below},
};

/// A directory held open, beneath which names are resolved.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

/// A name in a directory that is held open: whatever is done to the path meanwhile, this stays the same place. There
/// need not be anything of that name.
#[derive(Debug)]
pub struct Pinned {
    parent: OwnedFd,
    name: OsString,
}

impl Root {
    /// Opens the directory; says nothing of who could change it.
    ///
    /// Errors: it cannot be opened, or is no directory.
    pub fn open(path: &Path) -> Result<Self> {
        let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, how, Mode::empty()).map_err(|e| Error::io("open", path, e))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// One that is open already; `path` is for messages.
    pub(crate) fn of(fd: OwnedFd, path: &Path) -> Self {
        Self { fd, path: path.to_owned() }
    }

    /// Opens what `rel` names beneath this directory, no component of it being a link.
    ///
    /// Errors: `Invalid` if `rel` is empty, absolute or holds `..`; `Refused` for a link; what the kernel says.
    pub fn resolve(&self, rel: &Path, flags: OFlags) -> Result<OwnedFd> {
        names(rel)?;
        open_below(&self.fd, rel, flags).map_err(|e| astray(&self.path.join(rel), e))
    }

    /// Pins the name `rel`, whose parent directories must be there.
    ///
    /// Errors: as [`Root::resolve`]; `NotFound` for a missing parent.
    pub fn pin(&self, rel: &Path) -> Result<Pinned> {
        self.walk(rel, None)
    }

    /// Makes what is missing of the directories of `rel`, the last one too, with this mode less our umask, and pins the
    /// last.
    ///
    /// Errors: as [`Root::resolve`]; something on the way is no directory.
    pub fn make_dirs(&self, rel: &Path, mode: u32) -> Result<Pinned> {
        let pinned = self.walk(rel, Some(mode))?;
        pinned.mkdir(mode)?;
        Ok(pinned)
    }

    fn walk(&self, rel: &Path, make: Option<u32>) -> Result<Pinned> {
        let mut names = names(rel)?;
        let last = names.pop().unwrap_or_default();
        let mut at = self.fd.try_clone().map_err(|e| Error::io("open", &self.path, e))?;
        let mut path = self.path.clone();
        for name in names {
            path.push(name);
            if let Some(mode) = make {
                make_dir(at.as_fd(), name, mode).map_err(|e| Error::io("make the directory", &path, e))?;
            }
            let how = OFlags::PATH | OFlags::DIRECTORY;
            at = open_below(&at, Path::new(name), how).map_err(|e| astray(&path, e))?;
        }
        Ok(Pinned { parent: at, name: last.to_owned() })
    }
}

impl Pinned {
    /// What is there now; as [`crate::mount::look`].
    pub fn look(&self) -> Result<Presence> {
        look_at(self.parent.as_fd(), Path::new(&self.name)).map_err(|e| self.error("look at", e))
    }

    /// Makes the directory, with this mode less our umask; `false` if it was there.
    ///
    /// Errors: something else than a directory (or a mount) is there, or what the kernel says.
    pub fn mkdir(&self, mode: u32) -> Result<bool> {
        if make_dir(self.parent.as_fd(), &self.name, mode).map_err(|e| self.error("make the directory", e))? {
            return Ok(true);
        }
        match self.look()? {
            Presence::Plain | Presence::Mount(_) => Ok(false),
            Presence::Symlink | Presence::Other | Presence::Absent | Presence::Corrupted(_) => {
                let context = format!("cannot make the directory {}: something else is there", self.shown());
                Err(Error::new(ErrorKind::Refused, context).with_hint("look what it is and move it away"))
            }
        }
    }

    /// Takes the directory away, which must be empty and not mounted on; `false` if there was nothing.
    ///
    /// Errors: `Busy` if it is mounted on; what the kernel says.
    pub fn rmdir(&self) -> Result<bool> {
        match unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.error("remove the directory", error)),
        }
    }

    /// Makes an empty file that nobody else can open; `false` if a file was there.
    ///
    /// Errors: something else is there, or what the kernel says.
    pub fn make_file(&self) -> Result<bool> {
        let how = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.parent, &self.name, how, Mode::from_raw_mode(0o600)) {
            Ok(_) => Ok(true),
            Err(Errno::EXIST) => match self.look()? {
                Presence::Other => Ok(false),
                Presence::Absent
                | Presence::Plain
                | Presence::Mount(_)
                | Presence::Corrupted(_)
                | Presence::Symlink => Err(self.error("make the file", Errno::EXIST)),
            },
            Err(error) => Err(self.error("make the file", error)),
        }
    }

    /// Takes the file away, which must be a plain one, empty and not mounted on; `false` if there was nothing.
    ///
    /// Errors: `Refused` if it holds anything, `Busy` if it is mounted on; what the kernel says.
    pub fn remove_empty_file(&self) -> Result<bool> {
        let file = match self.open() {
            Ok(file) => file,
            Err(error) if error.errno() == Some(Errno::NOENT.raw_os_error()) => return Ok(false),
            Err(error) => return Err(error),
        };
        let stat = fstat(&file).map_err(|e| self.error("look at", e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size != 0 {
            let context = format!("{} is no empty file", self.shown());
            return Err(Error::new(ErrorKind::Refused, context).with_hint("see what it is, and move it out of the way"));
        }
        match unlinkat(&self.parent, &self.name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.error("remove", error)),
        }
    }

    /// Whether the directory here holds nothing. Never enters a mount, so that no dead server can hold us up.
    ///
    /// Errors: it is no directory, or mounted on; it cannot be read.
    pub fn is_empty(&self) -> Result<bool> {
        let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let stay = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let read = |error| self.error("read the directory", error);
        let dir = openat2(&self.parent, &self.name, how, Mode::empty(), stay).map_err(read)?;
        for entry in Dir::new(dir).map_err(read)? {
            let entry = entry.map_err(read)?;
            if entry.file_name() != c"." && entry.file_name() != c".." {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Opens what is there as a place only (`O_PATH`), which wakes no file system; a link is opened itself.
    pub fn open(&self) -> Result<OwnedFd> {
        let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.parent, &self.name, how, Mode::empty()).map_err(|e| self.error("open", e))
    }

    /// The mount on top here, if there is one, as the mount table has it.
    ///
    /// Errors: `Refused` if whoever follows the real path of this place comes elsewhere, which is what it looks like
    /// when something was mounted over a directory above.
    pub fn mounted(&self) -> Result<Option<Mounted>> {
        let Presence::Mount(id) = self.look()? else { return Ok(None) };
        let Some(mounted) = table::by_id(id)? else { return Ok(None) };
        let path = self.path()?;
        if mounted.point != path || look(&path)? != Presence::Mount(id) {
            let context = format!("the mount at {} cannot be reached by that path", path.display());
            return Err(Error::new(ErrorKind::Refused, context)
                .with_hint("look in the mount table what is mounted over a directory above, and unmount it"));
        }
        Ok(Some(mounted))
    }

    /// The real path of this place at this moment, whatever it was called when it was pinned.
    ///
    /// Errors: `NotFound` if its directory was deleted.
    pub fn path(&self) -> Result<PathBuf> {
        let failed = |e| Error::os(format!("cannot tell where {} is", self.name.display()), e);
        if fstat(&self.parent).map_err(failed)?.st_nlink == 0 {
            let context = format!("the directory that held {} was deleted", self.name.display());
            return Err(Error::new(ErrorKind::NotFound, context));
        }
        Ok(table::path_of(&self.parent).map_err(failed)?.join(&self.name))
    }

    /// The directory it is in.
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// Its name there.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    fn shown(&self) -> String {
        self.path().unwrap_or_else(|_| PathBuf::from(&self.name)).display().to_string()
    }

    fn error(&self, what: &str, error: Errno) -> Error {
        Error::io(what, self.shown(), error)
    }
}

/// The components of a relative path that only goes down.
fn names(rel: &Path) -> Result<Vec<&OsStr>> {
    let mut names = Vec::new();
    for part in rel.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => return Err(not_below(rel)),
        }
    }
    if names.is_empty() { Err(not_below(rel)) } else { Ok(names) }
}

fn not_below(rel: &Path) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("cannot resolve {:?}: it does not name anything below its root", rel.display().to_string()),
    )
}

/// `false` if something of that name was there.
fn make_dir(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> rustix::io::Result<bool> {
    match mkdirat(dir, name, Mode::from_raw_mode(mode)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::mount::{Flags, Unmount, bind, testing::private_mounts, unmount};

    #[test]
    fn resolves_below_and_nowhere_else() {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir_all(tmp.path().join("root/a/b")).unwrap();
        fs::create_dir(tmp.path().join("out")).unwrap();
        symlink("../../out", tmp.path().join("root/a/link")).unwrap();
        symlink("b", tmp.path().join("root/a/inside")).unwrap();
        let root = Root::open(&tmp.path().join("root")).unwrap();
        root.resolve(Path::new("a/b"), OFlags::RDONLY).unwrap();
        for link in ["a/link", "a/inside", "a/link/x"] {
            assert_eq!(root.resolve(Path::new(link), OFlags::PATH).unwrap_err().kind(), ErrorKind::Refused, "{link}");
        }
        for wrong in ["..", "a/../../out", "/etc", "", "."] {
            assert_eq!(root.resolve(Path::new(wrong), OFlags::PATH).unwrap_err().kind(), ErrorKind::Invalid, "{wrong}");
        }
        assert_eq!(root.make_dirs(Path::new("a/link/new"), 0o755).unwrap_err().kind(), ErrorKind::Refused);
        assert!(!tmp.path().join("out/new").exists(), "nothing is made through a link");
        assert_eq!(root.make_dirs(Path::new("a/inside"), 0o755).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(root.pin(Path::new("no/such")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_pinned_name_stays_where_it_is_though_its_path_is_swapped() {
        let tmp = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(tmp.path()).unwrap();
        let root = Root::open(&real).unwrap();
        let pinned = root.make_dirs(Path::new("pods/uid/vol ume"), 0o750).unwrap();
        assert!(!pinned.mkdir(0o750).unwrap(), "it is there already");
        assert_eq!(pinned.path().unwrap(), real.join("pods/uid/vol ume"));
        fs::rename(real.join("pods/uid"), real.join("pods/moved")).unwrap();
        symlink("/", real.join("pods/uid")).unwrap();
        assert_eq!(pinned.path().unwrap(), real.join("pods/moved/vol ume"));
        assert_eq!(pinned.look().unwrap(), Presence::Plain);
        assert!(pinned.rmdir().unwrap());
        assert!(!pinned.rmdir().unwrap());
        assert_eq!(pinned.look().unwrap(), Presence::Absent);
        assert!(!real.join("pods/moved/vol ume").exists());
        fs::remove_dir(real.join("pods/moved")).unwrap();
        assert_eq!(pinned.path().unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_pinned_mount_is_judged_by_its_own_path() {
        private_mounts(|tmp| {
            let root = Root::open(tmp).unwrap();
            let pinned = root.make_dirs(Path::new("p/v"), 0o755).unwrap();
            assert_eq!(pinned.mounted().unwrap(), None);
            bind(tmp, &tmp.join("p/v"), Flags::default()).unwrap();
            assert_eq!(pinned.mounted().unwrap().unwrap().point, tmp.join("p/v"));
            assert_eq!(pinned.rmdir().unwrap_err().kind(), ErrorKind::Busy);
            bind(tmp, &tmp.join("p"), Flags::default()).unwrap();
            assert_eq!(pinned.mounted().unwrap_err().kind(), ErrorKind::Refused, "covered from above");
            unmount(&tmp.join("p"), Unmount::Plain).unwrap();
            assert!(pinned.mounted().unwrap().is_some());
            unmount(&tmp.join("p/v"), Unmount::Plain).unwrap();
            fs::rename(tmp.join("p"), tmp.join("q")).unwrap();
            fs::create_dir_all(tmp.join("p/v")).unwrap();
            bind(tmp, &tmp.join("p/v"), Flags::default()).unwrap();
            assert_eq!(pinned.mounted().unwrap(), None, "what was mounted at the old path is elsewhere");
        });
    }
}
