//! Starts the program under the filter and answers its requests, one at a time, until the tree is empty.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};

use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::effects::{self, Caller, When};
use super::execs::Exec;
use super::filter::{self, Answer};
use super::report::{Effect, Ended, Log, Report};
use super::spare::{Spared, find};
use super::spec::{Orphans, Plan, Spec, Verdict, Victim, Writes};
use super::tree::{self, Tree};

/// How long a killed process may take to be gone before we go on without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The supervised run.
struct Run<'a> {
    spec: &'a Spec,
    plan: Plan,
    watch: &'a mut Watch<'a>,
    listener: OwnedFd,
    tree: Tree,
    spared: Spared,
    log: Log,
    root: Root,
    effects: Vec<Effect>,
    execs: Vec<Exec>,
    struck: Option<u64>,
    /// Everyone but the spared is to die: who still asks is killed instead of answered.
    doomed: bool,
    timed_out: bool,
    /// Per process: the descriptor of its current run of writes and that run's length.
    writing: BTreeMap<u32, (u64, u64)>,
}

/// Who sees each effect before it runs.
pub(super) type Watch<'a> = dyn FnMut(&Effect) -> io::Result<Verdict> + 'a;

/// The root process. It begins with a request for its own exec, before `Command::spawn` can return.
enum Root {
    Starting(JoinHandle<io::Result<Child>>),
    Running { pid: u32, child: Child },
    Ended(ExitStatus),
    Stuck,
}

/// What ended the wait.
enum Woken {
    Asked,
    RootEnded,
    Empty,
    Late,
}

pub(super) fn run<'a>(spec: &'a Spec, plan: Plan, watch: &'a mut Watch<'a>) -> io::Result<Report> {
    let mut captured = if spec.capture { Some((tempfile::tempfile()?, tempfile::tempfile()?)) } else { None };
    let log = Log::to(spec.log.as_deref())?;
    let spared = Spared::new(&spec.spare)?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let tree = Tree::new();
    let command = command(spec, tree.mark(), captured.as_ref(), theirs)?;
    // spawn returns only after the exec, and the exec waits for our answer: so it has a thread of its own.
    let starter = thread::spawn(move || { command }.spawn());
    let Some(listener) = filter::receive(ours.as_fd())? else {
        let why = joined(starter).err().map_or_else(|| "it sent no listener".to_owned(), |e| e.to_string());
        return Err(io::Error::other(format!("cannot start {} under the tracer: {why}", spec.exe.display())));
    };
    let mut run = Run {
        spec,
        plan,
        watch,
        listener,
        tree,
        spared,
        log,
        root: Root::Starting(starter),
        effects: Vec::new(),
        execs: Vec::new(),
        struck: None,
        doomed: false,
        timed_out: false,
        writing: BTreeMap::new(),
    };
    let left = run.serve()?;
    let ended = match &run.root {
        Root::Ended(status) => ended(*status),
        Root::Starting(_) | Root::Running { .. } | Root::Stuck => Ended::Stuck,
    };
    run.log.end(ended, left, run.timed_out)?;
    let Run { listener, effects, execs, struck, timed_out, .. } = run;
    if left {
        filter::leave_to_keeper(listener)?;
    }
    let (stdout, stderr) = match &mut captured {
        Some((out, err)) => (whole(out)?, whole(err)?),
        None => (Vec::new(), Vec::new()),
    };
    Ok(Report { effects, execs, struck, ended, left, timed_out, stdout, stderr })
}

fn command(
    spec: &Spec,
    mark: (&str, &str),
    captured: Option<&(File, File)>,
    listener_to: OwnedFd,
) -> io::Result<Command> {
    let mut command = Command::new(find(&spec.exe)?);
    command.args(&spec.args).envs(spec.env.iter().map(|(k, v)| (k, v))).env(mark.0, mark.1);
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    if let Some((out, err)) = captured {
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?);
    }
    let program = filter::program();
    // SAFETY: between fork and exec it makes system calls only, on memory made before the fork.
    unsafe { command.pre_exec(move || filter::bind_and_send(&program, listener_to.as_fd())) };
    Ok(command)
}

