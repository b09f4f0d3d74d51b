//! Whether a path is safe from others: what it leads to is run or relied upon as root.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{FileType, Mode, OFlags, fstat, openat, readlinkat},
    io::Errno,
};

use crate::{Error, ErrorKind, Result, real::open_real};

/// Whose directories and files are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    uids: Vec<u32>,
}

/// What a trusted path led to, held open: whatever is done to the path from now on, this stays the same file or directory.
#[derive(Clone, Debug)]
pub struct Trusted {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

/// What to do where a directory is meant for others to write to.
const EVERYBODYS: &str = "choose another directory, which only its owner can write to: this one is there for others";

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// A walk along a path. Each component is opened, and judged by its descriptor: nothing can be swapped between a look and a
/// step.
struct Walk<'a> {
    asked: &'a Path,
    trust: &'a Trust,
    /// Directories and the end are judged too, not only links.
    whole: bool,
    /// From `/` to where we are; never empty.
    open: Vec<OwnedFd>,
    /// Where we are, without links.
    at: PathBuf,
    todo: VecDeque<OsString>,
}

impl Trust {
    /// Root, and whom this process runs as; inside a user namespace also the id that stands for everyone outside.
    pub fn here() -> Self {
        let mut uids = vec![0, rustix::process::geteuid().as_raw()];
        let whole = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
        if fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !whole(map)) {
            let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
            uids.push(overflow.and_then(|text| text.trim().parse().ok()).unwrap_or(65534));
        }
        Self::of(&uids)
    }

    /// These users as well, on an administrator's word.
    #[must_use]
    pub fn and(mut self, uids: &[u32]) -> Self {
        self.uids.extend_from_slice(uids);
        self
    }

    /// Exactly these users.
    pub fn of(uids: &[u32]) -> Self {
        Self { uids: uids.to_vec() }
    }
}

impl Trusted {
    /// Its real path, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Trusted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether nobody but those in `trust` could change what this absolute path leads to: each directory on the way, each
/// link, and what it ends at are owned by them and not writable by group or others. On the way, not at the end,
/// directories such as `/tmp` will do, in which nobody can touch what belongs to others.
///
/// Errors: `Refused`, naming the component at fault and what mends it; it cannot be read.
pub fn trusted_chain(path: &Path, trust: &Trust) -> Result<()> {
    trusted(path, trust).map(drop)
}

/// Opens what this absolute path leads to, as a place only (`O_PATH`), if it may be trusted as [`trusted_chain`] says. What
/// is opened is what was judged.
///
/// Errors: as [`trusted_chain`].
pub fn trusted(path: &Path, trust: &Trust) -> Result<Trusted> {
    Walk { asked: path, trust, whole: true, open: Vec::new(), at: "/".into(), todo: steps(path).collect() }.end()
}

/// The same place by a path whose parents hold no link. Only links that one in `trust` laid are followed; the last component
/// is not looked at, and where a parent is missing the path is given back as it is.
///
/// Errors: `Refused` for a link of somebody else's; it cannot be read.
pub fn real_place(path: &Path, trust: impl FnOnce() -> Trust) -> Result<PathBuf> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path.to_owned()) };
    if open_real(parent, OFlags::PATH).is_ok() {
        return Ok(path.to_owned());
    }
    let trust = trust();
    let todo = steps(parent).collect();
    match (Walk { asked: path, trust: &trust, whole: false, open: Vec::new(), at: "/".into(), todo }).end() {
        Ok(parent) => Ok(parent.path.join(name)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
    }
}

