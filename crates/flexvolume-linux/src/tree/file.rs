//! One file of a tree copied, and one link.

use std::{ffi::OsStr, fs::File, path::Path};

use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{AtFlags, Mode, OFlags, Stat, fdatasync, fstat, fsync, linkat, openat, statat, unlinkat},
    io::Errno,
};

use super::{
    Kind,
    content::Came,
    copy::{Run, Step},
    cursor::{Identity, Part, Start},
    entry::{self, dress, is_finished, is_same},
};
use crate::{Result, real::open_within};

/// Whether the names of one file can be that in the copy.
enum Linked {
    /// This one is.
    Yes,
    /// None is known yet, or it cannot be: it is copied.
    No,
    /// What is in the way is not all removed.
    Clearing,
}

impl Run<'_> {
    /// Copies a file. Decides by what was opened, whatever a look at the name said before.
    pub(super) fn file(&mut self, name: &OsStr) -> Result<Step> {
        let Some(level) = self.levels.last() else { return Ok(Step::Done) };
        let from = match open_within(&level.from, Path::new(name), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(from) => File::from(from),
            // The last one is said of a socket.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(Step::Other),
            Err(Errno::XDEV) => return Ok(self.left_out()),
            Err(error) => return Err(self.failed(name, error)),
        };
        let before = fstat(&from).map_err(|e| self.failed(name, e))?;
        if Kind::of(&before) != Kind::File {
            return Ok(Step::Other);
        }
        let number = (before.st_nlink > 1).then(|| entry::number(&before));
        let linked = match &number {
            Some(number) => self.linked(number, &before, name)?,
            None => Linked::No,
        };
        match linked {
            Linked::Yes => {}
            Linked::Clearing => return Ok(Step::Clearing),
            Linked::No => {
                match self.content(&from, &before, name)? {
                    Step::Done => {}
                    step @ (Step::Part(_) | Step::Clearing | Step::Entered | Step::Other) => return Ok(step),
                }
                if let Some(number) = &number {
                    self.remember(number, name)?;
                }
            }
        }
        self.counts.entries += 1;
        Ok(Step::Done)
    }

    /// Gives the copy of a file a further name, if there is one that still is what the file is. Numbers are used again, and a file may
    /// be written to between its names.
    fn linked(&mut self, number: &str, before: &Stat, name: &OsStr) -> Result<Linked> {
        let links = self.copy.links;
        let failed = |run: &Self, error| run.failed(name, error);
        let first = match statat(links, number, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(first) => first,
            Err(Errno::NOENT) => return Ok(Linked::No),
            Err(error) => return Err(failed(self, error)),
        };
        if !is_finished(&first, before) {
            unlinkat(links, number, AtFlags::empty()).map_err(|e| failed(self, e))?;
            self.counts.changed += 1;
            return Ok(Linked::No);
        }
        let mut done = self.give(number, name);
        if done == Err(Errno::EXIST) {
            let there = self.there(name).map_err(|e| failed(self, e))?;
            if there.is_some_and(|there| is_same(&first, &there)) {
                return Ok(Linked::Yes);
            }
            if !self.clear(name)? {
                return Ok(Linked::Clearing);
            }
            done = self.give(number, name);
        }
        match done {
            Ok(()) => Ok(Linked::Yes),
            Err(error) if is_no_link(error) => {
                self.counts.left_out += 1;
                Ok(Linked::No)
            }
            Err(error) => Err(failed(self, error)),
        }
    }

    fn give(&self, number: &str, name: &OsStr) -> rustix::io::Result<()> {
        linkat(self.copy.links, number, self.to()?, name, AtFlags::empty())
    }

    /// Keeps what was copied for the file's further names.
    fn remember(&mut self, number: &str, name: &OsStr) -> Result<()> {
        let done = self.to().and_then(|to| linkat(to, name, self.copy.links, number, AtFlags::empty()));
        match done {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) if is_no_link(error) => self.counts.left_out += 1,
            Err(error) => return Err(self.failed(name, error)),
        }
        Ok(())
    }

    /// Copies what is in a file, if it is not there yet, and what belongs to it.
    fn content(&mut self, from: &File, before: &Stat, name: &OsStr) -> Result<Step> {
        let there = self.there(name).map_err(|e| self.failed(name, e))?;
        let file = there.filter(|there| Kind::of(there) == Kind::File);
        if file.is_some_and(|file| is_finished(&file, before)) {
            return Ok(Step::Done);
        }
        let now = Identity::of(before);
        // One with several names may be another file's copy.
        let own = file.filter(|file| file.st_nlink == 1).map(|file| file.st_size.unsigned_abs());
        let start = Start::of(self.part(name), &now, own);
        let mut flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if start.offset == 0 {
            if there.is_some() && !self.clear(name)? {
                return Ok(Step::Clearing);
            }
            flags |= OFlags::CREATE | OFlags::EXCL;
        }
        let to = self.to().and_then(|to| openat(to, name, flags, Mode::RUSR | Mode::WUSR));
        let to = File::from(to.map_err(|e| self.failed(name, e))?);
        let size = before.st_size.unsigned_abs();
        let mut work = || {
            if let Came::To(offset) = self.ways.copy(from, &to, size, start.offset, &mut self.clock, self.copy.go_on)? {
                fdatasync(&to)?;
                return Ok(Step::Part(Part { of: now, offset, again: start.again }));
            }
            // Before it looks finished: file systems tell of what they could not write here, and here alone.
            fdatasync(&to)?;
            if !(self.copy.go_on)() {
                return Ok(Step::Clearing);
            }
            let changed = start.is_changed() || Identity::now(from)? != now;
            self.counts.changed += u64::from(changed);
            self.counts.left_out += dress(from.as_fd(), before, to.as_fd())?;
            fsync(&to)?;
            Ok(Step::Done)
        };
        work().map_err(|e| self.failed(name, e))
    }

    /// Makes the same link, whatever was there of that name.
    pub(super) fn link(&mut self, name: &OsStr, stat: &Stat) -> Result<Step> {
        let Some(level) = self.levels.last() else { return Ok(Step::Done) };
        let target = match entry::target(level.from.as_fd(), name) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::INVAL) => return Ok(Step::Other),
            Err(error) => return Err(self.failed(name, error)),
        };
        if self.there(name).map_err(|e| self.failed(name, e))?.is_some() && !self.clear(name)? {
            return Ok(Step::Clearing);
        }
        let made = self.to().and_then(|to| entry::link(&target, stat, to, name));
        made.map_err(|e| self.failed(name, e))?;
        self.counts.entries += 1;
        Ok(Step::Done)
    }

    /// What the copy has of that name.
    fn there(&self, name: &OsStr) -> rustix::io::Result<Option<Stat>> {
        match statat(self.to()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Ok(Some(there)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory of the copy that we are in.
    fn to(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        self.levels.last().map(|level| level.to.as_fd()).ok_or(Errno::NOENT)
    }
}

/// A file system's or a server's word for a further name that a file cannot have.
fn is_no_link(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::XDEV | Errno::NOSYS)
}