impl Run<'_> {
    /// Serves until the tree is empty, or the root has ended and its orphans may be left; says whether any were.
    fn serve(&mut self) -> io::Result<bool> {
        let mut until = self.spec.limit.map(|limit| Instant::now() + limit);
        loop {
            let may_leave = self.spec.after == Orphans::Leave && matches!(self.root, Root::Ended(_));
            if may_leave && (!self.doomed || self.are_only_spared_left()) {
                return Ok(!self.is_empty()?);
            }
            match self.wait(until)? {
                Woken::Asked => self.serve_one()?,
                Woken::RootEnded => self.reap()?,
                Woken::Empty => {
                    // The filter goes a little before its last process does.
                    self.await_root();
                    self.reap()?;
                    return Ok(false);
                }
                Woken::Late if self.timed_out => {
                    if !matches!(self.root, Root::Ended(_)) {
                        self.root = Root::Stuck;
                    }
                    return Ok(true);
                }
                Woken::Late => {
                    self.timed_out = true;
                    self.spared = Spared::default();
                    self.doom();
                    until = Some(Instant::now() + PATIENCE);
                }
            }
        }
    }

    fn wait(&self, until: Option<Instant>) -> io::Result<Woken> {
        let root = self.host().and_then(|pid| self.tree.handle(pid));
        let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
        fds.extend(root.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let rest = until.map(|t| t.saturating_duration_since(Instant::now()));
        let rest = rest.map(|d| Timespec { tv_sec: d.as_secs() as i64, tv_nsec: i64::from(d.subsec_nanos()) });
        match poll(&mut fds, rest.as_ref()) {
            Ok(0) => return Ok(Woken::Late),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return self.wait(until),
            Err(error) => return Err(error.into()),
        }
        let heard = fds[0].revents();
        let root_ended = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        Ok(match (heard.contains(PollFlags::IN), root_ended) {
            (true, _) => Woken::Asked,
            (false, true) => Woken::RootEnded,
            (false, false) => Woken::Empty,
        })
    }

    /// Whether nobody is left under the filter.
    fn is_empty(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(fds[0].revents().contains(PollFlags::HUP))
    }

    fn serve_one(&mut self) -> io::Result<()> {
        let Some(request) = filter::take(self.listener.as_fd())? else { return Ok(()) };
        let caller = Caller { tid: request.pid, args: &request.data.args };
        let Some((pid, comm)) = tree::process_of(caller.tid) else { return Ok(()) };
        self.tree.meet(pid);
        if self.spec.execs {
            self.execs.extend(Exec::of(&caller, pid, i64::from(request.data.nr)));
        }
        if let Root::Starting(_) = self.root {
            self.answer(request.id, Answer::Run)?;
            return self.started(pid);
        }
        let spared = self.spared.is(pid);
        if self.doomed && !spared {
            // One that the search missed, or its child: a fork may have been under way.
            self.tree.kill_all(&self.spared);
            return Ok(());
        }
        let Some(row) = effects::row_of(i64::from(request.data.nr)) else {
            return self.answer(request.id, Answer::Run);
        };
        let passes = spared && !(self.spec.spared_count)(&tree::command_line(pid));
        if passes || !caller.changes_state(row) || !self.counts(pid, row.when, caller.args[0]) {
            return self.answer(request.id, Answer::Run);
        }
        let n = self.effects.len() as u64 + 1;
        let effect = Effect { n, pid, comm, syscall: row.name.to_owned(), detail: caller.detail(row), spared };
        self.log.effect(&effect)?;
        let verdict = (self.watch)(&effect)?;
        self.effects.push(effect);
        match self.plan {
            Plan::Kill { victim, at } if at == n && !(spared && victim == Victim::Actor) => {
                let actor_lives = self.strike(victim, pid)? || spared;
                if actor_lives { self.answer(request.id, Answer::Run) } else { Ok(()) }
            }
            Plan::Inject { errno, at } if at == n && !spared => {
                self.struck = Some(n);
                self.log.struck(n)?;
                self.answer(request.id, Answer::Fail(errno))
            }
            Plan::Count | Plan::Kill { .. } | Plan::Inject { .. } => match verdict {
                Verdict::Runs => self.answer(request.id, Answer::Run),
                Verdict::Pretended => self.answer(request.id, Answer::Pretend),
            },
        }
    }

    fn answer(&self, id: u64, answer: Answer) -> io::Result<()> {
        filter::answer(self.listener.as_fd(), id, answer)
    }

    /// The exec of the root has our leave: now `spawn` returns, with the child or with why the exec failed.
    fn started(&mut self, pid: u32) -> io::Result<()> {
        if let Root::Starting(starter) = std::mem::replace(&mut self.root, Root::Stuck) {
            let child = joined(starter)
                .map_err(|e| io::Error::new(e.kind(), format!("cannot run {}: {e}", self.spec.exe.display())))?;
            self.root = Root::Running { pid, child };
        }
        Ok(())
    }

    /// Whether this write is one to count; any other effect ends the process' run of writes.
    fn counts(&mut self, pid: u32, when: When, fd: u64) -> bool {
        let When::Write = when else {
            self.writing.remove(&pid);
            return true;
        };
        let run = self.writing.entry(pid).or_insert((fd, 0));
        *run = if run.0 == fd { (fd, run.1 + 1) } else { (fd, 1) };
        match self.spec.writes {
            Writes::Runs => run.1.is_power_of_two(),
            Writes::Each => true,
            Writes::No => false,
        }
    }

    /// Kills the victim and waits for its death, so that the next one acts in a world without it. Says whether the
    /// actor is to live: a dying one gets no answer, which could still let it run.
    fn strike(&mut self, victim: Victim, actor: u32) -> io::Result<bool> {
        let n = self.effects.len() as u64;
        self.struck = Some(n);
        self.log.struck(n)?;
        let host = self.host();
        let dying = match victim {
            Victim::Host => host,
            Victim::Actor => Some(actor),
            Victim::Tree => {
                self.doom();
                host
            }
        };
        if let Some(pid) = dying {
            self.tree.kill(pid);
            if let Some(process) = self.tree.handle(pid) {
                tree::wait_end(process, PATIENCE);
            }
            self.reap()?;
        }
        Ok(victim == Victim::Host && host != Some(actor))
    }

    fn doom(&mut self) {
        self.doomed = true;
        self.tree.kill_all(&self.spared);
    }

    /// Whether nobody else is left of a doomed tree; whom the search had missed is killed.
    fn are_only_spared_left(&mut self) -> bool {
        let others = |run: &Self| run.tree.marked().into_iter().any(|pid| !run.spared.is(pid));
        if !others(self) {
            return true;
        }
        self.tree.kill_all(&self.spared);
        !others(self)
    }

    /// The root, as long as it was not reaped.
    fn host(&self) -> Option<u32> {
        match &self.root {
            Root::Running { pid, .. } => Some(*pid),
            Root::Starting(_) | Root::Ended(_) | Root::Stuck => None,
        }
    }

    fn await_root(&self) {
        if let Some(process) = self.host().and_then(|pid| self.tree.handle(pid)) {
            tree::wait_end(process, PATIENCE);
        }
    }

    /// Takes the root's status, if it has ended.
    fn reap(&mut self) -> io::Result<()> {
        if let Root::Running { child, .. } = &mut self.root
            && let Some(status) = child.try_wait()?
        {
            self.root = Root::Ended(status);
        }
        Ok(())
    }
}

fn joined(starter: JoinHandle<io::Result<Child>>) -> io::Result<Child> {
    starter.join().unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, Some(signal)) => Ended::Signalled(signal),
        (None, None) => Ended::Stuck,
    }
}

fn whole(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
