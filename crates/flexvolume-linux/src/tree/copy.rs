//! A tree copied, a slice of time after the other. Where a slice ended a [`Cursor`] says; a copy that was cut off goes on from the
//! last cursor that somebody kept, and does again what it did since.
//!
//! The order is that of the names' bytes, a directory after all that is in it. So whatever comes before the cursor is complete. A file
//! gets its time last: one that has length and time of its original is complete too, and not copied again.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags, Stat, fstat, linkat, mkdirat, openat, statat, unlinkat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    Folder, Kind,
    content::{Came, Ways},
    entry::{self, dress, is_finished, is_same, modified},
    list::names,
};
use crate::{
    Error, ErrorKind, Result,
    real::{open_within, stays},
};

/// A copy to be made, or to be gone on with.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    /// What is copied.
    pub from: &'a Folder,
    /// Where to: a directory that is there, and that nobody else writes to.
    pub to: &'a Folder,
    /// A directory of this copy's own, in the same file system as `to`: files with several names are remembered there. It may be
    /// removed when all is copied.
    pub links: &'a Folder,
    /// When to stop. Something is done in any case.
    pub until: Instant,
}

/// Where a copy ended for now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The names on the way to the last entry that is complete, or that is being copied.
    path: Vec<Vec<u8>>,
    /// Set if it is a file of which so many bytes are there.
    offset: Option<u64>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Files, links and directories.
    pub entries: u64,
    /// Of these files were changed while they were copied.
    pub changed: u64,
    /// Devices, pipes, sockets and other file systems, which are not copied.
    pub left_out: u64,
}

/// How far a copy came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copied {
    /// All of it is there.
    All(Counts),
    /// So far; this is what was done since the last cursor.
    To(Cursor, Counts),
}

/// So many directories are open on each side at a time; a tree that is deeper is not copied.
const DEEPEST: usize = 400;

/// A directory whose entries are being copied.
struct Level {
    from: OwnedFd,
    to: OwnedFd,
    stat: Stat,
    name: OsString,
    /// The last name first.
    todo: Vec<OsString>,
    /// The cursor lies in it.
    resumes: bool,
}

/// What came of one entry.
enum Step {
    /// It is complete, or left out, or gone.
    Done,
    /// It is a directory, and its entries come next.
    Entered,
    /// It is a file of which so many bytes are there; the time is over.
    To(u64),
}

struct Run<'a> {
    copy: &'a Copy<'a>,
    cursor: Cursor,
    counts: Counts,
    ways: Ways,
    levels: Vec<Level>,
}

impl Copy<'_> {
    /// Goes on from the cursor, or begins without one.
    ///
    /// # Errors
    /// What the kernel says of either side; `Unsupported` for a tree that is too deep.
    pub fn run(&self, cursor: Option<&Cursor>) -> Result<Copied> {
        let (cursor, counts) = (cursor.cloned().unwrap_or_default(), Counts::default());
        let mut run = Run { copy: self, cursor, counts, ways: Ways::default(), levels: Vec::new() };
        let open = |folder: &Folder| folder.sub(std::path::Path::new("")).map(|it| it.as_fd().try_clone_to_owned());
        let cannot = |e: std::io::Error| Error::io("open", self.from.path(), e);
        let from = open(self.from)?.map_err(cannot)?;
        let to = open(self.to)?.map_err(cannot)?;
        let resumes = !run.cursor.path.is_empty();
        run.enter(from, to, OsString::new(), resumes)?;
        run.all()
    }
}

