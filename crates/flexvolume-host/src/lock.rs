//! One lock file per volume, the holder's pid inside, released by the kernel when its holder dies. It goes with the volume: its holder
//! removes it, and whoever has waited for it meanwhile sees that, and takes the one that lies there then.
//!
//! After the pid the holder notes which process works for it, at the moment that this is born: most calls are over before it would be worth
//! a write to the ledger, and who is killed meanwhile has left a note. It says nothing of any other call than the one that it names.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    time::{Duration, Instant},
};

use flexvolume_linux::process::ProcessId;
use flexvolume_protocol::VerbName;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Kind, Result},
    volume::record::OpenCall,
};

/// A wait shorter than this is not worth telling.
const SHORT: Duration = Duration::from_millis(500);

/// Bytes of the pid.
const PID: usize = 20;
/// Where notes are.
const NOTE: u64 = 32;

/// The lock, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, waiting up to `patience`; `waiting` is told once who holds it.
    pub(crate) fn take(path: &Path, patience: Duration, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        let fail = |what: &str, error: std::io::Error| {
            Error::new(Kind::System, format!("cannot {what} {}", path.display())).because(error)
        };
        let open = || {
            let open = || File::options().read(true).write(true).create(true).truncate(false).open(path);
            match (open(), path.parent()) {
                (Err(error), Some(parent)) if error.kind() == ErrorKind::NotFound => {
                    fs::create_dir_all(parent).map_err(|e| fail("create the folder of", e))?;
                    open()
                }
                (done, _) => done,
            }
            .map_err(|e| fail("open the lock file", e))
        };
        let mut file = open()?;
        let start = Instant::now();
        let mut told = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if lies_at(&file, path).unwrap_or(true) => break,
                // Who had it has removed it.
                Ok(()) => {
                    file = open()?;
                    continue;
                }
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(fail("lock", error.into())),
            }
            let holder = holder(&mut file);
            if !told && start.elapsed() >= SHORT.min(patience) {
                waiting(&holder);
                told = true;
            }
            if told && start.elapsed() >= patience {
                return Err(Error::new(Kind::Busy, format!("the volume is in use by {holder}"))
                    .hint("wait for it to end, then try again; nothing was changed"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // The pid is a courtesy to whoever waits: a full disk must not keep us from working.
        // What the holder before us noted stays: it may have been killed.
        let _ = file.write_all_at(format!("{:<PID$}\n", std::process::id()).as_bytes(), 0);
        Ok(Self { file })
    }

    /// Removes the file at `path` that is locked, if it is: nobody else may.
    pub(crate) fn remove(&self, path: &Path) {
        if let Ok(true) = lies_at(&self.file, path) {
            // One that stays is taken by whoever comes next.
            let _ = fs::remove_file(path);
        }
    }
}

fn lies_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((open.dev(), open.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A process at work for a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Born {
    /// The call's id.
    pub(crate) call: String,
    /// The process.
    pub(crate) process: ProcessId,
    /// What it was asked.
    pub(crate) verb: VerbName,
}

/// Notes who works for the holder of the lock at `path`, which the caller is; `None` takes back what was noted.
///
/// # Errors
/// It cannot be written.
pub(crate) fn note(path: &Path, born: Option<&Born>) -> io::Result<()> {
    let text = format!("{}\n", serde_json::to_string(&born)?);
    File::options().write(true).open(path)?.write_all_at(text.as_bytes(), NOTE)
}

/// The call with the process that was noted of it, where the ledger knows of none.
pub(crate) fn with_note(path: &Path, mut call: OpenCall) -> OpenCall {
    if call.process.is_none()
        && let Some(born) = noted(path).filter(|born| born.call == call.id)
    {
        (call.process, call.verb) = (Some(born.process), Some(born.verb));
    }
    call
}

fn noted(path: &Path) -> Option<Born> {
    let text = fs::read(path).ok()?;
    let line = text.get(usize::try_from(NOTE).ok()?..)?.split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

/// Who holds the lock now, in words; `None` if nobody does. Nobody is kept waiting by being looked at.
pub(crate) fn held_by(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Some(holder(&mut file)),
        Ok(()) | Err(_) => None,
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(PID as u64).read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("pid {pid}"),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => "another process".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/v.lock");
        let held = Lock::take(&path, Duration::ZERO, &mut |_| ()).unwrap();
        let mut told = String::new();
        let refused = Lock::take(&path, Duration::from_millis(30), &mut |who| told = who.into()).unwrap_err();
        assert_eq!(refused.kind(), Kind::Busy);
        assert_eq!(told, format!("pid {}", std::process::id()));
        assert_eq!(held_by(&path), Some(told));
        drop(held);
        assert_eq!(held_by(&path), None);
        Lock::take(&path, Duration::ZERO, &mut |_| ()).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn who_waited_for_a_lock_that_was_removed_has_the_one_that_others_wait_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.lock");
        let take = |patience| Lock::take(&path, Duration::from_millis(patience), &mut |_| ());
        let held = take(0).unwrap();
        std::thread::scope(|scope| {
            let waited = scope.spawn(|| take(10_000).unwrap());
            std::thread::sleep(Duration::from_millis(50));
            held.remove(&path);
            assert!(!path.exists());
            drop(held);
            let waited = waited.join().unwrap();
            assert_eq!(take(0).unwrap_err().kind(), Kind::Busy);
            waited.remove(&path);
            let next = take(0).unwrap();
            waited.remove(&path);
            assert!(path.exists(), "it is the next one's by now");
            drop(next);
        });
    }

    #[test]
    fn what_was_noted_of_a_call_is_found_by_the_next_holder_and_taken_for_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.lock");
        let take = || Lock::take(&path, Duration::ZERO, &mut |_| ()).unwrap();
        let held = take();
        let (process, verb) = (ProcessId { pid: 7, started: 8 }, VerbName::Mount);
        note(&path, Some(&Born { call: "a".repeat(32), process, verb })).unwrap();
        assert_eq!(held_by(&path), Some(format!("pid {}", std::process::id())));
        drop(held);
        let _held = take();
        let of = |id: String| with_note(&path, OpenCall::new(id));
        assert_eq!((of("a".repeat(32)).process, of("a".repeat(32)).verb), (Some(process), Some(verb)));
        assert_eq!((of("b".into()).process, of("b".into()).verb), (None, None));
        let (written, other) = (Some(ProcessId { pid: 9, started: 9 }), dir.path().join("none.lock"));
        let known = OpenCall { process: written, ..OpenCall::new("a".repeat(32)) };
        assert_eq!(with_note(&path, known).process, written, "the ledger is believed first");
        note(&path, Some(&Born { call: "b".into(), process, verb })).unwrap();
        assert_eq!((of("b".into()).process, of("a".repeat(32)).process), (Some(process), None));
        note(&path, None).unwrap();
        assert_eq!(of("b".into()).process, None);
        assert_eq!(with_note(&other, OpenCall::new("b".into())).process, None);
    }
}
