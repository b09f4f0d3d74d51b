//! What must survive a power cut is brought to the disk by one sync for all who wait for one.
//!
//! Writes are made one after the other, under the lock of the connection, and none of them waits for the disk there. Who needs it waits
//! here: one syncs the log for everybody whose write is in it by then, and who came too late for that is served by the next.
//!
//! A write that is in the log no more has been brought to the file by a checkpoint, which syncs both. SQLite locks the file and its
//! shared memory, never the log, so that a descriptor of our own of the log costs no lock.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The log as it is synced.
#[derive(Debug)]
pub(super) struct Power {
    log: File,
    /// Writes so far.
    written: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// That many writes are on the disk.
    synced: u64,
    /// Somebody is at it.
    syncing: bool,
}

impl Power {
    /// The log of an open ledger; `None` if it cannot be had, so that SQLite has to sync it.
    pub(super) fn of(ledger: &Path) -> Option<Self> {
        let name = format!("{}-wal", ledger.file_name()?.to_string_lossy());
        let log = File::open(ledger.with_file_name(name)).ok()?;
        Some(Self { log, written: AtomicU64::new(0), state: Mutex::default(), changed: Condvar::new() })
    }

    /// Counts a write; to be called before anybody else may write.
    pub(super) fn count(&self) -> u64 {
        self.written.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How many there were.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Returns once that write, and all before it, are on the disk.
    ///
    /// # Errors
    /// The disk does not take it: nobody knows what is there now.
    pub(super) fn sync(&self, write: u64) -> io::Result<()> {
        self.sync_by(write, || self.log.sync_data())
    }

    fn sync_by(&self, write: u64, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.synced >= write {
                return Ok(());
            }
            if !state.syncing {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.syncing = true;
        drop(state);
        // What is counted is written: it takes those along who have written since, and wait by now or will.
        let written = self.written();
        let done = sync();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.syncing = false;
        if done.is_ok() {
            state.synced = state.synced.max(written);
        }
        drop(state);
        self.changed.notify_all();
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier, mpsc};

    use super::*;

    fn counted(syncs: &mut u32) -> impl FnOnce() -> io::Result<()> {
        move || {
            *syncs += 1;
            Ok(())
        }
    }

    fn power() -> Arc<Power> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("l-wal"), "").unwrap();
        Arc::new(Power::of(&dir.path().join("l")).unwrap())
    }

    #[test]
    fn one_sync_serves_all_that_were_written_before_it() {
        let power = power();
        let (first, second) = (power.count(), power.count());
        let mut syncs = 0;
        power.sync_by(first, counted(&mut syncs)).unwrap();
        power.sync_by(second, counted(&mut syncs)).unwrap();
        assert_eq!(syncs, 1);
        let third = power.count();
        power.sync_by(third, counted(&mut syncs)).unwrap();
        assert_eq!(syncs, 2);
    }

    #[test]
    fn who_writes_during_a_sync_is_not_served_by_it() {
        let power = power();
        let first = power.count();
        let (begun, let_go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let slow = std::thread::spawn({
            let (power, begun, let_go) = (Arc::clone(&power), Arc::clone(&begun), Arc::clone(&let_go));
            move || {
                let wait = || {
                    begun.wait();
                    let_go.wait();
                    Ok(())
                };
                power.sync_by(first, wait)
            }
        });
        begun.wait();
        let late = power.count();
        let (tell, told) = mpsc::channel();
        let waiting = std::thread::spawn({
            let power = Arc::clone(&power);
            move || power.sync_by(late, || tell.send(()).map_err(io::Error::other))
        });
        let_go.wait();
        slow.join().unwrap().unwrap();
        waiting.join().unwrap().unwrap();
        assert_eq!(told.try_iter().count(), 1, "it had to sync for itself");
    }

    #[test]
    fn a_sync_that_fails_serves_nobody() {
        let power = power();
        let first = power.count();
        assert!(power.sync_by(first, || Err(io::Error::other("no"))).is_err());
        let mut syncs = 0;
        power.sync_by(first, counted(&mut syncs)).unwrap();
        assert_eq!(syncs, 1);
    }
}
