//! The run: every check there is for the level, in order, each from a clean state; and what is left at the end.

use crate::{
    bed::{Bed, scratch},
    blame::{because, is_because},
    check::{Act, Check},
    chosen::{LEFT_OUT, NOT_ASKED, begins, chosen, is_asked, wanted},
    earlier::{Earlier, take_away},
    going::Going,
    job::Job,
    report::{Finding, Outcome, Report},
    stop::Stop,
    trouble::Trouble,
};

/// So many faults of different words are shown of one check that listens to all calls.
const KINDS: usize = 3;

/// Judges a driver. `told` hears of every finding as soon as it is there; of one whose check turns out to be the cause of what
/// other checks could not be made for, once more.
///
/// # Errors
/// Only when the judge itself cannot go on: see [`Trouble`]. What the driver does wrong is in the report.
pub fn check(job: &Job, told: &mut dyn FnMut(&Finding)) -> Result<Report, Trouble> {
    let wanted = wanted(job)?;
    if let Some(why) = flexvolume_linux::process::refusal(&job.driver) {
        return Err(why.into());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Trouble::NotRoot);
    }
    let Earlier { gone, mut left } = take_away(job, &scratch(job)?);
    let mut bed = Bed::new(job)?;
    let findings = all(&mut bed, &wanted, told);
    let ended = bed.caller.is_asked();
    bed.finish();
    let findings = findings?;
    left.append(&mut bed.left);
    Ok(Report {
        driver: job.name.as_str().to_owned(),
        level: job.level,
        judged: is_judged(&findings, &chosen(&job.only, &job.skip, job.level)?),
        findings,
        refused: bed.blame.refused.take(),
        ended,
        earlier: gone,
        left,
        times: bed.caller.times(),
    })
}

/// Whether anything was judged of what was asked for. Who was never seen to mount says nothing by all that needs no mount.
fn is_judged(findings: &[Finding], chosen: &[&Check]) -> bool {
    const HEART: &str = "mount.mounts";
    let is_made = |check: &&Check| {
        findings.iter().any(|one| one.name == check.name && !matches!(one.outcome, Outcome::Skipped { .. }))
    };
    match chosen.iter().find(|check| check.name == HEART) {
        Some(heart) => is_made(heart),
        None => chosen.iter().any(is_made),
    }
}

/// The reason of checks that a signal came before.
const ENDED: &str = "the judge was asked to end";

fn all(bed: &mut Bed<'_>, wanted: &[&Check], told: &mut dyn FnMut(&Finding)) -> Result<Vec<Finding>, Trouble> {
    // What is known of a driver by its `init` is known before anything else.
    bed.init = match bed.caller.ask(&flexvolume_protocol::Init {}) {
        Ok(heard) => heard.done("init").ok().flatten().unwrap_or_default(),
        Err(Trouble::Asked) => flexvolume_protocol::InitReply::default(),
        Err(trouble) => return Err(trouble),
    };
    let mut findings: Vec<Option<Finding>> = vec![None; wanted.len()];
    for act_last in [false, true] {
        for (place, check) in wanted.iter().enumerate() {
            if matches!(check.act, Act::Heard) != act_last {
                continue;
            }
            let reason = left_out(bed.job, check, wanted)
                .or_else(|| missing(check, wanted, &findings, bed.blame.refused.as_deref()))
                .or_else(|| (!act_last).then(|| kept_from(bed)).flatten());
            let outcome = match reason {
                Some(reason) => Outcome::Skipped { reason },
                None => one(bed, check),
            };
            let finding = finding(check, outcome);
            told(&finding);
            findings[place] = Some(finding);
        }
    }
    // Others were skipped because of what was seen then; whatever came of the check itself later, that was so.
    for cause in &bed.blame.causes {
        let Some(place) = wanted.iter().position(|check| check.name == cause.check) else { continue };
        let is_told = findings[place].as_ref().is_some_and(|one| matches!(one.outcome, Outcome::Failed { .. }));
        if !is_told {
            let outcome = Outcome::Failed { seen: cause.seen.clone(), calls: cause.calls.clone() };
            let finding = finding(wanted[place], outcome);
            told(&finding);
            findings[place] = Some(finding);
        }
    }
    Ok(findings.into_iter().flatten().collect())
}

/// Why nothing is called any more.
fn kept_from(bed: &Bed<'_>) -> Option<String> {
    if bed.caller.is_asked() {
        return Some(ENDED.to_owned());
    }
    let Going { verb, id } = bed.caller.going()?;
    Some(format!(
        "{verb} has not ended (pid {}), and is not ended by force, since that may cost what the volume holds",
        id.pid
    ))
}

/// Why it is not made although nothing speaks against it.
fn left_out(job: &Job, check: &Check, wanted: &[&Check]) -> Option<String> {
    if begins(&job.skip, check) {
        return Some(LEFT_OUT.to_owned());
    }
    (!job.only.is_empty() && !is_asked(&job.only, check, wanted)).then(|| NOT_ASKED.to_owned())
}

/// The check that this one needs and that failed, or was not made for the same reason, or for want of a volume. One that does not
/// apply to the driver is not missed.
fn missing(check: &Check, wanted: &[&Check], findings: &[Option<Finding>], refused: Option<&str>) -> Option<String> {
    check.needs.iter().find_map(|need| {
        let place = wanted.iter().position(|other| other.name == *need)?;
        match &findings.get(place)?.as_ref()?.outcome {
            Outcome::Passed => None,
            Outcome::Failed { .. } => Some(because(need)),
            Outcome::Skipped { reason } => {
                (is_because(reason) || Some(reason.as_str()) == refused).then(|| reason.clone())
            }
        }
    })
}

fn one(bed: &mut Bed<'_>, check: &Check) -> Outcome {
    let place = bed.caller.place();
    (bed.blame.check, bed.blame.since) = (check.name, place);
    let verdict = match check.act {
        Act::Do(act) => {
            let verdict = act(bed);
            let calls = bed.caller.since(place);
            bed.tidy();
            verdict.map_err(|stop| (stop, calls))
        }
        Act::Heard => {
            // The same fault comes with many calls; another of the same kind has a cause of its own.
            let faults = bed.caller.faults(check.name);
            let mut kinds: Vec<&str> = Vec::new();
            for fault in &faults {
                if !kinds.contains(&fault.as_str()) {
                    kinds.push(fault);
                }
            }
            kinds.truncate(KINDS);
            match (faults.len(), kinds.join("; ")) {
                (0, _) => Ok(()),
                (all, seen) if all == kinds.len() => Err((Stop::Fault(seen), Vec::new())),
                (all, seen) => Err((Stop::Fault(format!("{seen}; {all} times in all")), Vec::new())),
            }
        }
    };
    match verdict {
        Ok(()) => Outcome::Passed,
        Err((Stop::Fault(seen), calls)) => Outcome::Failed { seen: bed.caller.clean(&seen), calls },
        Err((Stop::Skip(reason), _)) => Outcome::Skipped { reason: bed.caller.clean(&reason) },
        Err((Stop::Trouble(Trouble::Asked), _)) => Outcome::Skipped { reason: ENDED.to_owned() },
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
