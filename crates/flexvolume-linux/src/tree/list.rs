//! The names in a directory, never more of them at a time than fit into a modest memory.

use std::{
    collections::BinaryHeap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
};

use rustix::{fd::BorrowedFd, fs::Dir, io::Result};

/// The names of a directory from one of them on, in the order of their bytes.
pub(super) struct Next {
    /// The last one first.
    pub(super) names: Vec<OsString>,
    /// There are others, which come later.
    pub(super) more: bool,
}

/// Some names of a directory, `most` at most, without itself and its parent.
pub(super) fn names(dir: BorrowedFd<'_>, most: usize) -> Result<Vec<OsString>> {
    let mut all = Vec::new();
    each(dir, |name| {
        all.push(name.to_owned());
        all.len() < most
    })?;
    Ok(all)
}

/// The first names in order that `wanted` says yes to, `most` at most.
pub(super) fn next(dir: BorrowedFd<'_>, most: usize, wanted: impl Fn(&[u8]) -> bool) -> Result<Next> {
    let (mut first, mut more) = (BinaryHeap::new(), false);
    each(dir, |name| {
        if !wanted(name.as_bytes()) {
            return true;
        }
        if first.len() < most {
            first.push(name.to_owned());
        } else {
            more = true;
            if let Some(mut last) = first.peek_mut()
                && name < last.as_os_str()
            {
                *last = name.to_owned();
            }
        }
        true
    })?;
    let mut names = first.into_sorted_vec();
    names.reverse();
    Ok(Next { names, more })
}

/// All names, as long as `goes_on` says so.
fn each(dir: BorrowedFd<'_>, mut goes_on: impl FnMut(&OsStr) -> bool) -> Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." && !goes_on(OsStr::from_bytes(name.to_bytes())) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::AsFd};

    use super::*;

    #[test]
    fn the_first_names_are_found_whatever_their_number() {
        let tmp = tempfile::tempdir().unwrap();
        for n in 0..100 {
            fs::write(tmp.path().join(format!("{n:02}")), "").unwrap();
        }
        let dir = fs::File::open(tmp.path()).unwrap();
        let (mut after, mut found, mut rounds) = (Vec::new(), Vec::new(), 0);
        loop {
            let next = next(dir.as_fd(), 7, |name| name > after.as_slice()).unwrap();
            assert!(next.names.len() <= 7);
            found.extend(next.names.iter().rev().cloned());
            if !next.more {
                break;
            }
            after = next.names[0].as_bytes().to_vec();
            rounds += 1;
        }
        assert_eq!(found, (0..100).map(|n| OsString::from(format!("{n:02}"))).collect::<Vec<_>>());
        assert_eq!(rounds, 14);
        assert_eq!(names(dir.as_fd(), 3).unwrap().len(), 3);
    }
}
