//! A descriptor lent to a child: a lock that lives as long as whoever was begun under it.

use std::os::fd::BorrowedFd;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::{Error, Result};

/// Runs `start` while every child born in it inherits `fd`, which is open only here otherwise. With a lock of flock(2) on
/// it, a child goes on holding that lock if we die, so nobody works beneath a command whose caller is gone.
///
/// A child that another thread starts meanwhile inherits it too: for processes that start one at a time.
///
/// # Errors
/// Those of `start`; `Io` if the descriptor cannot be lent.
pub fn lending<T>(fd: BorrowedFd<'_>, start: impl FnOnce() -> Result<T>) -> Result<T> {
    let lent = Lent(fd);
    fcntl_setfd(fd, FdFlags::empty()).map_err(|error| Error::os("cannot lend a lock to a child", error))?;
    let answer = start();
    drop(lent);
    answer
}

/// Taken back at the end, also of a panic.
struct Lent<'a>(BorrowedFd<'a>);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // It cannot fail for a descriptor that is open.
        let _ = fcntl_setfd(self.0, FdFlags::CLOEXEC);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, os::fd::AsFd, process::Stdio};

    use rustix::{
        fs::{FlockOperation, flock},
        io::{Errno, fcntl_getfd},
    };

    use super::*;

    #[test]
    fn a_lent_lock_lives_as_long_as_the_child() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let ours = File::create(&path).unwrap();
        flock(&ours, FlockOperation::LockExclusive).unwrap();
        let mut child = lending(ours.as_fd(), || {
            let mut command = std::process::Command::new("/bin/cat");
            Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
        })
        .unwrap();
        assert!(fcntl_getfd(&ours).unwrap().contains(FdFlags::CLOEXEC), "it is taken back");
        drop(ours);

        let other = File::open(&path).unwrap();
        assert_eq!(flock(&other, FlockOperation::NonBlockingLockExclusive), Err(Errno::AGAIN));
        drop(child.stdin.take());
        child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
        child.wait().unwrap();
        flock(&other, FlockOperation::LockExclusive).unwrap();
    }

    #[test]
    fn it_is_taken_back_after_a_panic() {
        let file = File::open("/dev/null").unwrap();
        let lent = std::panic::catch_unwind(|| lending(file.as_fd(), || -> Result<()> { panic!("on purpose") }));
        assert!(lent.is_err());
        assert!(fcntl_getfd(&file).unwrap().contains(FdFlags::CLOEXEC));
    }
}
