//! Locks between calls, which are processes: an flock on a file below the run folder, gone with whoever held it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use flexvolume_linux::Error;
use flexvolume_protocol::Code;

use crate::{
    Failure, Result,
    store::{make_dirs, short},
};

/// A lock held; dropping it lets go. Its file holds the holder's pid.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// How long a call waits for another: longer than most, shorter than hosts wait.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(5);

impl Lock {
    /// Waits for the lock called `key` in `dir`; after a minute and a half the failure says who has it.
    pub(crate) fn take(dir: &Path, key: &str) -> Result<Self> {
        Self::take_within(dir, key, PATIENCE)
    }

    fn take_within(dir: &Path, key: &str, patience: Duration) -> Result<Self> {
        let end = Instant::now() + patience;
        let mut pause = PAUSE;
        loop {
            match Self::attempt(dir, key)? {
                Ok(lock) => return Ok(lock),
                Err(holder) if Instant::now() >= end => {
                    let who = if holder.is_empty() { "another call".to_owned() } else { format!("process {holder}") };
                    let what = key.chars().take(200).collect::<String>();
                    let message = format!("{who} is still working on {what:?}; try again when it has ended");
                    return Err(Failure::new(Code::Busy, message));
                }
                Err(_) => sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// The lock, if nobody has it.
    pub(crate) fn try_take(dir: &Path, key: &str) -> Result<Option<Self>> {
        Ok(Self::attempt(dir, key)?.ok())
    }

    /// The inner error is the pid of who holds it, as far as known.
    fn attempt(dir: &Path, key: &str) -> Result<std::result::Result<Self, String>> {
        make_dirs(dir)?;
        let path = dir.join(short(key));
        let failed = |what: &str, error| Error::io(what, &path, error);
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(|error| failed("open the lock", error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    return Ok(Err(holder));
                }
                Err(TryLockError::Error(error)) => return Err(failed("lock", error).into()),
            }
            // The last holder removes the file; a lock on what is no longer there keeps nobody out.
            let ours = file.metadata().map_err(|error| failed("look at the lock", error))?.ino();
            if fs::symlink_metadata(&path).is_ok_and(|there| there.ino() == ours) {
                let pid = std::process::id().to_string();
                let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(pid.as_bytes()));
                return Ok(Ok(Self { file, path }));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn one_holder_at_a_time_and_no_file_left() {
        let tmp = tempfile::tempdir().unwrap();
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = Lock::take(tmp.path(), "/a volume").unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
    }

    #[test]
    fn who_waits_too_long_is_told_for_whom() {
        let tmp = tempfile::tempdir().unwrap();
        let held = Lock::take(tmp.path(), "v").unwrap();
        assert!(Lock::try_take(tmp.path(), "v").unwrap().is_none());
        let failure = Lock::take_within(tmp.path(), "v", Duration::ZERO).unwrap_err();
        assert_eq!(failure.code(), Some(Code::Busy));
        assert!(failure.to_string().contains(&format!("process {}", std::process::id())), "{failure}");
        drop(held);
        assert!(Lock::try_take(tmp.path(), "v").unwrap().is_some());
    }
}
