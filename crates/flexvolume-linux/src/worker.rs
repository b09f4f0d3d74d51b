//! Disposable children for what may hang: whoever touches a volume's file system or device is not the long-lived process.
//!
//! One thread stuck in the kernel wedges its whole process: it cannot be killed, its locks stay held, its sockets open.
//! So such work is a [`Task`], done by a single-threaded child of our own executable that has nothing of ours open, and
//! that is sent KILL and abandoned when it misses its limit.
//!
//! ```text
//! Worker::ask(task, limit) ── length and JSON ──▶ worker: Task::run
//!                          ◀── length and JSON ──
//! ```
//!
//! A worker is born as `flexvol-worker`, or what its [`Task::NAME`] says (its whole `argv`; nothing in the environment, which its own children inherit)
//! with a socket as standard input. Its standard output and error are `/dev/null`: an abandoned worker must not keep a
//! terminal or a pipe open. It ends when its parent's end of the socket closes, after the task it is at.

use std::{
    any::Any,
    env,
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    marker::PhantomData,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal, set_parent_process_death_signal},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    Error, ErrorKind,
    process::{self, ProcessId},
};

/// The longest task or answer, in bytes.
const LONGEST: usize = 64 << 20;
/// Received at once.
const CHUNK: usize = 64 << 10;

/// Something that a worker does; an enum of all that one executable wants done.
pub trait Task: Serialize + DeserializeOwned {
    /// A worker's `argv[0]`, by which it knows what it is: one executable may have several kinds.
    const NAME: &'static str = "flexvol-worker";

    /// Whether the worker is killed when the thread that has started it ends: it begins no further step for a parent that is gone, and
    /// whoever calls next need not reckon with it. Only for workers that no other thread uses.
    const DIES_WITH_PARENT: bool = false;

    /// What comes back; a `Result` where it can fail.
    type Answer: Serialize + DeserializeOwned;

    /// Does it, in the worker.
    fn run(self) -> Self::Answer;
}

/// A worker that is started when first needed, and again after it was lost. One task at a time.
pub struct Worker<T> {
    exe: PathBuf,
    env: Vec<(String, String)>,
    alive: Option<Alive>,
    tasks: PhantomData<fn(T)>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// No worker could be started; the task was not begun.
    #[error("cannot start a worker process")]
    Start(#[source] Error),
    /// It did not answer within the limit. It was sent KILL and abandoned; whether it has ended, [`process::alive`] tells.
    #[error("worker process {0} has not answered within {1:?}; it was sent KILL and left behind")]
    Stuck(ProcessId, Duration),
    /// It ended before it had answered: killed by somebody, or out of memory.
    #[error("worker process {0} ended without an answer")]
    Died(ProcessId),
    /// The task panicked, with this message; the worker itself goes on.
    #[error("the task panicked in its worker: {0}")]
    Panicked(String),
    /// The task or its answer cannot be written as a message, and why.
    #[error("cannot pass the task or its answer between processes: {0}")]
    Message(String),
}

/// A worker process and our end of its socket.
struct Alive {
    id: ProcessId,
    socket: UnixStream,
    /// Handed to the reaper when this is dropped; `None` only then.
    child: Option<Child>,
    pidfd: Option<OwnedFd>,
}

#[derive(Serialize, Deserialize)]
enum Reply<A> {
    Done(A),
    Panicked(String),
    Message(String),
}

/// The first line of an executable's `main`, before anything is opened or any thread started: in a process that was born
/// as a worker this works until the parent is gone, and the exit code is what `main` returns. Elsewhere it is `None`.
pub fn main<T: Task>() -> Option<ExitCode> {
    let mut argv = env::args_os();
    if argv.next().as_deref() != Some(OsStr::new(T::NAME)) || argv.next().is_some() {
        return None;
    }
    process::sys::close_inherited();
    process::settle();
    if T::DIES_WITH_PARENT && set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        return Some(ExitCode::FAILURE);
    }
    let served = take_socket().and_then(|socket| serve::<T>(&socket));
    Some(if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Moves the socket away from standard input, which the children of a task inherit: one that held it would hide our end
/// from the parent.
fn take_socket() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(socket))
}

