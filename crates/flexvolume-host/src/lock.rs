//! One lock file per volume: never unlinked, the holder's pid inside, released by the kernel when its holder dies.

use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Kind, Result};

/// A wait shorter than this is not worth telling.
const SHORT: Duration = Duration::from_millis(500);

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
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| fail("create the folder of", e))?;
        }
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
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
        let _ = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
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
    let read = file.rewind().and_then(|()| file.take(20).read_to_string(&mut text));
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
}
