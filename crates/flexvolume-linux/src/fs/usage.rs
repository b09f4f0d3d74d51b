//! How full a mounted volume is, for statistics.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Space and inodes of a file system; bytes unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Size of the file system.
    pub total: u64,
    /// What is in use.
    pub used: u64,
    /// What an ordinary user may still write.
    pub available: u64,
    /// Number of inodes; 0 where the file system has no fixed number.
    pub inodes: u64,
    /// Inodes in use.
    pub inodes_used: u64,
    /// Inodes still free.
    pub inodes_free: u64,
}

/// Asks the file system at `path`. This reaches into the mount and hangs if its server does: call it in a worker.
///
/// # Errors
/// `Io` with the system's error.
pub fn usage(path: &Path) -> Result<Usage> {
    // One that was shut down still tells how large it was; of its files nothing is to be had.
    std::fs::metadata(path).map_err(|error| Error::io("look at", path, error))?;
    let stat = rustix::fs::statvfs(path).map_err(|error| Error::io("measure the file system at", path, error))?;
    let unit = if stat.f_frsize == 0 { stat.f_bsize } else { stat.f_frsize };
    Ok(Usage {
        total: stat.f_blocks.saturating_mul(unit),
        used: stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(unit),
        available: stat.f_bavail.saturating_mul(unit),
        inodes: stat.f_files,
        inodes_used: stat.f_files.saturating_sub(stat.f_ffree),
        inodes_free: stat.f_ffree,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_file_system_that_is_there() {
        let usage = usage(Path::new("/")).unwrap();
        assert!(usage.total > 0 && usage.used <= usage.total && usage.available <= usage.total);
        assert!(super::usage(Path::new("/nowhere/at/all")).is_err());
    }
}
