//! One call of a driver: rendered, run, read, judged, told. The only road from the host to a driver.

use std::path::Path;
use std::time::Duration;

use flexvolume_linux::{
    ErrorKind,
    process::{self, How, OUTPUT_LIMIT, Outcome, ProcessId, Program},
};
use flexvolume_protocol::{
    Answer, Came, DriverName, Extension, Forgiven, Redactor, Said, Verb, VerbName, Verdict, Wire, Worded, excerpt,
    is_complete, strict, tolerant,
};

use zeroize::Zeroizing;

use super::{driver::Driver, said::is_worth_telling};
use crate::{
    error::{Error, Kind, Result, waits_for},
    note::{Note, Notes},
};

/// The environment variable that carries a call's id to every process the call gives birth to.
pub const CALL_ID: &str = "FLEXVOL_CALL";

/// What our own workers and their children carry besides, so that they are told from a driver's daemons.
pub const WORKER: (&str, &str) = ("FLEXVOL_WORKER", "1");

/// So long work that a driver says is in progress is waited for, before whoever asked is told to come back.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Between two calls of a driver that says so.
pub const PAUSE: Duration = Duration::from_millis(500);

/// A call that takes longer is one that others may want to know of.
const LONG: Duration = Duration::from_millis(100);

/// How much of a driver's own words is shown.
const SHOWN: usize = 600;

/// What a call needs beside the verb.
pub struct Calling<'a> {
    /// Whom to call.
    pub driver: &'a Driver,
    /// The volume it is for, for notes; empty for `init`.
    pub volume: &'a str,
    /// The id that the call's processes carry.
    pub call: &'a str,
    /// Knows the secrets that must not appear anywhere.
    pub redactor: &'a Redactor,
    /// Where notes go.
    pub notes: Notes<'a>,
    /// Told of the process.
    pub watched: &'a mut dyn FnMut(Watched),
}

/// What is seen of the process of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// It has just begun to live.
    Born(ProcessId),
    /// It has been at work for longer than most calls are.
    Lasting,
}

/// Calls the driver; "Not supported" is answered from memory when it was said before.
///
/// # Errors
/// [`Kind::Driver`] when it failed, did not answer in time, answered nonsense, or does not know a call of an extension that
/// it announced; [`Kind::Busy`] when its process
/// cannot be ended and lives on; the error's words are redacted and bounded.
pub fn call<V: Verb>(calling: Calling<'_>, verb: &V) -> Result<Came<V::Reply>> {
    let Calling { driver, volume, call, redactor, notes, watched } = calling;
    if driver.lacks(V::NAME) {
        return Ok(Came::NotSupported);
    }
    let limits = driver.config.limits(V::NAME);
    let name = V::NAME.as_str();
    let Wire { argv, stdin, .. } = Wire::render(verb, driver.by_stdin());
    let running = process::spawn(&program(&driver.found.exe, argv, stdin, call)).map_err(not_started)?;
    let pid = running.id().pid;
    tracing::debug!(target: "flexvol::call", driver = %driver.name, volume, verb = name, call, pid, "started");
    notes(Note::Calling { volume: volume.into(), driver: driver.name.to_string(), verb: name });
    watched(Watched::Born(running.id()));
    let slow = &mut |after| {
        notes(Note::StillRunning { volume: volume.into(), driver: driver.name.to_string(), verb: name, pid, after });
    };
    let outcome = running.wait_long(&limits, &is_complete, slow, LONG, &mut || watched(Watched::Lasting));
    let took = outcome.took;
    let result = read(driver, V::NAME, &outcome, redactor, volume, notes);
    let verdict = verdict(&result);
    let milliseconds = took.as_micros() as f64 / 1e3;
    tracing::info!(target: "flexvol::call", driver = %driver.name, volume, verb = name, call, milliseconds, verdict, "called");
    notes(Note::Called { volume: volume.into(), driver: driver.name.to_string(), verb: name, took, verdict });
    result
}

/// A driver that cannot be started has failed, whatever is wrong with its file; what may be a matter of trust stays one.
fn not_started(error: flexvolume_linux::Error) -> Error {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Unsupported => Error::from(error).of(Kind::Driver),
        ErrorKind::Io | ErrorKind::Busy | ErrorKind::Refused | ErrorKind::Timeout | ErrorKind::Corrupted => {
            error.into()
        }
    }
}

/// What came of a call, as people read it.
pub fn verdict<R>(result: &Result<Came<R>>) -> String {
    match result {
        Ok(Came::Done(_)) => "Success".to_owned(),
        Ok(Came::NotSupported) => "Not supported".to_owned(),
        Ok(Came::InProgress) => "In progress".to_owned(),
        Err(error) => error.story(),
    }
}

/// The program of one call: argv[0] unresolved, the id in its environment.
pub fn program(exe: &Path, argv: Vec<Zeroizing<String>>, stdin: Option<Zeroizing<String>>, call: &str) -> Program {
    Program {
        args: argv,
        stdin: stdin.map(|text| text.as_bytes().to_vec().into()),
        env: vec![(CALL_ID.into(), call.into())],
        ..Program::new(exe)
    }
}

