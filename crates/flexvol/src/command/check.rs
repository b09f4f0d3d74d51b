//! `flexvol check`: the judge asked, and its report for people, programs and build servers.

mod junit;

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    sync::atomic::{AtomicI32, Ordering},
};

use flexvolume_conformance::{
    ALL, Call, Check as One, Count, Described, Finding, Job, LEFT_OUT, Level, NOT_ASKED, Outcome, Report, Ruling,
    Severity, Trouble, chosen,
};
use flexvolume_linux::signal;
use flexvolume_protocol::DriverName;
use serde::Serialize;

use super::ground::{Done, settings};
use crate::{
    cli::{Check, CheckLevel, Cli},
    output::Show,
    problem::Problems,
    speak::{say, tell},
};

/// The report as programs get it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    fit: bool,
    verdict: Ruling,
    #[serde(flatten)]
    count: Count,
    #[serde(flatten)]
    report: &'a Report,
}

/// A check as `--list` shows it.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    severity: Severity,
    level: Level,
    why: &'static str,
    section: &'static str,
}

/// The exit code where nothing was judged: neither fit nor not fit.
const NOTHING: u8 = 7;

/// The signal that asks us to end, once there was one.
static ASKED: AtomicI32 = AtomicI32::new(0);

fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed) != 0
}

pub(super) fn check(cli: &Cli, show: &Show, wanted: &Check) -> Done {
    if wanted.list {
        return list(show, wanted);
    }
    let mut job = job(cli, wanted)?;
    chosen(&job.only, &job.skip, job.level).map_err(problem)?;
    // What a person waits minutes for is not lost for want of a place.
    let mut junit =
        wanted.junit.as_deref().map(|file| File::create(file).map(|open| (open, file))).transpose().map_err(
            |error| Problems::usage(format!("--junit: cannot be written: {error}"), "name a file that can be written"),
        )?;
    if wanted.options.is_none() {
        tell!("no volume is described (--options), so none of the driver's own options is given");
    }
    job.asked = Some(is_asked);
    job.on_call = (cli.verbose > 0).then_some(tell_call);
    // Without it a signal ends us as ever, and what was begun stays.
    let _ = signal::on_ask_to_end(|signal| {
        ASKED.store(signal, Ordering::Relaxed);
        tell!("ending: what was begun is taken away; once more, and it stays as it is");
    });
    let _ = flexvolume_linux::process::settle();
    let mut groups = Groups { people: show.is_table(), all: cli.verbose > 0, ..Groups::default() };
    let report = flexvolume_conformance::check(&job, &mut |finding| groups.hear(finding)).map_err(problem)?;
    groups.tell();
    if let Some((open, file)) = &mut junit {
        write(open, file, &junit::text(&report))?;
    }
    let (count, verdict) = (report.count(), report.ruling());
    if show.is_table() {
        summary(&report, count);
    } else {
        show.value(&Whole { fit: report.is_fit(), verdict, count, report: &report })?;
    }
    // By convention, whatever was found before.
    if report.ended {
        return Err(Problems::told(u8::try_from(128 + ASKED.load(Ordering::Relaxed)).unwrap_or(1)));
    }
    match verdict {
        Ruling::Fit => Ok(()),
        Ruling::NotFit | Ruling::Ended => Err(Problems::told(1)),
        Ruling::NothingJudged => Err(Problems::told(NOTHING)),
    }
}

fn tell_call(call: &Call) {
    tell!("{}", call.line());
}

fn job(cli: &Cli, wanted: &Check) -> Done<Job> {
    let driver = wanted.driver.as_deref().unwrap_or_default();
    let mut job = Job::new(executable(cli, driver)?);
    if let Some(file) = &wanted.options {
        let text = fs::read_to_string(file).map_err(|error| {
            Problems::usage(
                format!("cannot read {}: {error}", file.display()),
                "give a JSON file that describes the volume: {\"options\": {…}}",
            )
        })?;
        job.volume = Described::parse(&text).map_err(|error| {
            Problems::usage(format!("{}: {error}", file.display()), "docs/check.md shows such a file")
        })?;
    }
    job.level = wanted.level.map_or(Level::Kubernetes, level);
    job.may_destroy = wanted.destroy;
    job.limit = wanted.timeout;
    job.root = std::path::absolute(&wanted.scratch)
        .map_err(|error| Problems::usage(format!("--scratch: {error}"), "give a path that exists"))?;
    (job.only, job.skip) = (wanted.only.clone(), wanted.skip.clone());
    Ok(job)
}

fn level(level: CheckLevel) -> Level {
    match level {
        CheckLevel::Kubernetes => Level::Kubernetes,
        CheckLevel::Flexvol => Level::Flexvol,
    }
}

/// A file, or the driver of that name in the plugin directory.
fn executable(cli: &Cli, driver: &str) -> Done<std::path::PathBuf> {
    let path = Path::new(driver);
    let installed = DriverName::parse(driver)
        .ok()
        .and_then(|name| Some(settings(cli).ok()?.plugin_dir.join(name.dir()).join(name.executable())));
    match installed.filter(|installed| installed.is_file() && !path.is_file()) {
        Some(installed) => Ok(installed),
        None => std::path::absolute(path)
            .map_err(|error| Problems::usage(format!("{driver}: {error}"), "give the driver's executable")),
    }
}

