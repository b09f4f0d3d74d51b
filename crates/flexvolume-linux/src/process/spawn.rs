//! Bringing a program into the world by std's vfork path, which costs the same however large we are.

use std::{
    env,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process_group, pidfd_open, setrlimit},
};

use super::{
    ProcessId, Program,
    id::Stat,
    left,
    refused::{explain, shell_would_get},
    stream::{Capture, Feed},
    sys,
};
use crate::{Error, ErrorKind, Result};

/// How often, and at what distance, an executable that somebody is writing is tried again: an installer may be about to
/// close it.
const TEXT_BUSY: (u32, Duration) = (5, Duration::from_millis(20));

/// A program that was started. Dropped before it is waited for, it runs on and is reaped later.
pub struct Running {
    pub(super) id: ProcessId,
    pub(super) pid: Pid,
    pub(super) began: Instant,
    pub(super) out: Capture,
    pub(super) err: Capture,
    pub(super) feed: Feed,
    /// Ready once the program has ended; without one (no descriptors left) we look from time to time instead.
    pub(super) pidfd: Option<OwnedFd>,
    child: Option<Child>,
}

/// Makes this process fit to start others; the first line of `main`. Returns the directory it was started in, for
/// relative paths on the command line.
///
/// It goes to `/` (a working directory given to a child would cost a fork of all our memory), marks inherited
/// descriptors close-on-exec (a driver gets none of them), ignores SIGPIPE, takes SIGCHLD back if a parent ignored it,
/// and switches core dumps off, for itself and its children: secrets pass through here.
pub fn settle() -> Option<PathBuf> {
    let before = env::current_dir().ok();
    // `spawn` looks again and does without.
    let _ = env::set_current_dir("/");
    sys::default_signals();
    sys::keep_descriptors_from_children();
    no_core_dumps();
    before
}

/// Keeps the memory of a long-lived process with many threads small; before the first of them is started.
pub fn keep_small() {
    sys::few_arenas();
}

/// Switches core dumps off, for this process and its children; for who reads secrets before it can [`settle`].
pub fn no_core_dumps() {
    // One byte and not none: it is too small for a core file, and the one value that also stops a dump into a pipe.
    let core = getrlimit(Resource::Core);
    CORE.get_or_init(|| core);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(1.min(core.maximum.unwrap_or(1))), ..core });
}

/// The limit of core dumps as it was when we were started.
static CORE: OnceLock<Rlimit> = OnceLock::new();

/// Gives core dumps back, for a program of the user's own that takes this process over.
pub(crate) fn core_dumps_as_before() {
    if let Some(core) = CORE.get() {
        let _ = setrlimit(Resource::Core, *core);
    }
}

/// Starts a program; see [`Program`] for what surrounds it.
///
/// # Errors
/// `Invalid` for a path that is not absolute or an argument with a NUL; else why the kernel would not run the file, in
/// words, with a hint: not there, not executable, missing interpreter or loader, another architecture, no `#!` line,
/// being written.
pub fn spawn(program: &Program) -> Result<Running> {
    left::sweep();
    if !program.exe.is_absolute() {
        let why = format!("cannot start {}: its path must be absolute", program.exe.display());
        return Err(Error::new(ErrorKind::Invalid, why));
    }
    let mut command = Command::new(&program.exe);
    command.args(program.args.iter().map(|argument| argument.as_str()));
    command.envs(program.env.iter().map(|(var, value)| (var, value)));
    for var in program.apart.iter().flat_map(|apart| &apart.without) {
        command.env_remove(var);
    }
    command.stdin(if program.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match program.apart {
        None => start(&mut command, &program.exe)?,
        Some(_) => start_apart(&mut command, &program.exe)?,
    };

    let began = Instant::now();
    let (pid, id) = identify(&mut child, &program.exe)?;
    let feed = Feed::new(child.stdin.take(), program.stdin.clone());
    let out = Capture::of_stdout(child.stdout.take(), program.output_limit);
    let err = Capture::of_stderr(child.stderr.take(), program.output_limit);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
    Ok(Running { id, pid, began, out, err, feed, pidfd, child: Some(child) })
}

/// Starts a prepared command in a process group of its own and in `/`. `pre_exec`, `uid` and `gid` would take std off the
/// vfork path, and so does a working directory in a static program: it is set only where [`settle`] was not called.
pub(crate) fn start(command: &mut Command, exe: &Path) -> Result<Child> {
    command.process_group(0);
    if env::current_dir().is_ok_and(|dir| dir != Path::new("/")) {
        command.current_dir("/");
        no_shell_gets(exe)?;
    }
    try_to_start(command, exe)
}

/// Starts a prepared command in a session of its own, whose first process group it leads as well.
fn start_apart(command: &mut Command, exe: &Path) -> Result<Child> {
    command.current_dir("/");
    sys::set_apart(command);
    no_shell_gets(exe)?;
    try_to_start(command, exe)
}

/// Off the vfork path, std gives a file that the kernel does not know to a shell.
fn no_shell_gets(exe: &Path) -> Result<()> {
    if shell_would_get(exe) { Err(explain(exe, Errno::NOEXEC.into())) } else { Ok(()) }
}

fn try_to_start(command: &mut Command, exe: &Path) -> Result<Child> {
    let mut tries = 0;
    loop {
        match command.spawn() {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::TXTBSY) && tries < TEXT_BUSY.0 => {
                tries += 1;
                thread::sleep(TEXT_BUSY.1);
            }
            done => return done.map_err(|error| explain(exe, error)),
        }
    }
}

/// The new child's pid and start time. The child is not reaped yet, so its pid cannot be another's.
pub(crate) fn identify(child: &mut Child, exe: &Path) -> Result<(Pid, ProcessId)> {
    let pid = Pid::from_child(child);
    match Stat::read(child.id()) {
        Ok(stat) => Ok((pid, ProcessId { pid: child.id(), started: stat.started })),
        Err(error) => {
            // Without its start time a later run could not tell it from another: better none than one nobody can name.
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
            let what = format!("cannot start {}: its start time cannot be read from /proc", exe.display());
            Err(Error::os(what, error).with_hint("mount /proc; it is needed to name processes"))
        }
    }
}

impl Running {
    /// Its name, for the record of an open call.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Reaps a program that has ended, or leaves one that has not.
    pub(super) fn let_go(&mut self) {
        if let Some(child) = self.child.take() {
            left::leave(child);
            left::sweep();
        }
    }

    /// To be polled for reading: the end of the program.
    pub(super) fn end_signal(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.let_go();
    }
}
