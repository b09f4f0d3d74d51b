//! A tree copied, a slice of time after the other. Where a slice ended a [`Cursor`] says; a copy that was cut off goes on from the
//! last cursor that somebody kept, and does again what it did since.
//!
//! The order is that of the names' bytes, a directory after all that is in it. So whatever comes before the cursor is complete. A file
//! gets its time last, when its content is on disk: one that has length and time of its original is complete too, and not copied
//! again. What else is in the way of an entry goes: nothing that an earlier attempt left is written into.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, OFlags, StatxFlags, statat, statx},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    Cursor, Folder, Kind,
    clock::Clock,
    content::Ways,
    cursor::Part,
    entry::{self, dress},
    level::Level,
    remove::clear,
};
use crate::{
    Error, ErrorKind, Result,
    real::{open_within, stays},
};

/// A copy to be made, or to be gone on with.
#[derive(Clone, Copy)]
pub struct Copy<'a> {
    /// What is copied.
    pub from: &'a Folder,
    /// Where to: a directory that is there, and that nobody else writes to. What is there that is not of this copy may go.
    pub to: &'a Folder,
    /// A directory of this copy's own, in the same file system as `to`: files with several names are remembered there. It may be
    /// removed when all is copied.
    pub links: &'a Folder,
    /// How long to go on, from the first piece of work on: what must be listed before that takes as long as it takes. Something is
    /// done in any case.
    pub slice: Duration,
    /// Asked before each entry, and before each part of a large file: nothing more is done once this says no.
    pub go_on: &'a dyn Fn() -> bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Files, links and directories.
    pub entries: u64,
    /// Entries that were changed while they were copied: they may be of several moments, or names of one file be several.
    pub changed: u64,
    /// What is not copied: devices, pipes, sockets and other file systems; attributes, and names of one file, that the copy's file
    /// system does not take.
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

/// So often an entry may be of another kind than a moment before.
const TRIES: u32 = 8;

/// What came of one entry.
pub(super) enum Step {
    /// It is complete, or left out, or gone.
    Done,
    /// It is a directory, and its entries come next.
    Entered,
    /// It is a file of which this is there; the time is over.
    Part(Part),
    /// It is not done, and no part of it counts: what is in its way is not all removed, or nothing may be done any more.
    Clearing,
    /// It is something else by now.
    Other,
}

pub(super) struct Run<'a> {
    pub(super) copy: &'a Copy<'a>,
    cursor: Cursor,
    pub(super) counts: Counts,
    pub(super) ways: Ways,
    pub(super) clock: Clock,
    pub(super) levels: Vec<Level>,
}

impl Copy<'_> {
    /// Goes on from the cursor, or begins without one.
    ///
    /// # Errors
    /// What the kernel says of either side; `Unsupported` for a tree that is too deep.
    pub fn run(&self, cursor: Option<&Cursor>) -> Result<Copied> {
        let mut run = Run {
            copy: self,
            cursor: cursor.cloned().unwrap_or_default(),
            counts: Counts::default(),
            ways: Ways::default(),
            clock: Clock::Waits(self.slice),
            levels: Vec::new(),
        };
        let open = |folder: &Folder| {
            let cannot = |e: std::io::Error| Error::io("open", folder.path(), e);
            folder.reading()?.as_fd().try_clone_to_owned().map_err(cannot)
        };
        let resumes = !run.cursor.is_beginning();
        run.enter(open(self.from)?, open(self.to)?, OsString::new(), resumes)?;
        run.all()
    }
}

