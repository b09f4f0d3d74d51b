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
use anyhow::{Context, Result, bail};
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
}

/// Every suite.
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

/// All suites, for the test door.
pub(crate) fn suites(filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let start = Instant::now();
    SUITES.iter().try_for_each(|suite| begun(suite, filter, false, Times::usual(start), tally))
}

/// One suite, for a person; with `here` on this machine's own kernel, with `limit` with so much time for each case, and all of them as long as they take.
pub(super) fn one(
    suite: &Suite,
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

fn begun(suite: &Suite, filter: Option<&str>, here: bool, times: Times, tally: &mut Tally) -> Result<()> {
    let exe = build()?.lines().find_map(|line| executable(line, suite.name));
    let exe = exe.with_context(|| format!("cargo names no executable of the suite {}", suite.name))?;
    let cases = cases(suite, &exe, filter)?;
    if cases.is_empty() {
        return Ok(());
    }
    let count = cases.len();
    if here {
        println!("{}: {count} cases on this machine's own kernel", suite.name);
        return lanes::here(&exe, cases, times, tally);
    }
    let mut ground = match Ground::ready(Kit::default())? {
        Ok(ground) => ground,
        Err(NoGuest(why)) => {
            tally.skip(&format!("the suite {} with its {count} cases", suite.name), &why);
            return Ok(());
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
    let program = format!("test-{}", suite.name);
    ground.kit = Kit::of_build()?;
    ground.kit.add(&exe, &program);
    for program in [&go::WITNESS, &go::SANITY] {
        ground.kit.add_reason(program.reason)?;
    }
    let spec = Spec { memory: suite.memory, ..Spec::plain(suite.name) };
    let work = Work { ground: &ground, spec, exe: &exe, program, lanes: LANES, times };
    println!("{}: {count} cases in guests ({})", suite.name, ground.about());
    say::flush();
    lanes::in_guests(&work, cases, tally);
    Ok(())
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
