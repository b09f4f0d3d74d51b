//! The names in a directory.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
};

use rustix::{fd::BorrowedFd, fs::Dir, io::Result};

/// Some names of a directory, `most` at most, without itself and its parent.
pub(super) fn names(dir: BorrowedFd<'_>, most: usize) -> Result<Vec<OsString>> {
    let mut all = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            all.push(OsStr::from_bytes(name.to_bytes()).to_owned());
            if all.len() >= most {
                break;
            }
        }
    }
    Ok(all)
}
