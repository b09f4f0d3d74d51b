//! A running guest: two processes of the host and a link to the agent inside, all of which end with this value and with this process.

use super::{
    folder::{Cache, Folder},
    ground::Ground,
    host::EMULATOR,
    link::{Ended, Frame, Order},
    places::Places,
    qemu::{self, Sockets, Spec},
    running::Running,
};
use crate::{machine, sh::Stream};
use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A machine that has not come up by then does not; it takes five seconds of a processor, which a busy host may be slow to give.
const BOOT: Duration = Duration::from_secs(600);
/// How long an agent may take to say that it has ended something at its limit, or a machine to power off.
const GRACE: Duration = Duration::from_secs(60);
/// So many of the last lines of the console are kept.
const CONSOLE: usize = 400;

/// How a command in a guest came to its end.
#[derive(Debug)]
pub(crate) enum Outcome {
    Ended(Ended),
    /// The machine itself ended, or does not answer any more. The last lines of its console say why.
    Died(String),
}

/// A machine that is up. Dropped, it is cut off as by a power failure.
pub(crate) struct Machine {
    emulator: Running,
    link: UnixStream,
    heard: Receiver<Frame>,
    console: Arc<Mutex<VecDeque<String>>>,
    /// The kernel that it runs.
    pub(crate) kernel: String,
    _daemons: [Running; 2],
    _places: Places,
}

impl Machine {
    /// Starts a machine and waits until its agent answers. The thread that does so must live as long as the machine.
    pub(crate) fn boot(ground: &Ground, spec: &Spec) -> Result<Machine> {
        let places = Places::make(&ground.runs, &ground.kit, spec.share.as_deref())?;
        let sockets = Sockets(&places.sockets);
        let listener = UnixListener::bind(sockets.agent()).context("cannot make a socket for the agent")?;
        let daemon = ground.image.daemon();
        let shared = Folder { daemon: &daemon, folder: &places.share, socket: &sockets.share(), cache: Cache::Auto };
        let kit = Folder { daemon: &daemon, folder: &places.kit, socket: &sockets.kit(), cache: Cache::Always };
        let daemons = [shared.serve()?, kit.serve()?];
        let mut emulator = Running::command(&machine::find(EMULATOR).unwrap_or_else(|| EMULATOR.into()));
        emulator.args(qemu::args(spec, &ground.image.files(), &sockets)).env("TMPDIR", &places.scratch);
        emulator.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut emulator = Running::start(&mut emulator).context("cannot start the emulator")?;
        let console = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(out) = emulator.0.stdout.take() {
            keep(out, &console);
        }
        if let Some(err) = emulator.0.stderr.take() {
            keep(err, &console);
        }
        let greeted = greet(&listener, &mut emulator);
        let (link, heard, kernel) = greeted.map_err(|error| {
            let said = last_words(&console);
            error.context(format!("the guest did not come up; its console said:\n{said}"))
        })?;
        Ok(Machine { emulator, link, heard, console, kernel, _daemons: daemons, _places: places })
    }

    /// Runs a command, one at a time, and hands over each line it prints.
    pub(crate) fn run(&mut self, order: &Order, line: &mut dyn FnMut(Stream, &str)) -> Outcome {
        if Frame::Run(order.clone()).write(&mut self.link).is_err() {
            return self.died("it does not take commands any more");
        }
        let deadline = Instant::now() + order.limit + GRACE;
        loop {
            match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Frame::Line(stream, text)) => line(stream, &text),
                Ok(Frame::End(ended)) => return Outcome::Ended(ended),
                Ok(Frame::Hello(_) | Frame::Run(_) | Frame::Quit) => {}
                Err(RecvTimeoutError::Disconnected) => return self.died("it ended"),
                Err(RecvTimeoutError::Timeout) => return self.died("it does not answer"),
            }
        }
    }

    /// Powers it off in good order; what was written to its disks is on them.
    pub(crate) fn off(mut self) -> Result<()> {
        Frame::Quit.write(&mut self.link).context("the guest cannot be told to power off")?;
        let start = Instant::now();
        while start.elapsed() < GRACE {
            if let Some(status) = self.emulator.0.try_wait().context("cannot wait for the emulator")? {
                if status.success() {
                    return Ok(());
                }
                bail!("the emulator ended with {status}:\n{}", last_words(&self.console));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("the guest did not power off:\n{}", last_words(&self.console))
    }

    /// Cuts it off at once, as a power failure does. Its disks can be given to another machine.
    pub(crate) fn cut(self) {}

    /// Waits until it has ended or was cut off.
    pub(crate) fn wait(self) {
        while self.heard.recv().is_ok() {}
    }

    /// What cuts it off from another thread.
    pub(crate) fn cutter(&self) -> Result<Cutter> {
        Ok(Cutter(self.link.try_clone().context("cannot share the link")?))
    }

    fn died(&mut self, how: &str) -> Outcome {
        // What has ended by itself tells its own status, which ending it would hide.
        std::thread::sleep(Duration::from_millis(100));
        let status = self.emulator.0.try_wait().ok().flatten();
        self.emulator.end();
        // The threads that read the console have the rest of it soon.
        std::thread::sleep(Duration::from_millis(100));
        let status = status.map_or_else(String::new, |status| format!(" ({status})"));
        Outcome::Died(format!("{how}{status}; its console said:\n{}", last_words(&self.console)))
    }
}

/// Ends a machine whose own thread waits for a command or for its end.
pub(crate) struct Cutter(UnixStream);

impl Cutter {
    pub(crate) fn cut(&self) {
        // A link that is closed already is as good.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// Waits for the emulator to take up the link, and for the agent's first word.
fn greet(listener: &UnixListener, emulator: &mut Running) -> Result<(UnixStream, Receiver<Frame>, String)> {
    let start = Instant::now();
    listener.set_nonblocking(true).context("cannot listen")?;
    let mut alive = || -> Result<()> {
        if let Some(status) = emulator.0.try_wait().context("cannot wait for the emulator")? {
            bail!("the emulator ended with {status}");
        }
        if start.elapsed() > BOOT {
            bail!("nothing was heard of its agent for {} s", BOOT.as_secs());
        }
        Ok(())
    };
    let link = loop {
        match listener.accept() {
            Ok((link, _)) => break link,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                alive()?;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error).context("cannot take up the link"),
        }
    };
    link.set_nonblocking(false).context("cannot wait on the link")?;
    let mut from = BufReader::new(link.try_clone().context("cannot share the link")?);
    let (send, heard) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok(frame) = Frame::read(&mut from) {
            if send.send(frame).is_err() {
                return;
            }
        }
    });
    loop {
        match heard.recv_timeout(Duration::from_millis(100)) {
            Ok(Frame::Hello(kernel)) => return Ok((link, heard, kernel)),
            Ok(_) => bail!("the agent speaks out of turn"),
            Err(RecvTimeoutError::Timeout) => alive()?,
            Err(RecvTimeoutError::Disconnected) => bail!("the emulator hung up"),
        }
    }
}

/// Keeps the last lines of what a stream says.
fn keep(from: impl Read + Send + 'static, into: &Arc<Mutex<VecDeque<String>>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            let mut lines = into.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == CONSOLE {
                lines.pop_front();
            }
            lines.push_back(line);
            bytes.clear();
        }
    });
}

fn last_words(console: &Mutex<VecDeque<String>>) -> String {
    let lines = console.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.is_empty() {
        return "    nothing".into();
    }
    lines.iter().skip(lines.len().saturating_sub(60)).map(|line| format!("    {line}\n")).collect()
}
