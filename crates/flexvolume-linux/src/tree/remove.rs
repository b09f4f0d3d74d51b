//! A tree removed, a slice of time after the other: what is gone is gone, so that the next call goes on where this one ended.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, OFlags, renameat, statat, unlinkat},
    io::Errno,
};

use super::{Folder, Kind, clock::Clock, list::names};
use crate::{
    Error, ErrorKind, Result,
    real::{open_within, stays},
};

/// So many names are read at a time: a directory of millions is never whole in memory.
const BATCH: usize = 1024;

/// So many directories are open at a time. What lies deeper is moved up first: a tree can be deeper than any path is long.
const DEEPEST: usize = 64;

/// So often a directory may turn out not to be empty when it should be.
const ROUNDS: u32 = 8;

/// Removes `name` in `folder` and all beneath it, until the time `until`, and something in any case: `true` if nothing is
/// left. What is a link is removed and not followed; a directory on which another file system is mounted is an error, and so
/// is one that is filled faster than it is emptied.
///
/// # Errors
/// `Refused` for a mount in the tree; what the kernel says.
pub fn remove(folder: &Folder, name: &OsStr, until: Instant) -> Result<bool> {
    if Path::new(name).components().count() != 1 || name == ".." || name == "." {
        return Err(Error::io("remove", folder.path().join(name), Errno::INVAL));
    }
    let mut clock = Clock::Waits(until.saturating_duration_since(Instant::now()));
    clear(folder.as_fd(), folder.path(), name, &mut clock)
}

/// The same in any open directory, which is called `shown` in messages.
pub(super) fn clear(dir: BorrowedFd<'_>, shown: &Path, name: &OsStr, clock: &mut Clock) -> Result<bool> {
    let mut removal = Removal { dir, shown, clock, levels: Vec::new(), moved: 0 };
    removal.entry(name)?;
    while !removal.levels.is_empty() {
        if removal.clock.is_over() {
            return Ok(false);
        }
        removal.step()?;
    }
    Ok(true)
}

struct Removal<'a> {
    dir: BorrowedFd<'a>,
    shown: &'a Path,
    clock: &'a mut Clock,
    levels: Vec<Level>,
    moved: u64,
}

/// A directory whose entries are being removed.
struct Level {
    fd: OwnedFd,
    name: OsString,
    todo: Vec<OsString>,
    rounds: u32,
}

impl Removal<'_> {
    /// Does the next entry of the directory we are in, or leaves it when there is none.
    fn step(&mut self) -> Result<()> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        if let Some(next) = level.todo.pop() {
            return self.entry(&next);
        }
        match names(level.fd.as_fd(), BATCH) {
            Ok(todo) if todo.is_empty() => self.leave(),
            Ok(todo) => {
                level.todo = todo;
                Ok(())
            }
            Err(error) => Err(Error::io("read the directory", self.path(), error)),
        }
    }

    /// Removes an entry at once, or enters it.
    fn entry(&mut self, name: &OsStr) -> Result<()> {
        match unlinkat(self.here(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {
                self.clock.worked();
                return Ok(());
            }
            Err(Errno::ISDIR) => {}
            // Some file systems say this of a directory, and all of them of what nobody may remove.
            Err(Errno::PERM) if self.is_directory(name) => {}
            Err(error) => return Err(self.failed(name, error)),
        }
        if self.levels.len() >= DEEPEST {
            return self.move_up(name);
        }
        let fd = open_within(self.here(), Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|e| stays(&self.path().join(name), e))?;
        self.levels.push(Level { fd, name: name.to_owned(), todo: Vec::new(), rounds: 0 });
        Ok(())
    }

    fn is_directory(&self, name: &OsStr) -> bool {
        let found = statat(self.here(), name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|stat| Kind::of(&stat) == Kind::Directory)
    }

    /// Removes the directory we are in, which should be empty.
    fn leave(&mut self) -> Result<()> {
        let Some(done) = self.levels.pop() else { return Ok(()) };
        match unlinkat(self.here(), &done.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {
                self.clock.worked();
                Ok(())
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) if done.rounds < ROUNDS => {
                self.levels.push(Level { rounds: done.rounds + 1, ..done });
                Ok(())
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let path = self.path().join(&done.name);
                let context = format!("cannot remove {}: it is written to", path.display());
                Err(Error::new(ErrorKind::Busy, context).with_hint("end who has files open in it"))
            }
            Err(error) => Err(self.failed(&done.name, error)),
        }
    }

    /// Moves a directory to the top of what is removed.
    fn move_up(&mut self, name: &OsStr) -> Result<()> {
        loop {
            self.moved += 1;
            let up = format!(".flexvol-deep-{}-{}", std::process::id(), self.moved);
            match renameat(self.here(), name, &self.levels[0].fd, &up) {
                Ok(()) => break,
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                Err(error) => return Err(self.failed(name, error)),
            }
        }
        self.clock.worked();
        // It was not there when the top was listed.
        self.levels[0].rounds = 0;
        Ok(())
    }

    /// The directory we are in.
    fn here(&self) -> BorrowedFd<'_> {
        self.levels.last().map_or(self.dir, |level| level.fd.as_fd())
    }

    fn path(&self) -> PathBuf {
        let below: PathBuf = self.levels.iter().map(|level| &level.name).collect();
        self.shown.join(below)
    }

    fn failed(&self, name: &OsStr, error: Errno) -> Error {
        let failed = Error::io("remove", self.path().join(name), error);
        match error {
            Errno::PERM | Errno::ACCESS => failed.with_hint(
                "see whether it is immutable (lsattr); on NFS the server must let root be root (no_root_squash)",
            ),
            Errno::BUSY => failed.with_hint("end who has it open on this node, or what is mounted there"),
            _ => failed,
        }
    }
}
