//! Suites of tests that need a guest's kernel: each a test binary of cargo that is built here and run there, case by case.

use super::{
    case::{self, Case, SUITES, Suite},
    ground::Ground,
    host::NoGuest,
    kit::Kit,
    lanes,
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
use std::time::Duration;

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

/// The executable that a message of cargo's names, if it is that of this test target.
fn executable(message: &str, target: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_it = message["target"]["name"] == target && message["target"]["kind"][0] == "test";
    is_it.then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// The cases of these suites whose full names hold the filter, and the executables of today.
fn chosen(suites: &'static [Suite], filter: Option<&str>) -> Result<Vec<Case>> {
    let messages = build()?;
    let mut chosen = Vec::new();
    for suite in suites {
        let exe = messages.lines().find_map(|line| executable(line, suite.name));
        let exe = exe.with_context(|| format!("cargo names no executable of the suite {}", suite.name))?;
        let listed = sh::output(Command::new(&exe).args(["--list", "--format", "terse"]))?;
        chosen.extend(case::chosen(suite, &exe, &listed, filter));
    }
    Ok(chosen)
}

/// All suites, for the test door.
pub(crate) fn suites(filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    at_once(SUITES, filter, &Times::usual(), tally)
}

/// These, in all lanes from the beginning.
fn at_once(suites: &'static [Suite], filter: Option<&str>, times: &Times, tally: &mut Tally) -> Result<()> {
    let Some(ready) = Ready::of(suites, filter, tally)? else { return Ok(()) };
    ready.programs(tally);
    times.open();
    ready.run(times, tally)
}

/// All suites, begun while other tests run: in one lane, for those leave a part of the processors idle.
pub(crate) struct Begun {
    times: Arc<Times>,
    thread: JoinHandle<Result<Tally>>,
}

impl Begun {
    /// Begins. `door` is this executable; what the suites ask in Go has been built.
    pub(crate) fn now(door: PathBuf) -> Begun {
        let times = Arc::new(Times::usual());
        let theirs = Arc::clone(&times);
        let work = move || {
            image(&door);
            let mut tally = Tally::default();
            if let Some(ready) = Ready::of(SUITES, None, &mut tally)? {
                ready.run(&theirs, &mut tally)?;
            }
            Ok(tally)
        };
        Begun { times, thread: std::thread::spawn(work) }
    }

    /// Lets all lanes work, and waits until they are done.
    pub(crate) fn all(self, tally: &mut Tally) -> Result<()> {
        self.times.open();
        tally.add(self.thread.join().map_err(|_| anyhow!("the thread of the suites panicked"))??);
        Ok(())
    }
}

/// Has another process build the image, whose words nobody hears: other tests speak meanwhile. What goes wrong there goes wrong once
/// more when the image is wanted, and is told then.
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
    let times = limit.map_or_else(Times::usual, Times::patient);
    if here {
        let cases = chosen(std::slice::from_ref(suite), filter)?;
        println!("{}: {} cases on this machine's own kernel", suite.name, cases.len());
        times.open();
        lanes::here(cases, &times, tally)?;
    } else {
        at_once(std::slice::from_ref(suite), filter, &times, tally)?;
    }
    if let (Some(filter), true) = (filter, tally.is_empty()) {
        bail!("no case of {} has `{filter}` in its name", suite.name);
    }
    Ok(())
}

/// Suites that can begin.
struct Ready {
    ground: Ground,
    /// What shall run of them.
    cases: Vec<Case>,
}

impl Ready {
    /// Builds and prepares what the chosen cases need; `None` if there are none, or no guests, which the tally then says.
    fn of(suites: &'static [Suite], filter: Option<&str>, tally: &mut Tally) -> Result<Option<Ready>> {
        let chosen = chosen(suites, filter)?;
        if chosen.is_empty() {
            return Ok(None);
        }
        match Ground::ready(Kit::default())? {
            Ok(ground) => Ok(Some(Ready { ground, cases: chosen })),
            Err(NoGuest(why)) => {
                for suite in suites {
                    let count = chosen.iter().filter(|case| case.suite == suite).count();
                    if count > 0 {
                        tally.skip(&format!("the suite {} with its {count} cases", suite.name), &why);
                    }
                }
                Ok(None)
            }
        }
    }

    /// Builds what the cases ask in Go. Where one cannot be had, only its own cases are left out.
    fn programs(&self, tally: &mut Tally) {
        for program in [&go::WITNESS, &go::SANITY] {
            if self.cases.iter().any(|case| case.asks() == Some(program))
                && let Err(error) = program.build()
            {
                say::error(&error);
                tally.fail(program.name);
            }
        }
    }

    /// Runs the cases: in one lane until the gate is open, then in all.
    fn run(self, times: &Times, tally: &mut Tally) -> Result<()> {
        let Ready { mut ground, cases } = self;
        ground.kit = Kit::of_build()?;
        for case in &cases {
            ground.kit.add(&case.exe, &case.suite.program());
        }
        for asked in [&go::WITNESS, &go::SANITY] {
            ground.kit.add_reason(asked.reason)?;
        }
        lanes::in_guests(&ground, cases, LANES, times, tally);
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