fn read<R: Answer>(
    driver: &Driver,
    verb: VerbName,
    outcome: &Outcome,
    redactor: &Redactor,
    volume: &str,
    notes: Notes<'_>,
) -> Result<Came<R>> {
    ended(&driver.name, verb, outcome, redactor)?;
    // A process that answered in full and then became a daemon itself has not failed.
    let exit_ok = matches!(outcome.how, How::Exited(0) | How::Stayed(_));
    let said = Said { stdout: &outcome.stdout, stderr: &outcome.stderr, exit_ok };
    let (verdict, forgiven, remember) = if driver.config.strict {
        (strict::<Worded<R>>(verb, &said), Vec::new(), true)
    } else {
        let reading = tolerant::<Worded<R>>(verb, &said);
        (reading.verdict, reading.forgiven, reading.remember_not_supported)
    };
    for forgiven in forgiven {
        warn_forgiven(driver, verb, &forgiven.redacted(redactor), volume, notes);
    }
    match verdict {
        Ok(Came::NotSupported) => match driver.owes(verb) {
            Some(extension) => Err(promised(driver, verb, extension)),
            None => {
                if remember {
                    driver.remember_lack(verb);
                }
                Ok(Came::NotSupported)
            }
        },
        Ok(Came::InProgress) => Ok(Came::InProgress),
        Ok(Came::Done(Worded { reply, message })) => {
            let message = message.unwrap_or_default();
            if is_worth_telling(verb, volume, &message) {
                let text = excerpt(&redactor.text(&message), SHOWN);
                let (volume, driver) = (volume.to_owned(), driver.name.to_string());
                notes(Note::Said { volume, driver, verb: verb.as_str(), text });
            }
            Ok(Came::Done(reply))
        }
        // Redacted before it is bounded: a secret that is cut in two would not be found any more.
        Err(verdict) => Err(failed(&driver.name, verb, &verdict.redacted(redactor))),
    }
}

/// Fails when the process was ended at its limit or could not be ended, or when it wrote without end.
pub fn ended(name: &DriverName, verb: VerbName, outcome: &Outcome, redactor: &Redactor) -> Result<()> {
    if outcome.cut {
        let what = format!("driver {name} wrote more than {} KiB in answer to {verb}", OUTPUT_LIMIT >> 10);
        return Err(Error::new(Kind::Driver, what).hint("an answer is one JSON object; its log belongs in a file"));
    }
    let said = || excerpt(&redactor.text(&String::from_utf8_lossy(&outcome.stderr)), SHOWN);
    match &outcome.how {
        How::Exited(_) | How::Signalled(_) | How::Stayed(_) => Ok(()),
        How::Killed { .. } => {
            let error = Error::new(
                Kind::Driver,
                format!("driver {name} did not answer {verb} within {} and was ended", seconds(outcome.took)),
            );
            let error = if outcome.stderr.is_empty() { error } else { error.because(format!("it said: {}", said())) };
            Err(error.hint(format!(
                "see what it waits for; a longer limit is set in the settings: drivers, {name}, limits, {verb}"
            )))
        }
        How::Stuck(id) => Err(Error::new(
            Kind::Stuck,
            format!(
                "driver {name} has not answered {verb} for {} and still runs as pid {}",
                seconds(outcome.took),
                id.pid
            ),
        )
        .held_by(*id)
        .hint(format!(
            "nothing else is done for this volume until pid {} has ended; {}",
            id.pid,
            waits_for(id.pid)
        ))),
    }
}

fn failed(name: &DriverName, verb: VerbName, verdict: &Verdict) -> Error {
    let error = Error::new(Kind::Driver, format!("driver {name} failed to {verb}")).because(verdict.to_string());
    // A status that is no word of the contract may have been meant as a success.
    let is_drivers_word = matches!(verdict, Verdict::Failed(_)) || verdict.code().is_some();
    let error = if is_drivers_word { error.with_code(verdict.code()) } else { error };
    match verdict.hint() {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// There is no default to fall back on: the host asks only because the driver said that it can.
fn promised(driver: &Driver, verb: VerbName, extension: Extension) -> Error {
    Error::new(Kind::Driver, format!("driver {} announces {extension} and does not know {verb}", driver.name))
        .hint("that is a fault of the driver: tell its author")
}

fn warn_forgiven(driver: &Driver, verb: VerbName, forgiven: &Forgiven, volume: &str, notes: Notes<'_>) {
    let text = format!("driver {} on {verb}: {forgiven}", driver.name);
    notes(Note::Warning { volume: volume.into(), text });
}

fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} s", time.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use flexvolume_protocol::{Code, CreateVolume};

    use super::*;

    #[test]
    fn the_drivers_own_word_and_its_code_are_kept() {
        let rows = [
            (r#"{"status": "Failure", "code": "exhausted"}"#, true, Some(Code::Exhausted)),
            (r#"{"status": "Failure"}"#, true, None),
            (r#"{"status": "failed", "code": "busy"}"#, true, Some(Code::Busy)),
            (r#"{"status": "success"}"#, false, None),
            (r#"{"status": "Success"}"#, false, None),
            ("", false, None),
            ("no room", false, None),
        ];
        let name = DriverName::parse("a/b").unwrap();
        for (stdout, word, code) in rows {
            let said = Said { stdout: stdout.as_bytes(), stderr: b"", exit_ok: true };
            let verdict = strict::<<CreateVolume as Verb>::Reply>(VerbName::CreateVolume, &said).unwrap_err();
            let error = failed(&name, VerbName::CreateVolume, &verdict);
            assert_eq!((error.is_drivers_word(), error.code()), (word, code), "{stdout}");
        }
    }
}
