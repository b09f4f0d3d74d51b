//! The one place where processes are born: run a program without a shell, watch it without a thread, never lose it.
//!
//! ```text
//! spawn(Program) ─▶ Running ── wait(Limits, …) ─▶ Outcome { how: Exited | Signalled | Killed | Stayed | Stuck }
//! ```
//!
//! A later run finds what outlived this one through [`marked`] (a variable in every process's environment) or
//! [`group_members`], and ends it through [`end`]. Processes are named by [`ProcessId`], which a reused pid never equals.

mod end;
mod find;
mod head;
mod holders;
mod id;
mod left;
mod lend;
mod refused;
mod spawn;
mod stream;
pub(crate) mod sys;
mod wait;

use std::{fmt, path::PathBuf, time::Duration};

use zeroize::Zeroizing;

pub use end::end;
pub use find::{Carrier, carrying, command_lines, group_members, marked};
pub use head::{Head, head, on_path, runnable};
pub use holders::lock_holders;
pub use id::{ProcessId, alive, describe, own, session};
pub(crate) use left::{leave, sweep};
pub use lend::lending;
pub(crate) use refused::explain;
pub use refused::refusal;
pub use spawn::{Running, keep_small, no_core_dumps, settle, spawn};
pub(crate) use spawn::{core_dumps_as_before, identify, start};
pub(crate) use wait::timespec;

/// The most that is kept of each of a program's two output streams, in bytes; the rest is read and dropped.
pub const OUTPUT_LIMIT: usize = 1 << 20;

/// A program to run.
///
/// It runs without a shell, in `/`, in a process group of its own, with our environment and nothing of ours open but what
/// is lent to it.
/// There is no `Debug`: arguments and input may be secret.
#[derive(Clone)]
pub struct Program {
    /// An absolute path, run as it is written: it is also `argv[0]`, never resolved.
    pub exe: PathBuf,
    /// What follows `argv[0]`.
    pub args: Vec<Zeroizing<String>>,
    /// What the program may read; `None` is an empty standard input.
    pub stdin: Option<Zeroizing<Vec<u8>>>,
    /// Variables added to our own environment.
    pub env: Vec<(String, String)>,
    /// Set for what must go on whatever becomes of us.
    pub apart: Option<Apart>,
    /// So many bytes of each of its outputs are kept, and the rest is thrown away.
    pub output_limit: usize,
}

/// How a program is set apart from whoever runs it, because to end it half-way would do harm.
///
/// It gets a session of its own: neither a signal to our process group nor one from a terminal reaches it. It ignores
/// SIGPIPE: nobody may be left to read what it says. And it lacks the variables by which others would find it and end
/// it. What it needs besides is ours to give: a lock that it holds as long as it runs ([`lending`]) and [`Kill::Never`].
/// Starting it costs a fork of all our memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apart {
    /// Variables of our environment that it does not get.
    pub without: Vec<String>,
}

impl Program {
    /// A program without arguments and input, in our own environment.
    pub fn new(exe: impl Into<PathBuf>) -> Self {
        Self {
            exe: exe.into(),
            args: Vec::new(),
            stdin: None,
            env: Vec::new(),
            apart: None,
            output_limit: OUTPUT_LIMIT,
        }
    }
}

/// How long a program may take, counted from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// When the caller is told that it is slow. A program that has ended, or that has answered in full and goes on
    /// running, is waited for no longer than this.
    pub answer: Duration,
    /// What is done to a program that has neither ended nor answered.
    pub kill: Kill,
}

/// What is done to a program that has neither ended nor answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// TERM to its process group `at`, KILL after another `grace`; what has not ended another `grace` later (a second at
    /// least) is [`How::Stuck`].
    After {
        /// Counted from the start.
        at: Duration,
        /// Between TERM and KILL.
        grace: Duration,
    },
    /// TERM to its process group once, never KILL: it is then waited for until its whole group has ended, however long
    /// that takes. For what must not be torn off: format, check, resize.
    Ask {
        /// Counted from the start.
        at: Duration,
    },
    /// Nothing: it is waited for until it ends.
    Never,
}

/// What became of a program.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first bytes of its standard output, up to the program's limit.
    pub stdout: Vec<u8>,
    /// The first bytes of its standard error, up to the program's limit.
    pub stderr: Vec<u8>,
    /// Whether it wrote more than was kept.
    pub cut: bool,
    /// Whether it ended and left a process behind that holds its output open.
    pub held: bool,
    /// How it ended.
    pub how: How,
    /// From its start until we stopped waiting.
    pub took: Duration,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that was not ours.
    Signalled(i32),
    /// At its limit and at our word, with its whole process group; `signal` is the last one we sent.
    Killed {
        /// 15 (TERM) or 9 (KILL).
        signal: i32,
    },
    /// It did not end: it answered in full and became a daemon itself. Nothing was done to it.
    Stayed(ProcessId),
    /// It was sent KILL and has not ended: this process (the program itself or one of its group) is held by the kernel.
    Stuck(ProcessId),
}

/// The output is shown by its length only: it may repeat secrets that the program was given.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("stdout", &format_args!("{} bytes", self.stdout.len()))
            .field("stderr", &format_args!("{} bytes", self.stderr.len()))
            .field("cut", &self.cut)
            .field("held", &self.held)
            .field("how", &self.how)
            .field("took", &self.took)
            .finish()
    }
}
