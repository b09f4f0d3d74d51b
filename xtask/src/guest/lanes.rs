//! Cases given out to machines: each lane takes the next case, has its machine run it, and says what came of it. A machine that dies
//! costs the case that killed it and no other; after a case that failed the next one gets a fresh machine.

use super::{
    ground::Ground,
    link::{Ended, Order},
    machine::{Machine, Outcome},
    qemu::Spec,
    running::Running,
    times::Times,
};
use crate::{
    go::{self, Program},
    sh::{self, End, Stream},
    tally::{Reader, Tally},
};
use anyhow::{Result, anyhow};
use std::collections::VecDeque;
use std::path::Path;
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

    /// The program in Go that it asks: cases of a module `witness` Kubernetes' own host, those of a module `sanity` its suite.
    pub(super) fn asks(&self) -> Option<&'static Program> {
        self.name.split("::").find_map(|module| match module {
            "witness" => Some(&go::WITNESS),
            "sanity" => Some(&go::SANITY),
            _ => None,
        })
    }

    /// Cases of the module `udev` run in machines where udev runs.
    pub(super) fn wants_udev(&self) -> bool {
        self.name.starts_with("udev::")
    }

    /// Cases of these modules call a driver some hundred times.
    pub(super) fn is_long(&self) -> bool {
        ["judge::", "sanity::"].iter().any(|module| self.name.starts_with(module))
    }
}

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
    pub(super) times: Times,
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

/// The words after the binary's name that run one case. What it says is heard at once, for neither a case that hangs nor one whose machine
/// dies gets to show what was kept for later.
fn words(case: &Case) -> [&str; 4] {
    ["--exact", &case.name, "--nocapture", "--test-threads=1"]
}

/// Runs the cases, in as many machines at a time as the work says.
pub(super) fn in_guests(work: &Work, cases: Vec<Case>, tally: &mut Tally) {
    let lane = || Lane { work, machine: None };
    deal(cases, work.lanes, work.times.end, &lane, &mut |report| tell(report, tally));
}

/// What runs cases one after the other.
trait Runner {
    fn run(&mut self, case: &Case) -> Verdict;
}

/// Gives the cases out, each to whoever is free first.
fn deal<R: Runner>(
    cases: Vec<Case>,
    lanes: usize,
    deadline: Option<Instant>,
    runner: &(dyn Fn() -> R + Sync),
    heard: &mut dyn FnMut(Report),
) {
    let lanes = lanes.min(cases.len());
    let queue = Mutex::new(VecDeque::from(cases));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        let (send, reports) = mpsc::channel();
        for _ in 0..lanes {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                // Made here, for a machine ends with the thread that has started it.
                let mut runner = runner();
                while let Some(case) = next() {
                    let start = Instant::now();
                    let verdict = if deadline.is_none_or(|deadline| start < deadline) {
                        runner.run(&case)
                    } else {
                        Listener::new().lost("not begun: the time for all guests was over")
                    };
                    if send.send(Report { case, took: start.elapsed(), verdict }).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        reports.into_iter().for_each(heard);
    });
}

/// Runs them one after the other on this machine.
pub(super) fn here(exe: &Path, cases: Vec<Case>, times: Times, tally: &mut Tally) -> Result<()> {
    for case in cases {
        let start = Instant::now();
        let verdict = on_host(exe, &case, "here", times)?;
        tell(Report { case, took: start.elapsed(), verdict }, tally);
    }
    Ok(())
}

/// One case as a process of the host, which is told by the variable what the suite runs in.
fn on_host(exe: &Path, case: &Case, place: &str, times: Times) -> Result<Verdict> {
    let mut command = Running::command(exe);
    command.args(words(case)).env(PLACE, place).env(DOOR, sh::bin_dir()?.join("xtask")).env(RUNS, Ground::runs()?);
    let (mut listener, limit) = (Listener::new(), times.of_case());
    let end = sh::watch(&mut command, limit, &mut |stream, line| listener.line(stream, line))?;
    Ok(match end {
        End::Status(status) => listener.end(status.code().unwrap_or(1)),
        End::TimedOut => listener.lost(too_long(limit)),
    })
}

