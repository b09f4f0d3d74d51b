//! What to run and where to strike, as values.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Who dies at the N-th effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The root process: the one we started.
    Host,
    /// The process about to act.
    Actor,
    /// Every process of the tree but the spared, found by a mark in its environment or because it acted. One that escapes the search
    /// (no mark, no effect so far) dies at its next effect, before it runs.
    Tree,
}

/// What to do. Effects are numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: count.
    Count,
    /// SIGKILL the victim before the `at`-th effect runs. That effect still runs if its actor lives.
    Kill {
        /// Who dies.
        victim: Victim,
        /// The effect's number.
        at: u64,
    },
    /// The `at`-th effect does not run and fails with this errno.
    Inject {
        /// The error number, for example `libc::ENOSPC`.
        errno: i32,
        /// The effect's number.
        at: u64,
    },
}

/// What a watcher has done with an effect that the plan leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Runs,
    /// It does not run, and its caller is told that it did: a system call answers 0.
    Pretended,
}

/// What becomes of processes that outlive the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orphans {
    /// They are supervised and awaited to their end.
    #[default]
    Await,
    /// We return as soon as the root is dead; they go on, uncounted, under a small keeper process of their own.
    Leave,
}

/// Which writes at an offset count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writes {
    /// The 1st, 2nd, 4th, 8th … of each uninterrupted run.
    #[default]
    Runs,
    /// Every one.
    Each,
    /// None.
    No,
}

/// The program to run, and how.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The program; without a slash it is looked up in PATH.
    pub exe: PathBuf,
    /// Its arguments, without argv[0].
    pub args: Vec<OsString>,
    /// Added to our own environment.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory; none: ours.
    pub cwd: Option<PathBuf>,
    /// What becomes of processes that outlive the root.
    pub after: Orphans,
    /// Whether stdin is empty and both outputs come back in the report; else all three are ours.
    pub capture: bool,
    /// After this time all are killed.
    pub limit: Option<Duration>,
    /// Which writes at an offset count.
    pub writes: Writes,
    /// Programs that no plan kills or fails, and neither what they start: tools that must never be torn off. Each is a
    /// file, recognised by its inode whatever it is called; without a slash it is looked up in PATH. A script is none.
    pub spare: Vec<PathBuf>,
    /// Whether what a spared one does counts, by its command line with blanks between the words: the plan then kills the
    /// host or the tree at it, and them not. Where it would strike them themselves, nothing is struck.
    pub spared_count: fn(&str) -> bool,
    /// Whether the report tells of each exec with its arguments and environment.
    pub execs: bool,
    /// Where to log as JSON lines; see [`Report::read`](super::Report::read).
    pub log: Option<PathBuf>,
}

impl Spec {
    /// A program with no arguments, outputs captured, orphans awaited, two minutes to live.
    pub fn new(exe: impl Into<PathBuf>) -> Spec {
        Spec {
            exe: exe.into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            after: Orphans::Await,
            capture: true,
            limit: Some(Duration::from_secs(120)),
            writes: Writes::Runs,
            spare: Vec::new(),
            spared_count: |_| false,
            execs: false,
            log: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Spec {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Spec {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Has the report tell of each exec.
    #[must_use]
    pub fn execs(mut self) -> Spec {
        self.execs = true;
        self
    }

    /// Spares a program.
    #[must_use]
    pub fn sparing(mut self, program: impl Into<PathBuf>) -> Spec {
        self.spare.push(program.into());
        self
    }

    /// Says what becomes of processes that outlive the root.
    #[must_use]
    pub fn after(mut self, after: Orphans) -> Spec {
        self.after = after;
        self
    }
}
