//! Cases given out to machines: each lane takes the next case, has its machine run it, and says what came of it. A machine that dies
//! costs the case that killed it and no other; after a case that failed the next one gets a fresh machine.

use super::{
    ground::Ground,
    link::{Ended, Order},
    machine::{Machine, Outcome},
    qemu::Spec,
};
use crate::{
    sh::{self, End, Stream},
    tally::{Reader, Tally},
};
use anyhow::{Result, anyhow};
use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// A case of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// As its binary knows it.
    pub(super) name: String,
    /// With its suite before it, as a person knows it.
    pub(super) full: String,
}

impl Case {
    /// Cases of the module `outside` run on the host and start machines themselves.
    pub(super) fn is_outside(&self) -> bool {
        self.name.starts_with("outside::")
    }
}

/// After this a case is ended, and the machine it ran in thrown away.
const CASE_LIMIT: Duration = Duration::from_secs(5 * 60);

/// What cases run by, and in.
pub(super) struct Work<'a> {
    pub(super) ground: &'a Ground,
    /// What each machine shall be.
    pub(super) spec: Spec,
    /// The binary on the host.
    pub(super) exe: &'a Path,
    /// Its name in the guest.
    pub(super) program: String,
    /// So many machines at a time.
    pub(super) lanes: usize,
    /// No case begins after this.
    pub(super) deadline: Instant,
}

/// What came of one case.
struct Report {
    case: Case,
    took: Duration,
    verdict: Verdict,
}

enum Verdict {
    /// It ended by itself; its output says how.
    Said { tally: Tally, output: Vec<String> },
    /// It did not end well, and why.
    Lost { why: String, output: Vec<String> },
}

/// What a case says, and what it comes to.
struct Listener {
    reader: Reader,
    output: Vec<String>,
}

impl Listener {
    fn new() -> Listener {
        Listener { reader: Reader::new(), output: Vec::new() }
    }

    fn line(&mut self, stream: Stream, line: &str) {
        match stream {
            Stream::Out => {
                if self.reader.out(line) {
                    self.output.push(line.to_owned());
                }
            }
            Stream::Err => {
                self.reader.err(line);
                self.output.push(line.to_owned());
            }
        }
    }

    fn end(self, status: i32) -> Verdict {
        Verdict::Said { tally: self.reader.end(status == 0), output: self.output }
    }

    fn lost(self, why: impl Into<String>) -> Verdict {
        Verdict::Lost { why: why.into(), output: self.output }
    }
}

/// The words after the binary's name that run one case and show what it says.
fn words(case: &Case) -> [&str; 4] {
    ["--exact", &case.name, "--show-output", "--test-threads=1"]
}

/// Runs the cases, in as many machines at a time as the work says.
pub(super) fn in_guests(work: &Work, cases: Vec<Case>, tally: &mut Tally) {
    let lanes = work.lanes.min(cases.len());
    let queue = Mutex::new(VecDeque::from(cases));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        let (send, reports) = mpsc::channel();
        for _ in 0..lanes {
            let send = send.clone();
            let next = &next;
            scope.spawn(move || {
                let mut lane = Lane { work, machine: None };
                while let Some(case) = next() {
                    let start = Instant::now();
                    let verdict = if start < work.deadline {
                        lane.run(&case)
                    } else {
                        Listener::new().lost("not begun: the time for all guests was over")
                    };
                    if send.send(Report { case, took: start.elapsed(), verdict }).is_err() {
                        return;
                    }
                }
                lane.close();
            });
        }
        drop(send);
        for report in reports {
            tell(report, tally);
        }
    });
}

/// Runs them one after the other on this machine.
pub(super) fn here(exe: &Path, cases: Vec<Case>, tally: &mut Tally) -> Result<()> {
    for case in cases {
        let start = Instant::now();
        let verdict = on_host(exe, &case, "here")?;
        tell(Report { case, took: start.elapsed(), verdict }, tally);
    }
    Ok(())
}