/// The names and `..` of a path.
fn steps(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

impl Walk<'_> {
    fn end(mut self) -> Result<Trusted> {
        if !self.asked.is_absolute() {
            let why = format!("cannot trust {}: it is not absolute", self.asked.display());
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        let mut fd = open_real(Path::new("/"), OFlags::PATH).map_err(|e| Error::io("open", "/", e))?;
        self.judge(&fd)?;
        let mut links = 0;
        while let Some(name) = self.todo.pop_front() {
            if name == ".." {
                self.at.pop();
                // Above `/` lies `/`.
                fd = self.open.pop().unwrap_or(fd);
                continue;
            }
            self.at.push(&name);
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let next = openat(&fd, &name, flags, Mode::empty()).map_err(|e| self.error("look at", e))?;
            if !self.judge(&next)? {
                self.open.push(std::mem::replace(&mut fd, next));
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                let why = format!("cannot trust {}: too many links", self.asked.display());
                return Err(Error::new(ErrorKind::Invalid, why));
            }
            let target = readlinkat(&next, "", Vec::new()).map_err(|e| self.error("read the link", e))?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            self.at.pop();
            if target.is_absolute() {
                self.at = "/".into();
                fd = self.open.drain(..).next().unwrap_or(fd);
            }
            for name in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                self.todo.push_front(name);
            }
        }
        Ok(Trusted { fd: Arc::new(fd), path: self.at })
    }

    /// Judges what is open as the component we are at; `true` if it is a link to be followed.
    fn judge(&self, fd: &OwnedFd) -> Result<bool> {
        let stat = fstat(fd).map_err(|e| self.error("look at", e))?;
        let (kind, mode, last) = (FileType::from_raw_mode(stat.st_mode), stat.st_mode & 0o7777, self.todo.is_empty());
        let shown = self.at.display();
        let refuse = |why: String, mend: String| {
            let context = format!("cannot trust {}: {shown} {why}", self.asked.display());
            Err(Error::new(ErrorKind::Refused, context).with_hint(mend))
        };
        let is_link = kind == FileType::Symlink;
        if !self.whole && !is_link {
            return Ok(false);
        }
        let quoted = format!("'{}'", self.at.to_string_lossy().replace('\'', r"'\''"));
        if !self.trust.uids.contains(&stat.st_uid) {
            // The last may be the id that stands for everyone outside a user namespace: nothing can be given to that.
            let owner = self.trust.uids.first().unwrap_or(&0);
            return refuse(format!("belongs to user {}", stat.st_uid), format!("run: chown -h {owner} {quoted}"));
        }
        if is_link {
            return Ok(true);
        }
        let sticky = kind == FileType::Directory && mode & 0o1000 != 0;
        if mode & 0o022 != 0 && (last || !sticky) {
            let why = format!("can be written to by others (mode {mode:04o})");
            // Such a directory, as `/tmp`, is everybody's: taken from them it would break the machine.
            let mend = if sticky { EVERYBODYS.to_owned() } else { format!("run: chmod go-w {quoted}") };
            return refuse(why, mend);
        }
        Ok(false)
    }

    fn error(&self, what: &str, error: Errno) -> Error {
        Error::io(what, &self.at, error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn trusts_only_what_nobody_else_can_change() {
        let tmp = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(tmp.path()).unwrap();
        let file = base.join("d i'r/file");
        fs::create_dir(base.join("d i'r")).unwrap();
        fs::write(&file, "").unwrap();
        chmod(&base.join("d i'r"), 0o755);
        chmod(&file, 0o755);
        let trust = Trust::here();
        trusted_chain(&file, &trust).unwrap();
        // Given to whom the machine's own files belong, whoever else is trusted.
        let error = trusted_chain(&file, &Trust::of(&[1234, 65534])).unwrap_err();
        assert!(error.hint().unwrap().starts_with("run: chown -h 1234 "), "{error:?}");

        chmod(&file, 0o775);
        let error = trusted_chain(&file, &trust).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("mode 0775"), "{error}");
        chmod(&file, 0o755);

        chmod(&base.join("d i'r"), 0o757);
        let error = trusted_chain(&file, &trust).unwrap_err();
        assert_eq!(error.hint().unwrap(), format!(r"run: chmod go-w '{}/d i'\''r'", base.display()));
        chmod(&base.join("d i'r"), 0o1777);
        trusted_chain(&file, &trust).unwrap();
        let error = trusted_chain(&base.join("d i'r"), &trust).expect_err("at the end the sticky bit is no excuse");
        let hint = error.hint().unwrap();
        assert!(hint.contains("choose another directory") && !hint.contains("chmod"), "{hint}");

        symlink("d i'r/../d i'r", base.join("link")).unwrap();
        trusted_chain(&base.join("link/file"), &trust).unwrap();
        chmod(&base.join("d i'r"), 0o777);
        assert!(trusted_chain(&base.join("link/file"), &trust).is_err(), "a link is followed, and its way judged");
        symlink("loop", base.join("loop")).unwrap();
        assert!(trusted_chain(&base.join("loop"), &trust).is_err());
        assert!(trusted_chain(Path::new("relative"), &trust).is_err());
        assert!(trusted_chain(&base.join("missing"), &trust).is_err());
    }

    #[test]
    fn trusts_only_whom_it_is_told_to() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: giving a file away needs root");
            return;
        }
        let tmp = tempfile::tempdir().unwrap();
        let file = tmp.path().join("file");
        fs::write(&file, "").unwrap();
        std::os::unix::fs::chown(&file, Some(1234), None).unwrap();
        let error = trusted_chain(&file, &Trust::of(&[0])).unwrap_err();
        assert!(error.to_string().contains("belongs to user 1234"), "{error}");
        trusted_chain(&file, &Trust::of(&[0, 1234])).unwrap();
    }
}
