//! Suites of tests that need a guest's kernel: each a test binary of cargo that is built here and run there, case by case.

use super::{
    ground::Ground,
    host::NoGuest,
    kit::Kit,
    lanes::{self, Case, Work},
    qemu::Spec,
    times::Times,
};
use crate::{go, say, sh, tally::Tally};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A suite.
#[derive(Debug)]
pub(crate) struct Suite {
    /// Its name, and that of the test target in the package of tests.
    pub(crate) name: &'static str,
    /// Memory of each of its machines in MiB. Half of it is at most what files below `/tmp` may take.
    memory: u32,
    /// How many of all machines are its own while both suites run: what one waits for, the other computes.
    lanes: usize,
}

/// Every suite.
pub(crate) const SUITES: &[Suite] =
    &[Suite { name: "lvm", memory: 1536, lanes: 2 }, Suite { name: "nfs", memory: 1024, lanes: 1 }];

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

/// The cases of a test binary whose full names hold the filter.
fn cases(suite: &Suite, exe: &Path, filter: Option<&str>) -> Result<Vec<Case>> {
    let listed = sh::output(Command::new(exe).args(["--list", "--format", "terse"]))?;
    Ok(chosen(suite.name, &listed, filter))
}

fn chosen(suite: &str, listed: &str, filter: Option<&str>) -> Vec<Case> {
    let cases = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let cases = cases.map(|name| Case { name: name.to_owned(), full: format!("{suite}::{name}") });
    let mut cases: Vec<Case> = cases.filter(|case| filter.is_none_or(|filter| case.full.contains(filter))).collect();
    // What takes long comes first, so that in the end no machine is alone with it. Those that want another kind of machine stand
    // together, so that few are started.
    cases.sort_by_key(|case| (!case.is_outside(), !case.wants_udev(), !case.is_long()));
    cases
}

/// All suites, for the test door, side by side.
pub(crate) fn suites(filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let times = Times::usual(Instant::now());
    let mut ready = Vec::new();
    for suite in SUITES {
        ready.extend(Ready::of(suite, filter, tally)?);
    }
    let alone = ready.len() == 1;
    std::thread::scope(|scope| {
        let run = |one: Ready| {
            let lanes = if alone { LANES } else { one.suite.lanes };
            scope.spawn(move || one.run(lanes, times))
        };
        let running: Vec<_> = ready.into_iter().map(run).collect();
        for suite in running {
            tally.add(suite.join().map_err(|_| anyhow!("the thread of a suite panicked"))?);
        }
        Ok(())
    })
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
    begun(suite, filter, here, times, tally)?;
    if let (Some(filter), true) = (filter, tally.is_empty()) {
        bail!("no case of {} has `{filter}` in its name", suite.name);
    }
    Ok(())
}

fn begun(suite: &'static Suite, filter: Option<&str>, here: bool, times: Times, tally: &mut Tally) -> Result<()> {
    if here {
        let exe = built(suite)?;
        let cases = cases(suite, &exe, filter)?;
        println!("{}: {} cases on this machine's own kernel", suite.name, cases.len());
        return lanes::here(&exe, cases, times, tally);
    }
    if let Some(ready) = Ready::of(suite, filter, tally)? {
        tally.add(ready.run(LANES, times));
    }
    Ok(())
}

/// The suite's executable, of today.
fn built(suite: &Suite) -> Result<PathBuf> {
    let exe = build()?.lines().find_map(|line| executable(line, suite.name));
    exe.with_context(|| format!("cargo names no executable of the suite {}", suite.name))
}

/// A suite that can begin.
struct Ready {
    suite: &'static Suite,
    ground: Ground,
    exe: PathBuf,
    cases: Vec<Case>,
}

impl Ready {
    /// Builds and prepares what its chosen cases need; `None` if there are none, or no guests, which the tally then says.
    fn of(suite: &'static Suite, filter: Option<&str>, tally: &mut Tally) -> Result<Option<Ready>> {
        let exe = built(suite)?;
        let cases = cases(suite, &exe, filter)?;
        if cases.is_empty() {
            return Ok(None);
        }
        let mut ground = match Ground::ready(Kit::default())? {
            Ok(ground) => ground,
            Err(NoGuest(why)) => {
                tally.skip(&format!("the suite {} with its {} cases", suite.name, cases.len()), &why);
                return Ok(None);
            }
        };
        // Where one cannot be had, only its own cases are left out.
        for program in [&go::WITNESS, &go::SANITY] {
            if cases.iter().any(|case| case.asks() == Some(program))
                && let Err(error) = program.build()
            {
                say::error(&error);
                tally.fail(program.name);
            }
        }
        ground.kit = Kit::of_build()?;
        ground.kit.add(&exe, &Self::program(suite));
        for program in [&go::WITNESS, &go::SANITY] {
            ground.kit.add_reason(program.reason)?;
        }
        println!("{}: {} cases in guests ({})", suite.name, cases.len(), ground.about());
        say::flush();
        Ok(Some(Ready { suite, ground, exe, cases }))
    }

    /// What its executable is called in the guest.
    fn program(suite: &Suite) -> String {
        format!("test-{}", suite.name)
    }

    /// Runs its cases, in so many machines at a time.
    fn run(self, lanes: usize, times: Times) -> Tally {
        let Ready { suite, ground, exe, cases } = self;
        let spec = Spec { memory: suite.memory, ..Spec::plain(suite.name) };
        let work = Work { ground: &ground, spec, exe: &exe, program: Self::program(suite), lanes, times };
        let mut tally = Tally::default();
        lanes::in_guests(&work, cases, &mut tally);
        tally
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

    #[test]
    fn cases_are_chosen_by_their_full_names() {
        let listed = "a::one: test\nudev::a: test\noutside::cut: test\nb::two: test\njudge::c: test\nx: benchmark\n";
        let names = |filter| chosen("lvm", listed, filter).into_iter().map(|case| case.name).collect::<Vec<_>>();
        assert_eq!(names(None), ["outside::cut", "udev::a", "judge::c", "a::one", "b::two"]);
        assert_eq!(names(Some("lvm")).len(), 5);
        assert_eq!(names(Some("lvm::b")), ["b::two"]);
        assert!(names(Some("it")).is_empty());
    }
}