fn problem(trouble: Trouble) -> Problems {
    let hint = match &trouble {
        Trouble::NotRoot => "run it as root, or in a namespace where you are: unshare --user --map-root-user --mount",
        Trouble::Unknown { .. } | Trouble::Nothing(_) => "flexvol check --list names every check",
        Trouble::Path(_) | Trouble::Linux(_) | Trouble::Asked | Trouble::Lost => "flexvol check --help shows examples",
    };
    match trouble {
        Trouble::Linux(error) => error.into(),
        Trouble::Asked | Trouble::Lost => Problems::usage(trouble.to_string(), hint).code(1),
        Trouble::Path(_) | Trouble::Unknown { .. } | Trouble::Nothing(_) | Trouble::NotRoot => {
            Problems::usage(trouble.to_string(), hint)
        }
    }
}

fn write(open: &mut File, file: &Path, text: &str) -> Done {
    open.write_all(text.as_bytes()).map_err(|error| {
        Problems::usage(format!("cannot write {}: {error}", file.display()), "name a file that can be written")
    })
}

/// Every check that would be made; of every level if none is named.
fn list(show: &Show, wanted: &Check) -> Done {
    let all = chosen(&wanted.only, &wanted.skip, wanted.level.map_or(Level::Flexvol, level)).map_err(problem)?;
    let row = |check: &One| Row {
        name: check.name,
        severity: check.severity,
        level: check.level,
        why: check.why,
        section: check.section,
    };
    let rows: Vec<_> = all.into_iter().map(row).collect();
    show.rows(
        &["CHECK", "SEVERITY", "LEVEL", "DEMAND"],
        &rows,
        |row| {
            let (severity, level) = (row.severity.as_str().to_owned(), row.level.as_str().to_owned());
            vec![row.name.to_owned(), severity, level, format!("{} [{}]", row.why, row.section)]
        },
        "",
    )
}

/// Findings come one by one, and are told group by group.
#[derive(Default)]
struct Groups {
    people: bool,
    all: bool,
    group: String,
    findings: Vec<Finding>,
}

impl Groups {
    fn hear(&mut self, finding: &Finding) {
        let group = finding.name.split('.').next().unwrap_or_default();
        if self.group != group {
            self.tell();
            self.group = group.to_owned();
        }
        self.findings.push(finding.clone());
    }

    fn tell(&mut self) {
        let mut findings = std::mem::take(&mut self.findings);
        findings.retain(|one| !matches!(&one.outcome, Outcome::Skipped { reason } if reason == NOT_ASKED));
        if !self.people || findings.is_empty() {
            return;
        }
        let mut passed = 0;
        let mut reasons: Vec<(&str, usize)> = Vec::new();
        for finding in &findings {
            match &finding.outcome {
                Outcome::Passed => passed += 1,
                Outcome::Skipped { reason } => match reasons.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, count)) => *count += 1,
                    None => reasons.push((reason, 1)),
                },
                Outcome::Failed { .. } => {}
            }
        }
        let failed = findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Failed { .. })).count();
        let of = findings.len();
        let colour = if failed > 0 {
            "1;31"
        } else if passed > 0 {
            "32"
        } else {
            "2"
        };
        // As wide as the longest of all.
        let groups = ALL.iter().flat_map(|room| room.iter()).filter_map(|check| check.name.split('.').next());
        let width = groups.map(str::len).max().unwrap_or_default();
        say!("\x1b[{colour}m{:<width$}\x1b[0m {passed} of {of} passed", self.group);
        for (reason, count) in &reasons {
            say!("  skipped {count}: {reason}");
        }
        for finding in &findings {
            let is_failed = matches!(finding.outcome, Outcome::Failed { .. });
            if is_failed || self.all {
                finding.to_string().lines().for_each(|line| say!("  {line}"));
            }
        }
    }
}

fn summary(report: &Report, count: Count) {
    let Count { passed, failed, warned, skipped } = count;
    say!("");
    if let Some(slowest) = report.times.iter().max_by_key(|time| time.longest_ms) {
        let calls: usize = report.times.iter().map(|time| time.calls).sum();
        say!("{calls} calls; the longest was {} with {} ms", slowest.verb, slowest.longest_ms);
    }
    if let Some(refused) = &report.refused {
        say!("{refused}");
    }
    for earlier in &report.earlier {
        say!("taken away first, since a judge was killed: {earlier}, and what it had begun");
    }
    for left in &report.left {
        say!("left behind: {left}");
    }
    let verdict = match report.ruling() {
        Ruling::Fit => "\x1b[32mfit\x1b[0m",
        Ruling::NotFit => "\x1b[1;31mnot fit\x1b[0m",
        Ruling::NothingJudged => "\x1b[33mnothing judged\x1b[0m",
        Ruling::Ended => "\x1b[33mnot judged to the end\x1b[0m",
    };
    let level = report.level.as_str();
    let is_part = |one: &Finding| matches!(&one.outcome, Outcome::Skipped { reason } if reason == NOT_ASKED || reason == LEFT_OUT);
    let as_far = if report.findings.iter().any(is_part) { " as far as was asked" } else { "" };
    say!(
        "{}: {verdict} for {level}{as_far}: {passed} passed, {failed} failed, {warned} warned, {skipped} skipped",
        report.driver
    );
    if skipped > 0 && !report.findings.is_empty() {
        tell!("flexvol -v check shows every check");
    }
}