fn too_long(limit: Duration) -> String {
    format!("it was not done after {} s", limit.as_secs())
}

/// Tells a suite where it runs: `guest`, `outside` (on the host, with guests of its own), `here` (on the host by a person's wish).
const PLACE: &str = "FLEXVOL_GUEST";
/// Tells a case outside by which executable it can start machines.
const DOOR: &str = "FLEXVOL_DOOR";
/// And where its disks may lie: what has a dead process' number there is swept.
const RUNS: &str = "FLEXVOL_RUNS";

/// Tells each case how many seconds it has.
const LIMIT: &str = "FLEXVOL_LIMIT";

/// What a person wishes of the cases about power cuts and of kill sweeps is passed on to them.
const WISHES: [&str; 2] = ["FLEXVOL_POWERCUT_", "FLEXVOL_SWEEP"];

/// A machine for many cases, begun when the first wants it. Its disks are nobody's, so it need not be powered off in good order.
struct Lane<'a> {
    work: &'a Work<'a>,
    /// And whether udev runs in it.
    machine: Option<(Machine, bool)>,
}

impl Runner for Lane<'_> {
    fn run(&mut self, case: &Case) -> Verdict {
        if case.is_outside() {
            return on_host(self.work.exe, case, "outside", self.work.times)
                .unwrap_or_else(|error| Listener::new().lost(format!("{error:#}")));
        }
        let udev = case.wants_udev();
        // Taken first, so that one of the other kind has ended before the next begins.
        let fitting = self.machine.take().filter(|(_, has_udev)| *has_udev == udev);
        let mut machine = match fitting.map_or_else(|| self.boot(udev), |(machine, _)| Ok(machine)) {
            Ok(machine) => machine,
            Err(error) => return Listener::new().lost(format!("{error:#}")),
        };
        let mut order = Order { limit: self.work.times.of_case(), ..Order::default() };
        order.argv.push(format!("/vm/bin/{}", self.work.program));
        order.argv.extend(words(case).map(str::to_owned));
        order.env.push((PLACE.into(), "guest".into()));
        order.env.push((LIMIT.into(), order.limit.as_secs().to_string()));
        let is_wish = |name: &str| name == "RUST_BACKTRACE" || WISHES.iter().any(|wish| name.starts_with(wish));
        let wishes = std::env::vars().filter(|(name, _)| is_wish(name));
        order.env.extend(wishes);
        let mut listener = Listener::new();
        match machine.run(&order, &mut |stream, line| listener.line(stream, line)) {
            Outcome::Ended(Ended::Status(status)) => {
                // One that failed may have left anything behind.
                if status == 0 {
                    self.machine = Some((machine, udev));
                }
                listener.end(status)
            }
            Outcome::Ended(Ended::NotStarted) => listener.lost("it could not be begun"),
            Outcome::Ended(Ended::TimedOut) => listener.lost(too_long(order.limit)),
            Outcome::Died(why) => listener.lost(format!("the machine died in it: {why}")),
        }
    }
}

impl Lane<'_> {
    fn boot(&self, udev: bool) -> Result<Machine> {
        Machine::boot(self.work.ground, &Spec { udev, ..self.work.spec.clone() })
            .map_err(|error| anyhow!("there was no machine for it: {error:#}"))
    }
}