fn serve<T: Task>(mut socket: &UnixStream) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        match socket.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            done => done?,
        }
        let mut text = Zeroizing::new(vec![0; u32::from_le_bytes(length) as usize]);
        socket.read_exact(&mut text)?;
        if T::DIES_WITH_PARENT && is_alone(socket) {
            // It died before it could take us along.
            return Ok(());
        }
        let reply = match serde_json::from_slice::<T>(&text) {
            Ok(task) => match catch_unwind(AssertUnwindSafe(|| task.run())) {
                Ok(answer) => Reply::Done(answer),
                Err(panic) => Reply::Panicked(words(&*panic)),
            },
            Err(error) => Reply::Message(error.to_string()),
        };
        let message = match message(&reply) {
            Ok(message) => message,
            Err(why) => message(&Reply::<()>::Message(why)).map_err(io::Error::other)?,
        };
        socket.write_all(&message)?;
    }
}

/// Whether the parent's end is closed.
fn is_alone(socket: &UnixStream) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut polled, Some(&process::timespec(Duration::ZERO))).is_ok() && polled[0].revents().contains(PollFlags::HUP)
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

/// Length and JSON, wiped after use, for a task may carry secrets. It is measured first: what has grown would leave pieces behind,
/// and what is too large is wiped for nothing.
fn message<M: Serialize>(content: &M) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut measured = Length(0);
    serde_json::to_writer(&mut measured, content).map_err(|error| error.to_string())?;
    let Length(length) = measured;
    match u32::try_from(length) {
        Ok(short) if length <= LONGEST => {
            let mut message = Zeroizing::new(Vec::with_capacity(4 + length));
            message.extend_from_slice(&short.to_le_bytes());
            serde_json::to_writer(&mut *message, content).map_err(|error| error.to_string())?;
            Ok(message)
        }
        Ok(_) | Err(_) => Err(format!("it is {length} bytes long, the most is {LONGEST}")),
    }
}

/// Takes the bytes and keeps their number.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: Task> Worker<T> {
    /// A worker of this executable (`/proc/self/exe` is ourselves, even after an upgrade replaced the file), with these
    /// variables added to our environment. Nothing is started yet.
    pub fn new(exe: PathBuf, env: Vec<(String, String)>) -> Self {
        Self { exe, env, alive: None, tasks: PhantomData }
    }

    /// Has a task done and waits for its answer, `limit` at most.
    ///
    /// # Errors
    /// [`WorkerError`]. After `Stuck` and `Died` the next call starts a new worker; the task may have had its effect.
    pub fn ask(&mut self, task: &T, limit: Duration) -> Result<T::Answer, WorkerError> {
        let since = Instant::now();
        let task = message(task).map_err(WorkerError::Message)?;
        // An idle worker may have been lost unnoticed: it has not seen the task, so another may be given it.
        let idle = self.alive.take().filter(Alive::waits);
        let mut alive = match idle {
            Some(alive) => alive,
            None => Alive::start(&self.exe, T::NAME, &self.env).map_err(WorkerError::Start)?,
        };
        let reply = alive.send(&task, since, limit).and_then(|()| alive.receive(since, limit));
        match reply {
            Ok(text) => {
                let reply = serde_json::from_slice(&text);
                self.alive = Some(alive);
                match reply {
                    Ok(Reply::Done(answer)) => Ok(answer),
                    Ok(Reply::Panicked(words)) => Err(WorkerError::Panicked(words)),
                    Ok(Reply::Message(why)) => Err(WorkerError::Message(why)),
                    Err(error) => Err(WorkerError::Message(error.to_string())),
                }
            }
            Err(Errno::TIMEDOUT) => {
                alive.kill();
                Err(WorkerError::Stuck(alive.id, limit))
            }
            Err(_) => {
                alive.kill();
                Err(WorkerError::Died(alive.id))
            }
        }
    }

    /// The worker process, if one is running.
    pub fn id(&self) -> Option<ProcessId> {
        self.alive.as_ref().map(|alive| alive.id)
    }
}

