//! A tree removed, a slice of time after the other: what is gone is gone, so that the next call goes on where this one ended.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    time::Instant,
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, OFlags, renameat, unlinkat},
    io::Errno,
};

use super::{
    Folder,
    folder::{names, stays, within},
};
use crate::{Error, ErrorKind, Result};

/// So many names are read at a time: a directory of millions is never whole in memory.
const BATCH: usize = 1024;

/// So many directories are open at a time. What lies deeper is moved up first: a tree can be deeper than any path is long.
const DEEPEST: usize = 64;

/// So often a directory may turn out not to be empty when it should be.
const ROUNDS: u32 = 8;

/// A directory whose entries are being removed.
struct Level {
    fd: OwnedFd,
    name: OsString,
    todo: Vec<OsString>,
    rounds: u32,
}

/// Removes `name` in `folder` and all beneath it, until the time `until`, and something in any case: `true` if nothing is left. What is a link is
/// removed and not followed; a directory on which another file system is mounted is an error, and so is one that is filled
/// faster than it is emptied.
///
/// # Errors
/// `Refused` for a mount in the tree; what the kernel says.
pub fn remove(folder: &Folder, name: &OsStr, until: Instant) -> Result<bool> {
    let failed = |name: &OsStr, error| Error::io("remove", folder.path().join(name), error);
    if is_gone(folder, name).map_err(|e| failed(name, e))? {
        return Ok(true);
    }
    let enter = |dir: &dyn AsFd, name: &OsStr| -> Result<Level> {
        let fd = within(dir.as_fd(), name, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|e| stays(&folder.path().join(name), e))?;
        Ok(Level { fd, name: name.to_owned(), todo: Vec::new(), rounds: 0 })
    };
    let mut levels = vec![enter(folder, name)?];
    let (mut moved, mut progressed) = (0_u64, false);
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return Ok(true) };
        if progressed && Instant::now() >= until {
            return Ok(false);
        }
        let next = match level.todo.pop() {
            Some(next) => next,
            None => {
                level.todo = names(level.fd.as_fd(), BATCH).map_err(|e| failed(&level.name, e))?;
                if !level.todo.is_empty() {
                    continue;
                }
                let Some(done) = levels.pop() else { return Ok(true) };
                let above = levels.last().map_or(folder.as_fd(), |level| level.fd.as_fd());
                match unlinkat(above, &done.name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => progressed = true,
                    Err(Errno::NOTEMPTY | Errno::EXIST) if done.rounds < ROUNDS => {
                        levels.push(Level { rounds: done.rounds + 1, ..done });
                    }
                    Err(Errno::NOTEMPTY | Errno::EXIST) => {
                        let context = format!("cannot remove {}: it is written to", folder.path().join(name).display());
                        return Err(Error::new(ErrorKind::Busy, context).with_hint("end who has files open in it"));
                    }
                    Err(error) => return Err(failed(&done.name, error)),
                }
                continue;
            }
        };
        match unlinkat(&level.fd, &next, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {
                progressed = true;
                continue;
            }
            // Of a directory one file system says the first, another the second.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(failed(&next, error)),
        }
        if depth < DEEPEST {
            let below = enter(&level.fd, &next)?;
            levels.push(below);
            continue;
        }
        let top = &levels[0].fd;
        let from = &levels[depth - 1].fd;
        loop {
            moved += 1;
            let up = format!(".flexvol-deep-{}-{moved}", std::process::id());
            match renameat(from, &next, top, &up) {
                Ok(()) => {
                    progressed = true;
                    break;
                }
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                Err(error) => return Err(failed(&next, error)),
            }
        }
        // They have not been listed when the top was.
        levels[0].rounds = 0;
    }
}

/// A file or a link is removed at once.
fn is_gone(folder: &Folder, name: &OsStr) -> rustix::io::Result<bool> {
    if Path::new(name).components().count() != 1 || name == ".." || name == "." {
        return Err(Errno::INVAL);
    }
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => Ok(false),
        Err(error) => Err(error),
    }
}
