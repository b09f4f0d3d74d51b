//! Directories watched for changes of their entries, by the kernel's raw events: what a library hides (an overflow, a
//! directory moved away) is what must not be missed.
//!
//! Guarantees: a change made after [`Watcher::add`] returned is told, or [`Event::Missed`] is. Watch first, then list.
//! A watch belongs to the directory itself, not to its name: when it is moved or deleted, [`Event::Gone`] is told and the
//! watch is over. What happens in directories below is not told.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

use crate::{
    error::{Error, ErrorKind, Result},
    process::timespec,
};

/// Names one watched directory, for as long as it is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(i32);

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An entry of a watched directory appeared, vanished, was written to its end, or had its mode or owner changed.
    Entry {
        /// Where.
        dir: WatchId,
        /// Which.
        name: OsString,
        /// How.
        change: Change,
    },
    /// The directory itself was deleted, moved or unmounted; it is watched no longer.
    Gone(WatchId),
    /// Events were lost: anything may have changed.
    Missed,
}

/// How an entry changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was created there or moved there.
    Appeared,
    /// It was deleted or moved away.
    Vanished,
    /// Somebody who could write to it closed it.
    Written,
    /// Its mode, owner, times or links changed.
    Attributes,
}

/// Watches directories.
#[derive(Debug)]
pub struct Watcher {
    inotify: OwnedFd,
    bell: Bell,
    dirs: HashMap<WatchId, PathBuf>,
}

/// Ends a [`Watcher::wait`] from another thread.
#[derive(Clone, Debug)]
pub struct Bell(Arc<OwnedFd>);

/// Enough for many events at once; one takes at most 16 bytes and a name.
const BUFFER: usize = 16 << 10;

impl Watcher {
    /// A watcher of nothing yet.
    pub fn new() -> Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(|e| {
            let limit = "more watchers are allowed by: sysctl fs.inotify.max_user_instances=512";
            Error::os("cannot watch directories", e).with_hint(limit)
        })?;
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|e| Error::os("cannot make an event descriptor", e))?;
        Ok(Self { inotify, bell: Bell(Arc::new(bell)), dirs: HashMap::new() })
    }

    /// Watches the directory at `path`; a symbolic link as the last part is followed only if `follow` says so.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` where it is no directory, or that too many are watched already.
    pub fn add(&mut self, path: &Path, follow: bool) -> Result<WatchId> {
        let entries = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
        let content = WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
        let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR | WatchFlags::EXCL_UNLINK;
        let link = if follow { WatchFlags::empty() } else { WatchFlags::DONT_FOLLOW };
        let wd = inotify::add_watch(&self.inotify, path, entries | content | itself | link).map_err(|e| {
            let error = Error::io("watch", path, e);
            match e {
                Errno::NOTDIR => error.with_kind(ErrorKind::Invalid),
                Errno::NOSPC => {
                    error.with_hint("more directories can be watched after: sysctl fs.inotify.max_user_watches=65536")
                }
                _ => error,
            }
        })?;
        self.dirs.insert(WatchId(wd), path.to_owned());
        Ok(WatchId(wd))
    }

    /// Watches it no longer.
    pub fn remove(&mut self, id: WatchId) {
        if self.dirs.remove(&id).is_some() {
            // The kernel has dropped it already if the directory is gone.
            let _ = inotify::remove_watch(&self.inotify, id.0);
        }
    }

    /// The path that a watched directory had when it was added.
    pub fn path(&self, id: WatchId) -> Option<&Path> {
        self.dirs.get(&id).map(PathBuf::as_path)
    }

    /// What ends a wait from another thread.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Waits until something happens, the bell rings or `limit` is over; without a limit for as long as it takes. What
    /// has happened by then is to be [`read`](Self::read).
    pub fn wait(&self, limit: Option<Duration>) -> Result<()> {
        let fds = [self.inotify.as_fd(), self.bell.0.as_fd()];
        let mut polled = fds.map(|fd: BorrowedFd<'_>| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut polled, limit.map(timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Error::os("cannot wait for changes of directories", error)),
        }
        // Rung once or often, it is quiet again.
        let _ = rustix::io::read(&*self.bell.0, &mut [0; 8]);
        Ok(())
    }

    /// Everything that happened up to now, in order, without waiting.
    pub fn read(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        loop {
            let (wd, seen, name) = match reader.next() {
                Ok(event) => (
                    WatchId(event.wd()),
                    event.events(),
                    event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned()),
                ),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(Error::os("cannot read what changed in watched directories", error)),
            };
            if seen.contains(ReadFlags::QUEUE_OVERFLOW) {
                events.push(Event::Missed);
                continue;
            }
            // A watch that was removed may have left events behind.
            if !self.dirs.contains_key(&wd) {
                continue;
            }
            let over = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED;
            match name {
                None if seen.intersects(over) => {
                    self.dirs.remove(&wd);
                    let _ = inotify::remove_watch(&self.inotify, wd.0);
                    events.push(Event::Gone(wd));
                }
                // Attributes of the directory itself: whoever lists it sees them.
                None => {}
                Some(name) => events.extend(change(seen).map(|change| Event::Entry { dir: wd, name, change })),
            }
        }
        Ok(events)
    }
}