/// One case as a process of the host, which is told by the variable what the suite runs in.
fn on_host(exe: &Path, case: &Case, place: &str) -> Result<Verdict> {
    let mut command = Command::new(exe);
    command.args(words(case)).env(PLACE, place).env(DOOR, sh::bin_dir()?.join("xtask"));
    let mut listener = Listener::new();
    let end = sh::watch(&mut command, CASE_LIMIT, &mut |stream, line| listener.line(stream, line))?;
    Ok(match end {
        End::Status(status) => listener.end(status.code().unwrap_or(1)),
        End::TimedOut => listener.lost(format!("it was not done after {} s", CASE_LIMIT.as_secs())),
    })
}

/// Tells a suite where it runs: `guest`, `outside` (on the host, with guests of its own), `here` (on the host by a person's wish).
const PLACE: &str = "FLEXVOL_GUEST";
/// Tells a case outside by which executable it can start machines.
const DOOR: &str = "FLEXVOL_DOOR";

struct Lane<'a> {
    work: &'a Work<'a>,
    machine: Option<Machine>,
}

impl Lane<'_> {
    fn run(&mut self, case: &Case) -> Verdict {
        if case.is_outside() {
            return on_host(self.work.exe, case, "outside")
                .unwrap_or_else(|error| Listener::new().lost(format!("{error:#}")));
        }
        let mut machine = match self.machine.take().map_or_else(|| self.boot(), Ok) {
            Ok(machine) => machine,
            Err(error) => return Listener::new().lost(format!("{error:#}")),
        };
        let mut order = Order { limit: CASE_LIMIT, ..Order::default() };
        order.argv.push(format!("/vm/bin/{}", self.work.program));
        order.argv.extend(words(case).map(str::to_owned));
        order.env.push((PLACE.into(), "guest".into()));
        if let Ok(wish) = std::env::var("RUST_BACKTRACE") {
            order.env.push(("RUST_BACKTRACE".into(), wish));
        }
        let mut listener = Listener::new();
        match machine.run(&order, &mut |stream, line| listener.line(stream, line)) {
            Outcome::Ended(Ended::Status(status)) => {
                // One that failed may have left anything behind.
                if status == 0 {
                    self.machine = Some(machine);
                }
                listener.end(status)
            }
            Outcome::Ended(Ended::NotStarted) => listener.lost("it could not be begun"),
            Outcome::Ended(Ended::TimedOut) => {
                listener.lost(format!("it was not done after {} s", CASE_LIMIT.as_secs()))
            }
            Outcome::Died(why) => listener.lost(format!("the machine died in it: {why}")),
        }
    }

    fn boot(&self) -> Result<Machine> {
        Machine::boot(self.work.ground, &self.work.spec)
            .map_err(|error| anyhow!("there was no machine for it: {error:#}"))
    }

    /// Its disks are nobody's, so it need not be powered off in good order.
    fn close(self) {
        self.machine.map(Machine::cut).unwrap_or_default();
    }
}

fn tell(report: Report, tally: &mut Tally) {
    let Report { case, took, verdict } = report;
    let seconds = took.as_secs_f32();
    let show = |word: &str, output: &[String]| {
        println!("test {} ... {word} ({seconds:.1} s)", case.full);
        output.iter().for_each(|line| println!("    {line}"));
    };
    match verdict {
        Verdict::Said { tally: mut one, output } => {
            for skip in &mut one.skipped {
                skip.case.clone_from(&case.full);
            }
            one.failures.iter_mut().for_each(|name| name.clone_from(&case.full));
            match (one.failed, one.skipped.is_empty(), one.passed) {
                (0, true, 0) => {
                    show("FAILED: it said nothing of itself", &output);
                    one.fail(&case.full);
                }
                (0, true, _) => show("ok", &[]),
                (0, false, _) => show("skipped", &[]),
                _ => show("FAILED", &output),
            }
            tally.add(one);
        }
        Verdict::Lost { why, output } => {
            show("FAILED", &output);
            println!("    {why}");
            tally.fail(&case.full);
        }
    }
    crate::say::flush();
}
