//! Who holds a lock of flock(2): whoever took it, and every child that it was lent to.

use std::{fs, path::Path};

use super::{
    ProcessId,
    find::{living, pids},
};
use crate::{Error, Result};

/// Every living process through which a lock on `file` is held, our own included; several hold one lock where it was lent
/// ([`lending`](super::lending)). Those of other users or of other pid namespaces are not seen.
///
/// # Errors
/// `file` is not there, or `/proc` cannot be read.
pub fn lock_holders(file: &Path) -> Result<Vec<ProcessId>> {
    let file = fs::canonicalize(file).map_err(|error| Error::io("find the lock", file, error))?;
    Ok(pids()?.into_iter().filter(|pid| holds(*pid, &file)).filter_map(living).map(|(id, _)| id).collect())
}

/// By the names of its descriptors: to ask for the files themselves might hang on a dead mount of somebody else's.
fn holds(pid: u32, file: &Path) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|link| link == file)).any(|fd| {
        let about = Path::new("/proc").join(pid.to_string()).join("fdinfo").join(fd.file_name());
        fs::read_to_string(about).is_ok_and(|about| about.lines().any(is_lock))
    })
}

/// `lock: 1: FLOCK  ADVISORY  WRITE 4711 00:2d:815 0 EOF`, of the descriptor that holds it and no other.
fn is_lock(line: &str) -> bool {
    line.starts_with("lock:") && line.split_ascii_whitespace().any(|word| word == "FLOCK")
}
