//! One tree of a pool, held by this process alone among those of all nodes, for as long as its caller waits.
//!
//! The lock is the server's, and is the child's that does the work: it goes when that ends, be its driver alive or not. Whoever has hung
//! so long that others may have gone on does nothing more.

use std::{
    cell::Cell,
    ffi::OsString,
    ops::Deref,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use flexvolume::{Failure, Result};
use flexvolume_linux::tree::FileLock;

use super::{Home, PRIVATE};
use crate::{
    digest::digest,
    marker::{Marker, State},
    name::Place,
};

/// A pool of which one tree is ours to change.
pub(crate) struct Held {
    home: Home,
    pub(crate) place: Place,
    lock: FileLock,
    times: Times,
    proven: Cell<Instant>,
}

/// When a call is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// What takes long stops here, to be gone on with by another call.
    pub(crate) until: Instant,
    /// Nobody waits any longer.
    pub(crate) end: Instant,
}

/// For so long a lock that was ours is believed to be. Servers give none away that was theirs to keep a few seconds ago.
const FRESH: Duration = Duration::from_secs(1);

/// How often it is looked whether others have let go.
const PAUSE: Duration = Duration::from_millis(100);

impl Held {
    /// Waits for it until the time is over.
    ///
    /// # Errors
    /// In progress: somebody else is at it. What the kernel or the server says.
    pub(crate) fn take(home: Home, place: &Place, times: Times) -> Result<Self> {
        let locks = home.ours.make_all(Path::new("locks"), PRIVATE)?;
        let file = file(place);
        loop {
            if let Some(lock) = locks.lock(&file)? {
                return Ok(Self { home, place: place.clone(), lock, times, proven: Cell::new(Instant::now()) });
            }
            if Instant::now() >= times.until {
                return Err(Failure::in_progress());
            }
            sleep(PAUSE);
        }
    }

    /// When to stop what takes long.
    pub(crate) fn until(&self) -> Instant {
        self.times.until
    }

    /// When to stop what is undone after a failure: somebody waits for longer than for what is to be gone on with.
    pub(crate) fn late(&self) -> Instant {
        self.times.until + self.times.end.saturating_duration_since(self.times.until) / 2
    }

    /// Whether it is still ours, and somebody waits for it.
    pub(crate) fn is_ours(&self) -> bool {
        let now = Instant::now();
        if now >= self.times.end {
            return false;
        }
        if now.duration_since(self.proven.get()) >= FRESH {
            if !self.lock.is_held().unwrap_or(false) {
                return false;
            }
            self.proven.set(now);
        }
        true
    }

    /// Before anything that cannot be taken back.
    ///
    /// # Errors
    /// In progress: it may be somebody else's by now.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_ours() { Ok(()) } else { Err(Failure::in_progress()) }
    }

    /// Writes the first marker of the tree; `false` if there is one.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn begin(&self, marker: &Marker) -> Result<bool> {
        self.check()?;
        self.home.begin(&self.place, marker)
    }

    /// Replaces the marker.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn mark(&self, marker: &Marker) -> Result<()> {
        self.check()?;
        self.home.mark(&self.place, marker)
    }

    /// Says how far the deletion of the tree is.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn turn(&self, marker: &mut Marker, to: State) -> Result<()> {
        self.check()?;
        self.home.turn(&self.place, marker.state, to)?;
        marker.state = to;
        Ok(())
    }

    /// Removes the marker: from now on nothing of it is ours.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn unmark(&self) -> Result<()> {
        self.check()?;
        self.home.unmark(&self.place)
    }
}

impl Deref for Held {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

/// The file that is locked. Files are never removed, since others may have them open; so there are no more than so many, and two trees
/// that meet in one wait for each other.
fn file(place: &Place) -> OsString {
    digest(place.passing().as_encoded_bytes()).chars().rev().take(3).collect::<String>().into()
}
