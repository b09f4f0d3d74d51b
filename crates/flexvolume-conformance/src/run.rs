//! The run: every check there is for the level, in order, each from a clean state; and what is left at the end.

use crate::{
    bed::Bed,
    check::{Act, Check},
    checks,
    job::Job,
    report::{Finding, Outcome, Report},
    stop::Stop,
    trouble::Trouble,
};

/// The reason of checks that nobody asked for.
pub const NOT_ASKED: &str = "not asked for";

/// Judges a driver. `told` hears of every finding as soon as it is there.
///
/// # Errors
/// Only when the judge itself cannot go on: see [`Trouble`]. What the driver does wrong is in the report.
pub fn check(job: &Job, told: &mut dyn FnMut(&Finding)) -> Result<Report, Trouble> {
    for prefix in job.only.iter().chain(&job.skip) {
        if !checks::ALL.iter().flat_map(|room| room.iter()).any(|check| check.name.starts_with(prefix)) {
            return Err(Trouble::Unknown(prefix.clone()));
        }
    }
    if let Some(why) = flexvolume_linux::process::refusal(&job.driver) {
        return Err(why.into());
    }
    let mut bed = Bed::new(job)?;
    let findings = all(&mut bed, told);
    bed.finish();
    let findings = findings?;
    Ok(Report {
        driver: job.name.as_str().to_owned(),
        level: job.level,
        findings,
        left: std::mem::take(&mut bed.left),
        times: bed.caller.times(),
    })
}

fn all(bed: &mut Bed<'_>, told: &mut dyn FnMut(&Finding)) -> Result<Vec<Finding>, Trouble> {
    let of_level = |check: &&Check| check.level <= bed.job.level;
    let wanted: Vec<&Check> = checks::ALL.iter().flat_map(|room| room.iter()).filter(of_level).collect();
    // What is known of a driver by its `init` is known before anything else.
    bed.init = bed.caller.ask(&flexvolume_protocol::Init {})?.done("init").ok().flatten().unwrap_or_default();
    let mut findings: Vec<Option<Finding>> = vec![None; wanted.len()];
    for act_last in [false, true] {
        for (place, check) in wanted.iter().enumerate() {
            if matches!(check.act, Act::Heard) != act_last {
                continue;
            }
            let outcome = match left_out(bed.job, check, &wanted).or_else(|| missing(check, &wanted, &findings)) {
                Some(reason) => Outcome::Skipped { reason },
                None => one(bed, check),
            };
            let finding = finding(check, outcome);
            told(&finding);
            findings[place] = Some(finding);
        }
    }
    Ok(findings.into_iter().flatten().collect())
}

/// Why it is not made although nothing speaks against it.
fn left_out(job: &Job, check: &Check, wanted: &[&Check]) -> Option<String> {
    if begins(&job.skip, check) {
        return Some("left out by name".to_owned());
    }
    (!job.only.is_empty() && !is_asked(&job.only, check, wanted)).then(|| NOT_ASKED.to_owned())
}

fn begins(names: &[String], check: &Check) -> bool {
    names.iter().any(|name| check.name.starts_with(name.as_str()))
}

/// Asked for by name, or needed by one that is.
fn is_asked(only: &[String], check: &Check, wanted: &[&Check]) -> bool {
    let needed = |other: &&Check| other.needs.contains(&check.name) && is_asked(only, other, wanted);
    begins(only, check) || wanted.iter().any(needed)
}

/// How a reason begins if it is that another check failed.
const NEEDS: &str = "it needs ";

/// The check that this one needs and that failed, or was not made for the same reason. One that does not apply to the
/// driver is not missed.
fn missing(check: &Check, wanted: &[&Check], findings: &[Option<Finding>]) -> Option<String> {
    check.needs.iter().find_map(|need| {
        let place = wanted.iter().position(|other| other.name == *need)?;
        match &findings.get(place)?.as_ref()?.outcome {
            Outcome::Passed => None,
            Outcome::Failed { .. } => Some(format!("{NEEDS}{need}, which failed")),
            Outcome::Skipped { reason } => reason.starts_with(NEEDS).then(|| reason.clone()),
        }
    })
}

fn one(bed: &mut Bed<'_>, check: &Check) -> Outcome {
    let place = bed.caller.place();
    let verdict = match check.act {
        Act::Do(act) => {
            let verdict = act(bed);
            let calls = bed.caller.since(place);
            bed.sweep();
            verdict.map_err(|stop| (stop, calls))
        }
        Act::Heard => {
            let faults = bed.caller.faults(check.name);
            match faults.split_first() {
                None => Ok(()),
                Some((first, [])) => Err((Stop::Fault(first.clone()), Vec::new())),
                Some((first, more)) => {
                    Err((Stop::Fault(format!("{first}; and {} times more", more.len())), Vec::new()))
                }
            }
        }
    };
    match verdict {
        Ok(()) => Outcome::Passed,
        Err((Stop::Fault(seen), calls)) => Outcome::Failed { seen: bed.caller.clean(&seen), calls },
        Err((Stop::Skip(reason), _)) => Outcome::Skipped { reason: bed.caller.clean(&reason) },
        // The other checks may still say something.
        Err((Stop::Trouble(trouble), _)) => {
            Outcome::Skipped { reason: bed.caller.clean(&format!("the judge could not go on: {trouble}")) }
        }
    }
}

fn finding(check: &Check, outcome: Outcome) -> Finding {
    let Check { name, severity, why, section, mend, .. } = *check;
    Finding { name, severity, why, section, mend, outcome }
}