impl Run<'_> {
    fn all(mut self) -> Result<Copied> {
        let mut progressed = false;
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(Copied::All(self.counts)) };
            if progressed && Instant::now() >= self.copy.until {
                return Ok(Copied::To(self.cursor, self.counts));
            }
            match level.todo.pop() {
                Some(name) => match self.entry(&name)? {
                    Step::Done => self.done(&name, None),
                    // It is done when it is left.
                    Step::Entered => continue,
                    Step::To(offset) => {
                        self.done(&name, Some(offset));
                        return Ok(Copied::To(self.cursor, self.counts));
                    }
                },
                None => {
                    let Some(left) = self.levels.pop() else { return Ok(Copied::All(self.counts)) };
                    dress(left.from.as_fd(), &left.stat, left.to.as_fd()).map_err(|e| self.failed(&left.name, e))?;
                    self.counts.entries += 1;
                    self.done(&left.name, None);
                }
            }
            progressed = true;
        }
    }

    /// Copies one entry, or enters it.
    fn entry(&mut self, name: &OsStr) -> Result<Step> {
        let Some(level) = self.levels.last() else { return Ok(Step::Done) };
        let stat = match statat(&level.from, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since it was listed.
            Err(Errno::NOENT) => return Ok(Step::Done),
            Err(error) => return Err(self.failed(name, error)),
        };
        let done = match Kind::of(&stat) {
            Kind::Directory => return self.directory(name),
            Kind::File => self.file(name, &stat),
            Kind::Link => entry::link(level.from.as_fd(), &stat, level.to.as_fd(), name).map(|()| Step::Done),
            Kind::Special => {
                self.counts.left_out += 1;
                return Ok(Step::Done);
            }
        };
        let done = done.map_err(|e| self.failed(name, e))?;
        self.counts.entries += u64::from(matches!(done, Step::Done));
        Ok(done)
    }

    fn directory(&mut self, name: &OsStr) -> Result<Step> {
        let depth = self.levels.len();
        let Some(level) = self.levels.last() else { return Ok(Step::Done) };
        if depth >= DEEPEST {
            let context = format!("cannot copy {}: it is nested too deep", self.shown(name));
            let hint = format!("no more than {DEEPEST} directories within one another are copied");
            return Err(Error::new(ErrorKind::Unsupported, context).with_hint(hint));
        }
        let failed = |e| self.failed(name, e);
        let from = match open_within(&level.from, Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(from) => from,
            // Another file system; or another kind of entry by now.
            Err(Errno::XDEV | Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {
                self.counts.left_out += 1;
                return Ok(Step::Done);
            }
            Err(error) => return Err(failed(error)),
        };
        match mkdirat(&level.to, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let to = open_within(&level.to, Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        let resumes = level.resumes
            && self.cursor.path.len() > depth
            && self.cursor.path.get(depth - 1).is_some_and(|part| part == name.as_bytes());
        self.enter(from, to, name.to_owned(), resumes)?;
        Ok(Step::Entered)
    }

    fn enter(&mut self, from: OwnedFd, to: OwnedFd, name: OsString, resumes: bool) -> Result<()> {
        let depth = self.levels.len();
        let failed = |e: Errno| Error::io("read the directory", self.shown(&name), e);
        let stat = fstat(&from).map_err(failed)?;
        let mut todo = names(from.as_fd(), usize::MAX).map_err(failed)?;
        if resumes {
            let last = depth + 1 == self.cursor.path.len();
            let reached = self.cursor.path.get(depth).map(Vec::as_slice).unwrap_or_default();
            let complete = last && self.cursor.offset.is_none();
            todo.retain(|name| name.as_bytes() > reached || (name.as_bytes() == reached && !complete));
        }
        todo.sort_unstable_by(|one, other| other.as_bytes().cmp(one.as_bytes()));
        self.levels.push(Level { from, to, stat, name, todo, resumes });
        Ok(())
    }

    fn file(&mut self, name: &OsStr, stat: &Stat) -> rustix::io::Result<Step> {
        let offset = self.offset_of(name);
        let Some(level) = self.levels.last() else { return Ok(Step::Done) };
        let to = level.to.as_fd();
        let number = (stat.st_nlink > 1).then(|| entry::number(stat));
        if let Some(number) = &number
            && is_linked(self.copy.links.as_fd(), number, to, name)?
        {
            return Ok(Step::Done);
        }
        let from = match open_within(&level.from, Path::new(name), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(from) => File::from(from),
            Err(Errno::NOENT | Errno::LOOP | Errno::XDEV) => return Ok(Step::Done),
            Err(error) => return Err(error),
        };
        let before = fstat(&from)?;
        if !is_same(&before, stat) || Kind::of(&before) != Kind::File {
            // Another one by now. It is copied by that name when somebody asks again.
            self.counts.changed += 1;
            return Ok(Step::Done);
        }
        let there = match statat(to, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if Kind::of(&there) == Kind::File => Some(there),
            Ok(_) => {
                unlinkat(to, name, AtFlags::empty())?;
                None
            }
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error),
        };
        if !there.as_ref().is_some_and(|there| is_finished(there, &before)) {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = File::from(openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
            let size = before.st_size.unsigned_abs();
            let begun = there.map_or(0, |there| there.st_size.unsigned_abs());
            let at = offset.filter(|offset| *offset <= begun && *offset <= size).unwrap_or(0);
            if let Came::To(offset) = self.ways.copy(&from, &copy, size, at, self.copy.until)? {
                rustix::fs::fsync(&copy)?;
                return Ok(Step::To(offset));
            }
            let after = fstat(&from)?;
            if (modified(&after), after.st_size) != (modified(&before), before.st_size) {
                self.counts.changed += 1;
            }
            dress(from.as_fd(), &before, copy.as_fd())?;
            rustix::fs::fsync(&copy)?;
        }
        if let Some(number) = number {
            match linkat(to, name, self.copy.links, number, AtFlags::empty()) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Step::Done)
    }

    /// How much of this very file an earlier slice has copied.
    fn offset_of(&self, name: &OsStr) -> Option<u64> {
        let depth = self.levels.len();
        let resumes = self.levels.last().is_some_and(|level| level.resumes) && self.cursor.path.len() == depth;
        let same = self.cursor.path.last().is_some_and(|last| last == name.as_bytes());
        self.cursor.offset.filter(|_| resumes && same)
    }

    /// Remembers that all up to this entry of the directory we are in is there. The whole tree has no name.
    fn done(&mut self, name: &OsStr, offset: Option<u64>) {
        if self.levels.is_empty() {
            return;
        }
        let above = self.levels.iter().skip(1).map(|level| entry::bytes(&level.name));
        self.cursor = Cursor { path: above.chain([entry::bytes(name)]).collect(), offset };
        // Whatever was to be passed over has been.
        self.levels.iter_mut().for_each(|level| level.resumes = false);
    }

    fn shown(&self, name: &OsStr) -> String {
        let above: PathBuf = self.levels.iter().map(|level| &level.name).collect();
        self.copy.from.path().join(above).join(name).display().to_string()
    }

    fn failed(&self, name: &OsStr, error: Errno) -> Error {
        let failed = match error {
            Errno::LOOP | Errno::XDEV | Errno::NOTDIR => stays(self.shown(name).as_ref(), error),
            _ => Error::io("copy", self.shown(name), error),
        };
        match error {
            Errno::PERM => {
                failed.with_hint("owners are kept, for which the server must let root be root (no_root_squash)")
            }
            _ => failed,
        }
    }
}

/// Gives the copy another name, if a file of that number has been copied under another name already.
fn is_linked(links: BorrowedFd<'_>, number: &str, to: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<bool> {
    match linkat(links, number, to, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(Errno::EXIST) => {
            let first = match statat(links, number, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(first) => first,
                Err(Errno::NOENT) => return Ok(false),
                Err(error) => return Err(error),
            };
            if !is_same(&first, &statat(to, name, AtFlags::SYMLINK_NOFOLLOW)?) {
                unlinkat(to, name, AtFlags::empty())?;
                linkat(links, number, to, name, AtFlags::empty())?;
            }
            Ok(true)
        }
        Err(error) => Err(error),
    }
}
