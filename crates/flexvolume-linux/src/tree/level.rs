//! A directory of a tree, on both sides, while its entries are being copied.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags, Stat, fstat, mkdirat},
    io::{Errno, Result},
};

use super::{
    entry::bytes,
    list::{Next, next},
};
use crate::real::open_within;

/// So many names of a directory are in memory at a time. Fewer in tests, whose directories are small.
const MOST: usize = if cfg!(test) { 7 } else { 1 << 16 };

/// The original and its copy, open.
pub(super) struct Level {
    pub(super) from: OwnedFd,
    pub(super) to: OwnedFd,
    /// What the original was when it was entered.
    pub(super) stat: Stat,
    pub(super) name: OsString,
    /// The cursor lies in it, and nothing of it has been done since.
    pub(super) resumes: bool,
    /// What is to be copied, the last name first.
    todo: Vec<OsString>,
    /// When these are done, there are others after this one.
    after: Option<OsString>,
}

impl Level {
    /// Enters a directory, of which these entries are wanted.
    pub(super) fn new(
        from: OwnedFd,
        to: OwnedFd,
        name: &OsStr,
        wanted: impl Fn(&[u8]) -> bool,
        resumes: bool,
    ) -> Result<Self> {
        let stat = fstat(&from)?;
        let listed = next(from.as_fd(), MOST, wanted)?;
        let mut level = Self { from, to, stat, name: name.to_owned(), resumes, todo: Vec::new(), after: None };
        level.take(listed);
        Ok(level)
    }

    /// The next name to be copied.
    pub(super) fn next(&mut self) -> Result<Option<OsString>> {
        if self.todo.is_empty()
            && let Some(after) = self.after.take()
        {
            let listed = next(self.from.as_fd(), MOST, |name| name > bytes(&after))?;
            self.take(listed);
        }
        Ok(self.todo.pop())
    }

    fn take(&mut self, listed: Next) {
        self.after = listed.names.first().filter(|_| listed.more).cloned();
        self.todo = listed.names;
    }

    /// A directory in the copy, made if there is nothing of its name.
    pub(super) fn directory(&self, name: &OsStr) -> Result<OwnedFd> {
        match mkdirat(&self.to, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        open_within(&self.to, Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY)
    }
}
