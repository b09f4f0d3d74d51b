//! Lanes of machines: each has its machine run the cases that it is given. A machine that dies costs the case that killed it and no
//! other; after a case that failed the next one gets a fresh machine.

use super::{
    case::{Case, SUITES, Suite},
    deal::{Runner, deal},
    ground::Ground,
    link::{Ended, Order},
    machine::{Machine, Outcome},
    qemu::Spec,
    report::{Listener, Report, Verdict, tell},
    running::Running,
    times::Times,
};
use crate::{
    sh::{self, End},
    tally::Tally,
};
use anyhow::{Result, anyhow};
use std::time::{Duration, Instant};

/// Runs the cases, in so many machines at a time once the gate is open.
pub(super) fn in_guests(ground: &Ground, cases: Vec<Case>, lanes: usize, times: &Times, tally: &mut Tally) {
    let about = headings(&cases, &ground.about());
    let lane = || Lane { ground, times, machine: None };
    deal(cases, lanes, times, &lane, |reports| {
        print!("{about}");
        crate::say::flush();
        reports.into_iter().for_each(|report| tell(report, tally));
    });
}

/// A line for each suite.
fn headings(cases: &[Case], image: &str) -> String {
    let of = |suite: &Suite| cases.iter().filter(|case| case.suite == suite).count();
    let some = SUITES.iter().map(|suite| (suite, of(suite))).filter(|(_, count)| *count > 0);
    some.map(|(suite, count)| format!("{}: {count} cases in guests ({image})\n", suite.name)).collect()
}

/// The words after the binary's name that run one case. What it says is heard at once, for neither a case that hangs nor one whose machine
/// dies gets to show what was kept for later.
fn words(case: &Case) -> [&str; 4] {
    ["--exact", &case.name, "--nocapture", "--test-threads=1"]
}

/// Runs them one after the other on this machine.
pub(super) fn here(cases: Vec<Case>, times: &Times, tally: &mut Tally) -> Result<()> {
    for case in cases {
        let start = Instant::now();
        let verdict = on_host(&case, "here", times)?;
        tell(Report { case, took: start.elapsed(), verdict }, tally);
    }
    Ok(())
}

/// One case as a process of the host, which is told by the variable what the suite runs in.
fn on_host(case: &Case, place: &str, times: &Times) -> Result<Verdict> {
    let mut command = Running::command(&case.exe);
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
    ground: &'a Ground,
    times: &'a Times,
    machine: Option<(Machine, Kind)>,
}

/// What tells one machine from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    suite: &'static Suite,
    udev: bool,
}

impl Runner for Lane<'_> {
    fn run(&mut self, case: &Case) -> Verdict {
        if case.is_outside() {
            return on_host(case, "outside", self.times)
                .unwrap_or_else(|error| Listener::new().lost(format!("{error:#}")));
        }
        let kind = Kind { suite: case.suite, udev: case.wants_udev() };
        // Taken first, so that one of another kind has ended before the next begins.
        let fitting = self.machine.take().filter(|(_, has)| *has == kind);
        let mut machine = match fitting.map_or_else(|| self.boot(kind), |(machine, _)| Ok(machine)) {
            Ok(machine) => machine,
            Err(error) => return Listener::new().lost(format!("{error:#}")),
        };
        let mut order = Order { limit: self.times.of_case(), ..Order::default() };
        order.argv.push(format!("/vm/bin/{}", case.suite.program()));
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
                    self.machine = Some((machine, kind));
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
    fn boot(&self, kind: Kind) -> Result<Machine> {
        Machine::boot(self.ground, &Spec { udev: kind.udev, ..kind.suite.spec() })
            .map_err(|error| anyhow!("there was no machine for it: {error:#}"))
    }
}
