//! One lock file per volume: never unlinked, the holder's pid inside, released by the kernel when its holder dies.
//!
//! After the pid the holder notes which process works for it, at the moment that this is born: most calls are over before it would be worth
//! a write to the ledger, and who is killed meanwhile has left a note. It says nothing of any other call than the one that it names.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek},
    os::unix::fs::FileExt,
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
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting up to `patience`; `waiting` is told once who holds it.
    pub fn take(path: &Path, patience: Duration, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        let fail = |what: &str, error: std::io::Error| {
            Error::new(Kind::System, format!("cannot {what} {}", path.display())).because(error)
        };
        let open = || File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = match (open(), path.parent()) {
            (Err(error), Some(parent)) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(parent).map_err(|e| fail("create the folder of", e))?;
                open()
            }
            (done, _) => done,
        }
        .map_err(|e| fail("open the lock file", e))?;
        let start = Instant::now();
        let mut told = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
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
        Ok(Self { _file: file })
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