impl Bell {
    /// Ends the wait under way, or the next one.
    pub fn ring(&self) {
        // It fails only where it has been rung 2^64 times unheard.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

fn change(seen: ReadFlags) -> Option<Change> {
    if seen.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
        Some(Change::Appeared)
    } else if seen.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
        Some(Change::Vanished)
    } else if seen.contains(ReadFlags::CLOSE_WRITE) {
        Some(Change::Written)
    } else {
        seen.contains(ReadFlags::ATTRIB).then_some(Change::Attributes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn told(watcher: &mut Watcher) -> Vec<(String, Change)> {
        let entry = |event| match event {
            Event::Entry { name, change, .. } => Some((name.into_string().unwrap(), change)),
            Event::Gone(_) | Event::Missed => None,
        };
        watcher.read().unwrap().into_iter().filter_map(entry).collect()
    }

    #[test]
    fn entries_that_come_change_and_go_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::new().unwrap();
        watcher.add(dir.path(), false).unwrap();
        fs::write(dir.path().join("a"), "text").unwrap();
        assert_eq!(told(&mut watcher), [("a".into(), Change::Appeared), ("a".into(), Change::Written)]);
        fs::read(dir.path().join("a")).unwrap();
        assert_eq!(told(&mut watcher), [], "reading changes nothing");
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert_eq!(told(&mut watcher), [("a".into(), Change::Vanished), ("b".into(), Change::Appeared)]);
        fs::set_permissions(dir.path().join("b"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(told(&mut watcher), [("b".into(), Change::Attributes)]);
        fs::remove_file(dir.path().join("b")).unwrap();
        // The kernel tells first that its count of links went down, when it is the last one.
        assert_eq!(told(&mut watcher).pop(), Some(("b".into(), Change::Vanished)));
    }

    #[test]
    fn a_directory_moved_or_deleted_is_gone_and_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let mut watcher = Watcher::new().unwrap();
        fs::create_dir(&a).unwrap();
        let id = watcher.add(&a, false).unwrap();
        fs::rename(&a, &b).unwrap();
        fs::write(b.join("x"), "").unwrap();
        assert_eq!(watcher.read().unwrap(), [Event::Gone(id)]);
        assert_eq!(watcher.path(id), None);
        let id = watcher.add(&b, false).unwrap();
        fs::remove_dir_all(&b).unwrap();
        let events = watcher.read().unwrap();
        assert_eq!(events.iter().filter(|event| **event == Event::Gone(id)).count(), 1, "{events:?}");
        assert!(watcher.add(&b, false).is_err_and(|e| e.kind() == ErrorKind::NotFound));
    }

    #[test]
    fn a_link_is_followed_only_where_it_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let mut watcher = Watcher::new().unwrap();
        assert!(watcher.add(&link, false).is_err_and(|e| e.kind() == ErrorKind::Invalid));
        watcher.add(&link, true).unwrap();
    }

    #[test]
    fn a_bell_rung_before_or_during_a_wait_ends_it() {
        let watcher = Watcher::new().unwrap();
        let bell = watcher.bell();
        bell.ring();
        watcher.wait(None).unwrap();
        let ringer = std::thread::spawn(move || bell.ring());
        watcher.wait(None).unwrap();
        ringer.join().unwrap();
    }
}
