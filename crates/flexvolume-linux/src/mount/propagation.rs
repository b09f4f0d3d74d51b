//! Who sees a mount that is made at a path: the peer groups of the mount that the path lies in.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::mountinfo::{self, Row};
use crate::{Error, Result};

/// The mount that a path lies in, and to whom it passes on what is mounted beneath it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propagation {
    /// Where that mount is.
    pub point: PathBuf,
    /// Its type.
    pub fs_type: String,
    /// Its peer group, one number all over the machine: whatever is mounted beneath it appears beneath every mount of the
    /// group, in whichever mount namespace. `None` for a private one.
    pub peers: Option<u64>,
    /// The group whose mounts appear beneath it, while its own do not appear there.
    pub follows: Option<u64>,
}

/// The propagation of the mount that `path`, a real path, lies in: as seen by this process, or by process `pid`. Reaches
/// into no file system.
///
/// # Errors
/// The table cannot be read, which of another process takes the right to trace it.
pub fn propagation(pid: Option<u32>, path: &Path) -> Result<Option<Propagation>> {
    let file = pid.map_or_else(|| "/proc/thread-self/mountinfo".to_owned(), |pid| format!("/proc/{pid}/mountinfo"));
    let text = fs::read(&file).map_err(|e| Error::io("read", &file, e))?;
    Ok(covering(&mountinfo::rows(&text)?, path).map(|row| Propagation {
        point: row.mounted.point.clone(),
        fs_type: row.mounted.fs_type.clone(),
        peers: row.peers,
        follows: row.follows,
    }))
}

/// The table as this process sees it.
pub(super) fn rows() -> Result<Vec<Row>> {
    let file = "/proc/thread-self/mountinfo";
    mountinfo::rows(&fs::read(file).map_err(|e| Error::io("read", file, e))?)
}

/// From mount to mount down the tree, as the kernel walks a path: what a later mount hides is never met.
pub(super) fn covering<'a>(rows: &'a [Row], path: &Path) -> Option<&'a Row> {
    let is_top = |row: &&Row| rows.iter().all(|other| other.mounted.id != row.mounted.parent);
    let mut at = rows.iter().find(|row| is_top(row) && path.starts_with(&row.mounted.point))?;
    // No walk is longer than the table.
    for _ in rows {
        let onward = rows.iter().filter(|row| row.mounted.parent == at.mounted.id && row.mounted.id != at.mounted.id);
        let onward = onward.filter(|row| path.starts_with(&row.mounted.point));
        match onward.min_by_key(|row| row.mounted.point.components().count()) {
            Some(next) => at = next,
            None => break,
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_a_path_lies_in_is_found_as_the_kernel_finds_it() {
        let text = b"20 1 8:1 / / rw shared:1 - ext4 /dev/a rw\n\
            23 21 0:5 / /a/b rw master:7 - tmpfs moved rw\n\
            21 20 0:3 / /a rw shared:9 master:1 - tmpfs one rw\n\
            22 20 0:4 / /a/b rw - tmpfs hidden rw\n\
            24 23 0:6 / /a/b rw - tmpfs stacked rw\n";
        let rows = mountinfo::rows(text).unwrap();
        let at = |path: &str| {
            let row = covering(&rows, Path::new(path)).unwrap();
            (row.mounted.source.as_str(), row.peers, row.follows)
        };
        assert_eq!(at("/etc"), ("/dev/a", Some(1), None));
        assert_eq!(at("/a/x"), ("one", Some(9), Some(1)));
        assert_eq!(at("/ab"), ("/dev/a", Some(1), None));
        assert_eq!(at("/a/b/c"), ("stacked", None, None));
        assert!(covering(&[], Path::new("/")).is_none());
    }

    #[test]
    fn this_machines_own_root_is_found() {
        let own = propagation(None, Path::new("/")).unwrap().unwrap();
        assert_eq!(own.point, Path::new("/"));
        assert_eq!(propagation(Some(std::process::id()), Path::new("/")).unwrap(), Some(own));
    }
}
