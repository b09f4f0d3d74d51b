//! Suites of tests that need a guest's kernel: each a test binary of cargo that is built here and run there, case by case.

use super::{
    case::{self, Case},
    deal::Gate,
    ground::Ground,
    host::NoGuest,
    kit::Kit,
    lanes::{self, Work},
    qemu::Spec,
    running::Running,
    times::Times,
};
use crate::{go, say, sh, tally::Tally};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A suite.
#[derive(Debug)]
pub(crate) struct Suite {
    /// Its name, and that of the test target in the package of tests.
    pub(crate) name: &'static str,
    /// Memory of each of its machines in MiB. Half of it is at most what files below `/tmp` may take.
    memory: u32,
}

/// Every suite. The last one waits for others more than it computes: with it one machine begins beside all other tests.
pub(crate) const SUITES: &[Suite] = &[Suite { name: "lvm", memory: 1536 }, Suite { name: "nfs", memory: 1024 }];

/// So many machines work at a time: as most small machines have two processors, and a case waits for a part of its time.
const LANES: usize = 3;

/// The words by which cargo builds, or checks, the suites: by themselves they are left out, for they need a guest.
pub(crate) fn targets() -> Vec<&'static str> {
    SUITES.iter().flat_map(|suite| ["--test", suite.name]).collect()
}