impl Run<'_> {
    fn all(mut self) -> Result<Copied> {
        while !self.levels.is_empty() {
            if self.clock.is_over() || !(self.copy.go_on)() {
                return Ok(Copied::To(self.cursor, self.counts));
            }
            match self.next()? {
                Some(name) => match self.entry(&name).or_else(|error| self.passed(error, &name))? {
                    Step::Done | Step::Other => self.done(&name, None),
                    // It is done when it is left.
                    Step::Entered => continue,
                    Step::Part(part) => {
                        self.done(&name, Some(part));
                        return Ok(Copied::To(self.cursor, self.counts));
                    }
                    Step::Clearing => return Ok(Copied::To(self.cursor, self.counts)),
                },
                None => self.leave()?,
            }
            self.clock.worked();
        }
        Ok(Copied::All(self.counts))
    }

    /// The next name of the directory we are in; none also where that was deleted meanwhile.
    fn next(&mut self) -> Result<Option<OsString>> {
        let error = match self.levels.last_mut().map_or(Ok(None), Level::next) {
            Ok(name) => return Ok(name),
            Err(error) => error,
        };
        let [.., above, level] = &self.levels[..] else {
            return Err(Error::io("read the directory", self.copy.from.path(), error));
        };
        if self.is_gone(error, above, &level.name) {
            return Ok(None);
        }
        Err(Error::io("read the directory", self.copy.from.path().join(self.above()), error))
    }

    /// An entry that failed since it was deleted meanwhile is passed over.
    fn passed(&mut self, error: Error, name: &OsStr) -> Result<Step> {
        let errno = error.errno().map(Errno::from_raw_os_error);
        match (errno, self.levels.last()) {
            (Some(errno), Some(level)) if self.is_gone(errno, level, name) => {
                self.counts.changed += 1;
                Ok(Step::Done)
            }
            _ => Err(error),
        }
    }

    /// Whether a server says "stale" of what was deleted there while it was being copied. A tree that is gone as a whole is another thing,
    /// and so is what is still there: then it is the copy that somebody has deleted.
    fn is_gone(&self, error: Errno, above: &Level, name: &OsStr) -> bool {
        let ask = |dir: &OwnedFd, name: &OsStr| {
            let how = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
            statx(dir, name, how, StatxFlags::BASIC_STATS)
        };
        error == Errno::STALE
            && self.levels.first().is_some_and(|root| ask(&root.from, OsStr::new("")).is_ok())
            && ask(&above.to, OsStr::new("")).is_ok()
            && matches!(ask(&above.from, name), Err(Errno::NOENT | Errno::STALE))
    }

    /// Copies one entry, or enters it.
    fn entry(&mut self, name: &OsStr) -> Result<Step> {
        for _ in 0..TRIES {
            let Some(level) = self.levels.last() else { return Ok(Step::Done) };
            let stat = match statat(&level.from, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Gone since it was listed.
                Err(Errno::NOENT) => return Ok(Step::Done),
                Err(error) => return Err(self.failed(name, error)),
            };
            let step = match Kind::of(&stat) {
                Kind::Directory => self.directory(name)?,
                Kind::File => self.file(name)?,
                Kind::Link => self.link(name, &stat)?,
                Kind::Special => self.left_out(),
            };
            match step {
                Step::Other => {}
                Step::Done | Step::Entered | Step::Part(_) | Step::Clearing => return Ok(step),
            }
        }
        self.counts.changed += 1;
        Ok(Step::Other)
    }

    pub(super) fn left_out(&mut self) -> Step {
        self.counts.left_out += 1;
        Step::Done
    }

    fn directory(&mut self, name: &OsStr) -> Result<Step> {
        let depth = self.levels.len();
        let Some(level) = self.levels.last() else { return Ok(Step::Done) };
        if depth >= DEEPEST {
            let context = format!("cannot copy {}: it is nested too deep", self.shown(name));
            let hint = format!("no more than {DEEPEST} directories within one another are copied");
            return Err(Error::new(ErrorKind::Unsupported, context).with_hint(hint));
        }
        let from = match open_within(&level.from, Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(from) => from,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(Step::Other),
            Err(Errno::XDEV) => return Ok(self.left_out()),
            Err(error) => return Err(self.failed(name, error)),
        };
        let resumes = level.resumes && self.cursor.leads_into(depth - 1, name);
        let to = match level.directory(name) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                if !self.clear(name)? {
                    return Ok(Step::Clearing);
                }
                self.levels.last().map_or(Err(Errno::NOENT), |level| level.directory(name))
            }
            made => made,
        };
        let to = to.map_err(|e| self.failed(name, e))?;
        self.enter(from, to, name.to_owned(), resumes)?;
        Ok(Step::Entered)
    }

    fn enter(&mut self, from: OwnedFd, to: OwnedFd, name: OsString, resumes: bool) -> Result<()> {
        let (reached, again) = self.cursor.reached(self.levels.len());
        let wanted = |name: &[u8]| !resumes || name > reached || again && name == reached;
        let level = Level::new(from, to, &name, wanted, resumes);
        self.levels.push(level.map_err(|e| Error::io("read the directory", self.shown(&name), e))?);
        Ok(())
    }

    /// All that is in the directory we are in is copied; now it is itself.
    fn leave(&mut self) -> Result<()> {
        let Some(left) = self.levels.pop() else { return Ok(()) };
        match (dress(left.from.as_fd(), &left.stat, left.to.as_fd()), self.levels.last()) {
            (Ok(lost), _) => {
                self.counts.left_out += lost;
                self.counts.entries += 1;
            }
            (Err(error), Some(above)) if self.is_gone(error, above, &left.name) => self.counts.changed += 1,
            (Err(error), _) => return Err(self.failed(&left.name, error)),
        }
        self.done(&left.name, None);
        Ok(())
    }

    /// Makes room for an entry of the copy, whatever is of its name; `false` if the time is over first.
    pub(super) fn clear(&mut self, name: &OsStr) -> Result<bool> {
        let shown = self.copy.to.path().join(self.above());
        let Some(level) = self.levels.last() else { return Ok(true) };
        clear(level.to.as_fd(), &shown, name, &mut self.clock)
    }

    /// The part of this very file that an earlier slice has copied.
    pub(super) fn part(&self, name: &OsStr) -> Option<&Part> {
        self.levels.last().filter(|level| level.resumes)?;
        self.cursor.part(self.levels.len() - 1, name)
    }

    /// Remembers that all up to this entry of the directory we are in is there. The whole tree has no name.
    fn done(&mut self, name: &OsStr, part: Option<Part>) {
        if self.levels.is_empty() {
            return;
        }
        let above = self.levels.iter().skip(1).map(|level| entry::bytes(&level.name).to_vec());
        self.cursor = Cursor::new(above.chain([entry::bytes(name).to_vec()]).collect(), part);
        // Whatever was to be passed over has been.
        self.levels.iter_mut().for_each(|level| level.resumes = false);
    }

    fn above(&self) -> PathBuf {
        self.levels.iter().map(|level| &level.name).collect()
    }

    fn shown(&self, name: &OsStr) -> String {
        self.copy.from.path().join(self.above()).join(name).display().to_string()
    }

    pub(super) fn failed(&self, name: &OsStr, error: Errno) -> Error {
        match error {
            Errno::LOOP | Errno::XDEV | Errno::NOTDIR => stays(self.shown(name).as_ref(), error),
            Errno::PERM | Errno::ACCESS => Error::io("copy", self.shown(name), error).with_hint(
                "who copies reads what others wrote and keeps owners: the server must let root be root (no_root_squash)",
            ),
            _ => Error::io("copy", self.shown(name), error),
        }
    }
}
