//! Whether a path is safe from others: what it leads to is run or relied upon as root.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use crate::{Error, ErrorKind, Result};

/// Whose directories and files are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    uids: Vec<u32>,
}

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

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

/// Whether nobody but those in `trust` could change what this absolute path leads to: each directory on the way, each
/// link, and what it ends at are owned by them and not writable by group or others. On the way, not at the end,
/// directories such as `/tmp` will do, in which nobody can touch what belongs to others.
///
/// Errors: `Refused`, naming the component at fault and a command that mends it; it cannot be read.
pub fn trusted_chain(path: &Path, trust: &Trust) -> Result<()> {
    if !path.is_absolute() {
        return Err(Error::new(ErrorKind::Invalid, format!("cannot trust {}: it is not absolute", path.display())));
    }
    let mut todo: VecDeque<OsString> = steps(path).collect();
    let mut at = PathBuf::from("/");
    trusted(path, &at, trust, todo.is_empty())?;
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(&name);
        if !trusted(path, &at, trust, todo.is_empty())? {
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Error::new(ErrorKind::Invalid, format!("cannot trust {}: too many links", path.display())));
        }
        let target = fs::read_link(&at).map_err(|e| Error::io("read the link", &at, e))?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        } else {
            at.pop();
        }
        for name in steps(&target).collect::<Vec<_>>().into_iter().rev() {
            todo.push_front(name);
        }
    }
    Ok(())
}

/// The names and `..` of a path.
fn steps(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Judges one component; `true` if it is a link to be followed.
fn trusted(path: &Path, at: &Path, trust: &Trust, last: bool) -> Result<bool> {
    let meta = fs::symlink_metadata(at).map_err(|e| Error::io("look at", at, e))?;
    let (shown, mode) = (at.display(), meta.mode() & 0o7777);
    let refuse = |why: String, mend: String| {
        let context = format!("cannot trust {}: {shown} {why}", path.display());
        Err(Error::new(ErrorKind::Refused, context).with_hint(mend))
    };
    let quoted = format!("'{}'", at.to_string_lossy().replace('\'', r"'\''"));
    if !trust.uids.contains(&meta.uid()) {
        let owner = trust.uids.last().unwrap_or(&0);
        return refuse(format!("belongs to user {}", meta.uid()), format!("run: chown -h {owner} {quoted}"));
    }
    if meta.is_symlink() {
        return Ok(true);
    }
    let sticky = meta.is_dir() && mode & 0o1000 != 0 && !last;
    if mode & 0o022 != 0 && !sticky {
        return refuse(format!("can be written to by others (mode {mode:04o})"), format!("run: chmod go-w {quoted}"));
    }
    Ok(false)
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
        assert!(trusted_chain(&base.join("d i'r"), &trust).is_err(), "at the end the sticky bit is no excuse");

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