/// Builds every executable and every suite, so that those in a guest are of today. Gives what cargo says of them, one message a line.
/// What is asked for is part of what the test door builds, with the same features, so that neither undoes the other's work.
pub(super) fn build() -> Result<String> {
    let mut cargo = sh::cargo();
    cargo
        .args(["build", "--quiet", "--workspace", "--bins"])
        .args(targets())
        .arg("--message-format=json-render-diagnostics");
    say::flush();
    let ran = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !ran.status.success() {
        bail!("`{}` ended with {}", sh::typed(&cargo), ran.status);
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// The executable of a suite, among what cargo says.
fn built(messages: &str, suite: &Suite) -> Result<PathBuf> {
    let exe = messages.lines().find_map(|line| executable(line, suite.name));
    exe.with_context(|| format!("cargo names no executable of the suite {}", suite.name))
}

/// The executable that a message of cargo's names, if it is that of this test target.
fn executable(message: &str, target: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_it = message["target"]["name"] == target && message["target"]["kind"][0] == "test";
    is_it.then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// The cases of a test binary whose full names hold the filter.
fn cases(suite: &Suite, exe: &Path, filter: Option<&str>) -> Result<Vec<Case>> {
    let listed = sh::output(Command::new(exe).args(["--list", "--format", "terse"]))?;
    Ok(case::chosen(suite.name, &listed, filter))
}

/// All suites, for the test door.
pub(crate) fn suites(filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let times = Times::usual(Instant::now());
    if let Some(ready) = Ready::of(SUITES, filter, tally)? {
        ready.programs(tally);
        ready.run(times, &Gate::from(()), tally)?;
    }
    Ok(())
}

/// All suites, begun while other tests run: by one machine, for those leave a part of the processors idle.
pub(crate) struct Begun {
    gate: Arc<Gate>,
    thread: JoinHandle<Result<Tally>>,
}

impl Begun {
    /// Begins. `door` is this executable; what the suites ask in Go has been built.
    pub(crate) fn now(door: PathBuf) -> Begun {
        let gate = Arc::new(Gate::new());
        let theirs = Arc::clone(&gate);
        let work = move || {
            image(&door);
            let (times, mut tally) = (Times::usual(Instant::now()), Tally::default());
            if let Some(ready) = Ready::of(SUITES, None, &mut tally)? {
                ready.run(times, &theirs, &mut tally)?;
            }
            Ok(tally)
        };
        Begun { gate, thread: std::thread::spawn(work) }
    }

    /// Lets all machines work, and waits until they are done.
    pub(crate) fn all(self, tally: &mut Tally) -> Result<()> {
        self.gate.get_or_init(|| ());
        tally.add(self.thread.join().map_err(|_| anyhow!("the thread of the suites panicked"))??);
        Ok(())
    }
}

/// Has another process build the image, whose words nobody hears: other tests speak meanwhile. What goes wrong goes wrong again, and
/// is told, when the image is wanted.
fn image(door: &Path) {
    let mut door = Running::command(door);
    door.args(["guest", "image"]).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(mut running) = Running::start(&mut door) {
        running.wait();
    }
}

/// One suite, for a person; with `here` on this machine's own kernel, with `limit` with so much time for each case, and all of them as long as they take.
pub(super) fn one(
    suite: &'static Suite,
    filter: Option<&str>,
    here: bool,
    limit: Option<Duration>,
    tally: &mut Tally,
) -> Result<()> {
    let times = limit.map_or_else(|| Times::usual(Instant::now()), Times::patient);
    if here {
        let exe = built(&build()?, suite)?;
        let cases = cases(suite, &exe, filter)?;
        println!("{}: {} cases on this machine's own kernel", suite.name, cases.len());
        lanes::here(&exe, cases, times, tally)?;
    } else if let Some(ready) = Ready::of(std::slice::from_ref(suite), filter, tally)? {
        ready.programs(tally);
        ready.run(times, &Gate::from(()), tally)?;
    }
    if let (Some(filter), true) = (filter, tally.is_empty()) {
        bail!("no case of {} has `{filter}` in its name", suite.name);
    }
    Ok(())
}

/// Suites that can begin.
struct Ready {
    ground: Ground,
    chosen: Vec<Chosen>,
}

/// A suite, its executable, and those of its cases that shall run.
struct Chosen {
    suite: &'static Suite,
    exe: PathBuf,
    cases: Vec<Case>,
}

impl Ready {
    /// Builds and prepares what the chosen cases need; `None` if there are none, or no guests, which the tally then says.
    fn of(suites: &'static [Suite], filter: Option<&str>, tally: &mut Tally) -> Result<Option<Ready>> {
        let messages = build()?;
        let mut chosen = Vec::new();
        for suite in suites {
            let exe = built(&messages, suite)?;
            let cases = cases(suite, &exe, filter)?;
            if !cases.is_empty() {
                chosen.push(Chosen { suite, exe, cases });
            }
        }
        if chosen.is_empty() {
            return Ok(None);
        }
        match Ground::ready(Kit::default())? {
            Ok(ground) => Ok(Some(Ready { ground, chosen })),
            Err(NoGuest(why)) => {
                for Chosen { suite, cases, .. } in chosen {
                    tally.skip(&format!("the suite {} with its {} cases", suite.name, cases.len()), &why);
                }
                Ok(None)
            }
        }
    }

    /// Builds what the cases ask in Go. Where one cannot be had, only its own cases are left out.
    fn programs(&self, tally: &mut Tally) {
        let cases = || self.chosen.iter().flat_map(|chosen| &chosen.cases);
        for program in [&go::WITNESS, &go::SANITY] {
            if cases().any(|case| case.asks() == Some(program))
                && let Err(error) = program.build()
            {
                say::error(&error);
                tally.fail(program.name);
            }
        }
    }

    /// Runs the cases: in one machine until the gate is open, then in as many as work at a time.
    fn run(self, times: Times, gate: &Gate, tally: &mut Tally) -> Result<()> {
        let Ready { mut ground, chosen } = self;
        let program = |suite: &Suite| format!("test-{}", suite.name);
        ground.kit = Kit::of_build()?;
        for Chosen { suite, exe, .. } in &chosen {
            ground.kit.add(exe, &program(suite));
        }
        for asked in [&go::WITNESS, &go::SANITY] {
            ground.kit.add_reason(asked.reason)?;
        }
        let work = |Chosen { suite, exe, cases }| Work {
            suite: suite.name,
            ground: &ground,
            spec: Spec { memory: suite.memory, ..Spec::plain(suite.name) },
            program: program(suite),
            exe,
            cases,
        };
        let works: Vec<Work> = chosen.into_iter().map(work).collect();
        lanes::in_guests(&works, LANES, times, gate, tally);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_what_cargo_says() {
        let line = |name: &str, kind: &str, exe: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"],"name":"{name}"}},"executable":{exe}}}"#
            )
        };
        assert_eq!(executable(&line("lvm", "test", "\"/x/lvm-1\""), "lvm"), Some("/x/lvm-1".into()));
        for other in
            [line("it", "test", "\"/x\""), line("lvm", "bin", "\"/x\""), line("lvm", "test", "null"), "".into()]
        {
            assert_eq!(executable(&other, "lvm"), None, "{other}");
        }
    }
}