fn tell(report: Report, tally: &mut Tally) {
    let Report { case, took, verdict } = report;
    // Suites run side by side, and what is said of one case stands together.
    let _whole = std::io::stdout().lock();
    let seconds = took.as_secs_f32();
    let show = |word: &str, output: &[String]| {
        println!("test {} ... {word} ({seconds:.1} s)", case.full);
        output.iter().for_each(|line| println!("    {line}"));
    };
    match verdict {
        Verdict::Said { tally: mut one, mut output } => {
            // Its one case is known by its full name, and its words about that may stand apart, with its output between.
            one.skipped.truncate(usize::from(one.failed == 0));
            one.skipped.iter_mut().for_each(|skip| skip.case.clone_from(&case.full));
            one.failures = vec![case.full.clone(); one.failed];
            match (one.failed, one.skipped.is_empty(), one.passed) {
                (0, true, 0) => {
                    show("FAILED: it said nothing of itself", &output);
                    one.fail(&case.full);
                }
                (0, true, _) => {
                    // How much of its work a case has done may be part of its result.
                    output.retain(|line| line.starts_with("note: "));
                    show("ok", &output);
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str) -> Case {
        Case { name: name.into(), full: format!("x::{name}") }
    }

    fn said(lines: &[&str], status: i32) -> Verdict {
        let mut listener = Listener::new();
        lines.iter().for_each(|line| {
            listener.line(if line.starts_with("skipped") { Stream::Err } else { Stream::Out }, line);
        });
        listener.end(status)
    }

    fn came_of(verdict: Verdict) -> Tally {
        let mut tally = Tally::default();
        tell(Report { case: case("a"), took: Duration::ZERO, verdict }, &mut tally);
        tally
    }

    fn failed_once() -> Tally {
        let mut tally = Tally::default();
        tally.fail("x::a");
        tally
    }

    struct Counting<'a>(&'a Mutex<Vec<String>>);

    impl Runner for Counting<'_> {
        fn run(&mut self, case: &Case) -> Verdict {
            self.0.lock().unwrap().push(case.name.clone());
            Listener::new().lost("")
        }
    }

    #[test]
    fn each_case_is_run_once_by_any_number_of_lanes() {
        for lanes in [1, 2, 7, 100] {
            let (ran, mut heard) = (Mutex::new(Vec::new()), Vec::new());
            let cases: Vec<Case> = (0..20).map(|number| case(&format!("{number:02}"))).collect();
            let later = Instant::now() + Duration::from_secs(600);
            deal(cases, lanes, Some(later), &|| Counting(&ran), &mut |report| heard.push(report.case.name));
            let mut ran = ran.into_inner().unwrap();
            ran.sort();
            heard.sort();
            assert_eq!(ran, (0..20).map(|number| format!("{number:02}")).collect::<Vec<_>>());
            assert_eq!(ran, heard);
        }
    }

    #[test]
    fn what_has_not_begun_in_time_fails() {
        let (ran, mut tally) = (Mutex::new(Vec::new()), Tally::default());
        let now = Instant::now();
        deal(vec![case("a"), case("b")], 2, Some(now), &|| Counting(&ran), &mut |report| tell(report, &mut tally));
        assert_eq!((ran.into_inner().unwrap().len(), tally.failed), (0, 2));
    }

    #[test]
    fn a_case_comes_to_what_its_binary_says() {
        const OK: &str =
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        const BAD: &str =
            "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(came_of(said(&["test a ... ok", OK], 0)).line(), "1 passed, 0 failed, 0 skipped");
        let skipped = came_of(said(&["test a ... ok", "skipped: no loop devices", OK], 0));
        assert_eq!(
            (skipped.line().as_str(), skipped.skipped[0].case.as_str()),
            ("0 passed, 0 failed, 1 skipped", "x::a")
        );
        assert_eq!(came_of(said(&["test a ... FAILED", BAD], 101)), failed_once());
        let said_between = came_of(said(&["test a ... words", "more", "skipped: not", "FAILED", BAD], 101));
        assert_eq!(said_between, failed_once());
        assert_eq!(
            came_of(said(&["skipped: this", "skipped: that", "ok", OK], 0)).line(),
            "0 passed, 0 failed, 1 skipped"
        );
    }

    #[test]
    fn what_was_said_before_the_machine_died_is_kept() {
        let mut listener = Listener::new();
        listener.line(Stream::Out, "test a ... words");
        listener.line(Stream::Err, "last words");
        let Verdict::Lost { output, .. } = listener.lost("it died") else { panic!() };
        assert_eq!(output, ["test a ... words", "last words"]);
    }

    #[test]
    fn a_case_that_says_nothing_has_not_passed() {
        let none = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.00s";
        for verdict in [said(&[none], 0), said(&[], 0), said(&["test a ... "], 134), Listener::new().lost("died")] {
            assert_eq!(came_of(verdict), failed_once());
        }
    }
}
