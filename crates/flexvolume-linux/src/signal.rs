//! Being asked to end: the first SIGINT or SIGTERM is told, so that what is under way can be named; the second kills as ever.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io::{self, Read},
    os::fd::IntoRawFd,
    sync::atomic::{AtomicI32, Ordering},
    thread,
};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::{Error, Result};

/// By what a process is asked to end, from a terminal or by a supervisor.
const ASKS: [i32; 2] = [libc::SIGINT, libc::SIGTERM];

/// Where the handler writes; never closed, since a signal may come at any time.
static ASKED: AtomicI32 = AtomicI32::new(-1);

/// Has `told` called once, on a thread of its own, with the number of the first SIGINT or SIGTERM that comes. After it
/// both do again what they do by default. One that a parent had ignored (`nohup`) stays ignored. Once per process.
///
/// # Errors
/// No descriptors or threads are left; then both signals are as they were.
pub fn on_ask_to_end(told: impl FnOnce(i32) + Send + 'static) -> Result<()> {
    let fail = |error: io::Error| Error::os("cannot listen for signals", error);
    let (from, to) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| fail(error.into()))?;
    let mut from = File::from(from);
    let listen = move || {
        let mut signal = [0];
        if from.read_exact(&mut signal).is_ok() {
            let [signal] = signal;
            handle(Some(libc::SIG_DFL));
            told(i32::from(signal));
        }
    };
    thread::Builder::new().name("signals".into()).spawn(listen).map_err(fail)?;
    ASKED.store(to.into_raw_fd(), Ordering::Release);
    handle(None);
    Ok(())
}

/// Gives both signals this disposition, or our own handler; not one that is ignored.
fn handle(disposition: Option<libc::sighandler_t>) {
    let ours = write_it as extern "C" fn(libc::c_int);
    for signal in ASKS {
        // SAFETY: all-zero bytes are a valid sigaction; both pointers live across the calls, and the handler does only
        // what a handler may.
        unsafe {
            let mut now: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut now) == 0 && now.sa_sigaction != libc::SIG_IGN {
                let mut new: libc::sigaction = std::mem::zeroed();
                new.sa_sigaction = disposition.unwrap_or(ours as libc::sighandler_t);
                // The second of the same kind kills, also before the thread has woken.
                new.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
                libc::sigaction(signal, &raw const new, std::ptr::null_mut());
            }
        }
    }
}

/// The handler: one write, which is all that is safe in it.
extern "C" fn write_it(signal: libc::c_int) {
    let byte = signal as u8;
    // SAFETY: one byte that lives across the call; the interrupted code finds its errno as it was.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(ASKED.load(Ordering::Acquire), (&raw const byte).cast(), 1);
        *errno = before;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    fn is_default(signal: i32) -> bool {
        // SAFETY: only reads the disposition into a sigaction of ours.
        unsafe {
            let mut now: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut now) == 0 && now.sa_sigaction == libc::SIG_DFL
        }
    }

    #[test]
    fn the_first_is_told_and_the_second_would_kill() {
        // Whoever runs the tests in the background may have had one ignored.
        for signal in ASKS {
            // SAFETY: a constant disposition; no handler is installed.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        let (tell, told) = mpsc::channel();
        on_ask_to_end(move |signal| tell.send(signal).unwrap()).unwrap();
        assert!(!is_default(libc::SIGINT) && !is_default(libc::SIGTERM));
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(told.recv().unwrap(), libc::SIGTERM);
        assert!(is_default(libc::SIGINT) && is_default(libc::SIGTERM));
    }
}
