//! Locks between calls, which are processes: an flock on a file below the run folder, gone with whoever held it.

use std::{
    cell::Cell,
    fs::{self, File, OpenOptions, TryLockError},
    io::{Seek, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use flexvolume_linux::{Error, process};
use flexvolume_protocol::Code;

use crate::{
    Failure, Result,
    store::{make_dirs, short},
};

/// A lock held; dropping it lets go. Its file holds the pid of who took it.
///
/// [`lending`](Self::lending) lets a child hold it too, so that it outlives a driver that dies while its child works.
#[derive(Debug)]
pub struct Lock {
    // In this order: the file is closed before its place is cleared.
    file: File,
    place: Place,
}

/// Where the lock lies, and whether somebody else may hold it too.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    lent: Cell<bool>,
}

/// How long a call waits for another: longer than most, shorter than hosts wait.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(5);

impl Lock {
    /// Runs `start` while every child begun in it inherits the lock. If this process dies, or drops the lock while such a
    /// child still works, the lock is held until that child has ended; nobody takes it for the dead one's.
    ///
    /// For a command that changes storage and must not be ended half-way, and that nothing else may come in between: the
    /// next call waits for it. A program that closes whatever it inherits lets go of the lock as well. The commands of
    /// LVM do; they keep the descriptor whose number ([`AsFd`]) the variable `LVM_REPORT_FD` says, and write to it only
    /// what `lvs` and its like report.
    ///
    /// # Errors
    /// Those of `start`, or that the lock cannot be lent.
    pub fn lending<T>(&self, start: impl FnOnce() -> flexvolume_linux::Result<T>) -> flexvolume_linux::Result<T> {
        self.place.lent.set(true);
        process::lending(self.file.as_fd(), start)
    }

    /// Waits for the lock called `key` in `dir`; after a minute and a half the failure says who has it.
    pub(crate) fn take(dir: &Path, key: &str) -> Result<Self> {
        Self::take_within(dir, key, PATIENCE)
    }

    /// The same with another patience.
    pub(crate) fn take_within(dir: &Path, key: &str, patience: Duration) -> Result<Self> {
        let end = Instant::now() + patience;
        let mut pause = PAUSE;
        loop {
            if let Some(lock) = Self::try_take(dir, key)? {
                return Ok(lock);
            }
            if Instant::now() >= end {
                let who = holder(&dir.join(short(key)));
                let what = key.chars().take(200).collect::<String>();
                let message = format!("{who} is still working on {what:?}; try again when it has ended");
                return Err(Failure::new(Code::Busy, message));
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// The lock, if nobody has it.
    pub(crate) fn try_take(dir: &Path, key: &str) -> Result<Option<Self>> {
        make_dirs(dir)?;
        Self::attempt(dir.join(short(key)))
    }

    fn attempt(path: PathBuf) -> Result<Option<Self>> {
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
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(failed("lock", error).into()),
            }
            // The last holder removes the file; a lock on what is no longer there keeps nobody out.
            let ours = file.metadata().map_err(|error| failed("look at the lock", error))?.ino();
            if fs::symlink_metadata(&path).is_ok_and(|there| there.ino() == ours) {
                let pid = std::process::id().to_string();
                let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(pid.as_bytes()));
                return Ok(Some(Self { file, place: Place { path, lent: Cell::new(false) } }));
            }
        }
    }
}

/// In words, who keeps others from the lock. The file tells who took it; where that one lent it and is gone, the kernel
/// tells who has it now.
fn holder(path: &Path) -> String {
    let took = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let holders = process::lock_holders(path).unwrap_or_default();
    if let Some(pid) = took.filter(|took| holders.iter().any(|id| id.pid == *took)) {
        return format!("process {pid}");
    }
    match holders.first() {
        Some(id) => {
            let name = process::describe(id).map(|(name, _)| format!(" ({name})")).unwrap_or_default();
            format!("process {id}{name}, which an earlier call began,")
        }
        // Another user's, or in another pid namespace.
        None => "another call".to_owned(),
    }
}

/// For a child's environment, where a program must be told which descriptor to keep.
impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // To unlock would take the lock from a child as well: they hold it together.
        if !self.place.lent.get() {
            let _ = fs::remove_file(&self.place.path);
            let _ = self.file.unlock();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Our copy is closed by now. If nobody else has one, the lock can be had anew, and goes with its file.
        if self.lent.get() {
            drop(Lock::attempt(std::mem::take(&mut self.path)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Mutex, MutexGuard, PoisonError,
            atomic::{AtomicU32, Ordering},
        },
        thread,
    };

    use flexvolume_linux::process::{How, Kill, Limits, Program};
    use zeroize::Zeroizing;

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

    /// One at a time: a child that another test starts meanwhile would inherit what is lent.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn program(exe: &str, args: &[&str]) -> Program {
        Program { args: args.iter().map(|arg| Zeroizing::new((*arg).to_owned())).collect(), ..Program::new(exe) }
    }

    /// Ends everybody who holds the lock.
    fn end_holders(file: &Path) {
        let holders = process::lock_holders(file).unwrap();
        assert!(!holders.is_empty() && holders.iter().all(|id| id.pid != std::process::id()), "{holders:?}");
        assert_eq!(process::end(&holders, Duration::from_secs(20), true), []);
    }

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn a_child_holds_on_when_the_lock_is_dropped() {
        let _alone = alone();
        let tmp = tempfile::tempdir().unwrap();
        let lock = Lock::take(tmp.path(), "v").unwrap();
        let sleep = lock.lending(|| process::spawn(&program("/bin/sleep", &["600"]))).unwrap();
        let child = sleep.id().pid;
        let busy = || Lock::take_within(tmp.path(), "v", Duration::ZERO).unwrap_err().to_string();
        assert!(busy().starts_with(&format!("process {} is still", std::process::id())), "{}", busy());
        drop(lock);
        assert!(Lock::try_take(tmp.path(), "v").unwrap().is_none());
        let expected = format!("process {child} (sleep), which an earlier call began, is still working on \"v\"");
        assert!(busy().starts_with(&expected), "{}", busy());
        end_holders(&tmp.path().join("v"));
        let next = Lock::take_within(tmp.path(), "v", Duration::from_secs(20)).unwrap();
        drop(next);
        assert_eq!(files(tmp.path()), 0);
    }

    #[test]
    fn after_the_child_the_lock_is_ours_alone_and_leaves_nothing() {
        let _alone = alone();
        let tmp = tempfile::tempdir().unwrap();
        let lock = Lock::take(tmp.path(), "v").unwrap();
        let run = lock.lending(|| process::spawn(&program("/bin/true", &[]))).unwrap();
        let limits = Limits { answer: Duration::from_secs(20), kill: Kill::Never };
        assert_eq!(run.wait(&limits, &|_, _| false, &mut |_| {}).how, How::Exited(0));
        assert!(Lock::try_take(tmp.path(), "v").unwrap().is_none(), "still ours");
        drop(lock);
        assert_eq!(files(tmp.path()), 0);
        // What was lent to nobody, too.
        let lock = Lock::take(tmp.path(), "v").unwrap();
        let failed = lock.lending(|| process::spawn(&program("/no/such/program", &[])));
        assert!(failed.is_err());
        drop(lock);
        assert_eq!(files(tmp.path()), 0);
    }

    const DIR: &str = "FLEXVOL_TEST_LOCK";

    /// Not a test of its own: the driver that dies while its child works.
    #[test]
    fn dies_holding() {
        let Some(dir) = std::env::var_os(DIR) else { return };
        let lock = Lock::take(Path::new(&dir), "v").unwrap();
        let child = lock.lending(|| process::spawn(&program("/bin/sleep", &["600"]))).unwrap();
        std::mem::forget(child);
        std::process::exit(77);
    }

    #[test]
    fn a_child_keeps_others_out_when_the_driver_is_dead() {
        let _alone = alone();
        let tmp = tempfile::tempdir().unwrap();
        let exe = std::env::current_exe().unwrap();
        let mut driver = program(exe.to_str().unwrap(), &["--exact", "lock::tests::dies_holding", "--nocapture"]);
        driver.env = vec![(DIR.to_owned(), tmp.path().to_str().unwrap().to_owned())];
        let limits = Limits { answer: Duration::from_secs(20), kill: Kill::Never };
        let run = process::spawn(&driver).unwrap();
        let dead = run.id();
        assert_eq!(run.wait(&limits, &|_, _| false, &mut |_| {}).how, How::Exited(77));
        let file = tmp.path().join("v");
        assert_eq!(fs::read_to_string(&file).unwrap(), dead.pid.to_string(), "the file still names the dead one");
        let failure = Lock::take_within(tmp.path(), "v", Duration::ZERO).unwrap_err();
        assert_eq!(failure.code(), Some(Code::Busy));
        let words = failure.to_string();
        assert!(words.contains("(sleep), which an earlier call began,"), "{words}");
        assert!(!words.contains(&format!("process {} ", dead.pid)), "{words}");
        end_holders(&file);
        drop(Lock::take_within(tmp.path(), "v", Duration::from_secs(20)).unwrap());
        assert_eq!(files(tmp.path()), 0, "and whoever comes next clears up");
    }
}
