//! The three pipes of a running program, none of which can ever make us wait.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{ChildStderr, ChildStdin, ChildStdout},
};

use rustix::io::{Errno, ioctl_fionbio, read, write};
use zeroize::Zeroizing;

/// Read at once: more than most answers are long.
const CHUNK: usize = 4 << 10;
/// The most chunks taken in one turn, so that a program that writes without end cannot keep us from looking at the clock.
const TURN: usize = 1024;

/// One output stream: kept up to a limit, read to its end beyond it, so that the writer never blocks.
pub(super) struct Capture {
    pipe: Option<OwnedFd>,
    pub(super) kept: Vec<u8>,
    limit: usize,
    pub(super) cut: bool,
}

/// What a program is given to read; written as it takes it.
pub(super) struct Feed {
    pipe: Option<OwnedFd>,
    text: Zeroizing<Vec<u8>>,
    written: usize,
}

impl Capture {
    pub(super) fn of_stdout(pipe: Option<ChildStdout>, limit: usize) -> Self {
        Self::new(pipe.map(OwnedFd::from), limit)
    }

    pub(super) fn of_stderr(pipe: Option<ChildStderr>, limit: usize) -> Self {
        Self::new(pipe.map(OwnedFd::from), limit)
    }

    fn new(pipe: Option<OwnedFd>, limit: usize) -> Self {
        Self { pipe: pipe.and_then(without_waiting), kept: Vec::new(), limit, cut: false }
    }

    /// To be polled for reading; `None` once everybody has closed the other end.
    pub(super) fn open(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there.
    pub(super) fn take(&mut self, buffer: &mut Vec<u8>) {
        buffer.resize(CHUNK, 0);
        for _ in 0..TURN {
            let Some(pipe) = &self.pipe else { return };
            match read(pipe, &mut **buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    let keep = length.min(self.limit - self.kept.len());
                    self.kept.extend_from_slice(&buffer[..keep]);
                    self.cut |= keep < length;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Nothing more will come from a pipe that cannot be read.
                Err(_) => self.pipe = None,
            }
        }
    }
}

impl Feed {
    pub(super) fn new(pipe: Option<ChildStdin>, text: Option<Zeroizing<Vec<u8>>>) -> Self {
        let pipe = pipe.map(OwnedFd::from).and_then(without_waiting);
        Self { pipe, text: text.unwrap_or_default(), written: 0 }
    }

    /// To be polled for writing; `None` once all is written or nobody reads.
    pub(super) fn open(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Gives what the pipe takes now, and closes it after the last byte. A program that does not read its input (EPIPE)
    /// is no failure.
    pub(super) fn give(&mut self) {
        while let Some(pipe) = &self.pipe {
            match write(pipe, &self.text[self.written..]) {
                Ok(length) => self.written += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.pipe = None,
            }
            if self.written == self.text.len() {
                self.pipe = None;
            }
        }
    }
}

/// Our end of a pipe has its own flags: the program's end goes on blocking as programs expect. An end that cannot be made
/// non-blocking is closed: without it the program gets an error, with it we might wait for ever.
fn without_waiting(pipe: OwnedFd) -> Option<OwnedFd> {
    ioctl_fionbio(&pipe, true).ok()?;
    Some(pipe)
}