impl Alive {
    fn start(exe: &PathBuf, name: &str, env: &[(String, String)]) -> crate::Result<Self> {
        process::sweep();
        let (ours, theirs) = UnixStream::pair().map_err(|e| Error::os("cannot make a socket for a worker", e))?;
        let mut command = Command::new(exe);
        command.arg0(name).envs(env.iter().map(|(var, value)| (var, value)));
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = process::start(&mut command, exe)?;
        let (pid, id) = process::identify(&mut child, exe)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
        Ok(Self { id, socket: ours, child: Some(child), pidfd })
    }

    /// Whether it is there and waits for a task: nothing can be read of its socket, not even the end.
    fn waits(&self) -> bool {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        matches!(poll(&mut polled, Some(&process::timespec(Duration::ZERO))), Ok(0))
    }

    fn send(&self, mut message: &[u8], since: Instant, limit: Duration) -> Result<(), Errno> {
        while !message.is_empty() {
            match send(&self.socket, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => message = &message[length..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.ready(PollFlags::OUT, since, limit)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&self, since: Instant, limit: Duration) -> Result<Zeroizing<Vec<u8>>, Errno> {
        let mut text = Zeroizing::new(Vec::new());
        let mut length = [0; 4];
        self.fill(&mut length, since, limit)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST {
            return Err(Errno::MSGSIZE);
        }
        // Grown as it comes: a number alone does not take memory.
        while text.len() < length {
            let from = text.len();
            let to = length.min(from + CHUNK);
            text.resize(to, 0);
            self.fill(&mut text[from..], since, limit)?;
        }
        Ok(text)
    }

    fn fill(&self, mut buffer: &mut [u8], since: Instant, limit: Duration) -> Result<(), Errno> {
        while !buffer.is_empty() {
            // Waiting first: the answer is never there yet when the task has just been sent.
            self.ready(PollFlags::IN, since, limit)?;
            match recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Errno::CONNRESET),
                Ok((length, _)) => buffer = &mut buffer[length..],
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn ready(&self, what: PollFlags, since: Instant, limit: Duration) -> Result<(), Errno> {
        loop {
            let left = limit.saturating_sub(since.elapsed());
            let mut polled = [PollFd::new(&self.socket, what)];
            match poll(&mut polled, Some(&process::timespec(left))) {
                Ok(0) if left.is_zero() => return Err(Errno::TIMEDOUT),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// It is not waited for: a process that the kernel holds does not end.
    fn kill(&mut self) {
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        } else if let Some(child) = &self.child {
            // Not reaped yet, so the pid is still its own.
            let _ = kill_process(Pid::from_child(child), Signal::KILL);
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            process::leave(child);
        }
    }
}

impl From<WorkerError> for Error {
    fn from(error: WorkerError) -> Self {
        let kind = match &error {
            WorkerError::Start(below) => below.kind(),
            WorkerError::Stuck(..) => ErrorKind::Timeout,
            WorkerError::Died(_) | WorkerError::Panicked(_) => ErrorKind::Io,
            WorkerError::Message(_) => ErrorKind::Invalid,
        };
        let words = error.to_string();
        match error {
            WorkerError::Start(below) => {
                let hint = below.hint().map(str::to_owned);
                let above = Self::new(kind, words).with_cause(below.story());
                hint.into_iter().fold(above, Self::with_hint)
            }
            WorkerError::Stuck(..) => Self::new(kind, words).with_hint(
                "what it touched hangs: a dead network or FUSE file system, or a failed disk; mend that, or unmount it",
            ),
            WorkerError::Died(_) | WorkerError::Panicked(_) | WorkerError::Message(_) => Self::new(kind, words),
        }
    }
}
