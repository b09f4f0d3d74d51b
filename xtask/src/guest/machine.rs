//! A running guest: two processes of the host and a link to the agent inside, all of which end with this value and with this process.

use super::{
    ground::Ground,
    host::EMULATOR,
    link::{Ended, Frame, Order},
    places::Places,
    qemu::{self, Sockets, Spec},
};
use crate::{machine, sh::Stream};
use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A machine that has not come up by then does not; on a busy host it takes a tenth of it.
const BOOT: Duration = Duration::from_secs(180);
/// How long an agent may take to say that it has ended something at its limit, or a machine to power off.
const GRACE: Duration = Duration::from_secs(30);
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
    emulator: Child,
    daemon: Child,
    link: UnixStream,
    heard: Receiver<Frame>,
    console: Arc<Mutex<VecDeque<String>>>,
    /// The kernel that it runs.
    pub(crate) kernel: String,
    _places: Places,
}

impl Machine {
    /// Starts a machine and waits until its agent answers. The thread that does so must live as long as the machine.
    pub(crate) fn boot(ground: &Ground, spec: &Spec) -> Result<Machine> {
        let places = Places::make(&ground.runs(), &ground.kit, spec.share.as_deref())?;
        let sockets = Sockets(&places.sockets);
        let listener = UnixListener::bind(sockets.agent()).context("cannot make a socket for the agent")?;
        let mut daemon = share_folder(ground, &places.share, &sockets.share())?;
        if let Err(error) = await_socket(&mut daemon, &sockets.share()) {
            end(&mut daemon);
            return Err(error);
        }
        let mut emulator = mortal(&machine::find(EMULATOR).unwrap_or_else(|| EMULATOR.into()));
        emulator.args(qemu::args(spec, &ground.image.files(), &sockets)).env("TMPDIR", &places.scratch);
        emulator.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut emulator = match emulator.spawn() {
            Ok(emulator) => emulator,
            Err(error) => {
                end(&mut daemon);
                return Err(error).context("cannot start the emulator");
            }
        };
        let console = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(out) = emulator.stdout.take() {
            keep(out, &console);
        }
        if let Some(err) = emulator.stderr.take() {
            keep(err, &console);
        }
        let (link, heard, kernel) = match greet(&listener, &mut emulator) {
            Ok(greeted) => greeted,
            Err(error) => {
                end(&mut emulator);
                end(&mut daemon);
                let said = last_words(&console);
                return Err(error.context(format!("the guest did not come up; its console said:\n{said}")));
            }
        };
        Ok(Machine { emulator, daemon, link, heard, console, kernel, _places: places })
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
            if let Some(status) = self.emulator.try_wait().context("cannot wait for the emulator")? {
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
        // What has ended by itself tells its own status, which `end` would hide.
        std::thread::sleep(Duration::from_millis(100));
        let status = self.emulator.try_wait().ok().flatten();
        end(&mut self.emulator);
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

impl Drop for Machine {
    fn drop(&mut self) {
        end(&mut self.emulator);
        end(&mut self.daemon);
    }
}

/// A process that the kernel kills when the thread that starts it ends, however that comes.
fn mortal(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The guest keeps what it has read once, also beyond the end of a program: without that each start of an executable reads it anew,
/// page by page, and takes ten times as long. What the host changes in the folder later, the guest may not see.
fn share_folder(ground: &Ground, folder: &Path, socket: &Path) -> Result<Child> {
    let with = |name: &str, path: &Path| {
        let mut word = OsString::from(name);
        word.push(path);
        word
    };
    // The one written in Rust, from Debian 13 on, or the older one written in C.
    let newer = Path::new("/usr/libexec/virtiofsd");
    let mut daemon = if newer.exists() {
        let mut daemon = mortal(newer);
        daemon.arg(with("--shared-dir=", folder)).args(["--sandbox=chroot", "--cache=always"]);
        daemon
    } else {
        let mut daemon = mortal(&ground.image.daemon());
        daemon.arg("-o").arg(with("source=", folder)).args(["-o", "sandbox=chroot", "-o", "cache=always"]);
        daemon
    };
    daemon.arg(with("--socket-path=", socket));
    daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    daemon.spawn().context("cannot start virtiofsd")
}

fn await_socket(daemon: &mut Child, socket: &Path) -> Result<()> {
    let start = Instant::now();
    while !socket.exists() {
        if let Some(status) = daemon.try_wait().context("cannot wait for virtiofsd")? {
            let mut said = String::new();
            // What it said is only more about an error that is told anyway.
            let _ = daemon.stderr.take().map(|mut err| err.read_to_string(&mut said));
            bail!("virtiofsd ended with {status}: {}", said.trim());
        }
        if start.elapsed() > GRACE {
            bail!("virtiofsd makes no socket");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // Nobody reads what it says from now on, so it must not be able to wait for that.
    if let Some(err) = daemon.stderr.take() {
        std::thread::spawn(move || std::io::copy(&mut BufReader::new(err), &mut std::io::sink()));
    }
    Ok(())
}

/// Waits for the emulator to take up the link, and for the agent's first word.
fn greet(listener: &UnixListener, emulator: &mut Child) -> Result<(UnixStream, Receiver<Frame>, String)> {
    let start = Instant::now();
    listener.set_nonblocking(true).context("cannot listen")?;
    let mut alive = || -> Result<()> {
        if let Some(status) = emulator.try_wait().context("cannot wait for the emulator")? {
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

fn end(child: &mut Child) {
    // Already ended is as good.
    let _ = child.kill();
    let _ = child.wait();
}
