//! What is wrong with answers, whatever was asked: these checks listen to every call the others make.

use flexvolume_linux::process::{How, Outcome};
use flexvolume_protocol::{Came, Said, Verdict, is_complete};

use crate::check::{
    Act::Heard,
    Check, Level,
    Severity::{Must, Note, Should},
};

const ONE_JSON: &str = "answer.one-json";
const TYPES: &str = "answer.types";
const STATUS: &str = "answer.status";
const EXIT: &str = "answer.exit";
const CRASH: &str = "answer.crash";
const TIME: &str = "answer.in-time";
const HELD: &str = "answer.held";
const WORDS: &str = "answer.failure-message";
const STREAM: &str = "answer.stdout";
const KEYS: &str = "answer.keys";
pub(crate) const NOT_SUPPORTED: &str = "answer.not-supported";

pub(crate) const CHECKS: &[Check] = &[
    heard(
        ONE_JSON,
        Must,
        "standard output and standard error together are one JSON object for every call: hosts fail a call for one line more, though its work is done",
        "contract: A call",
        "print the answer once, at the end; send everything else, also what other programs print, to a file or to syslog",
    ),
    heard(
        TYPES,
        Must,
        "known members have the types of the contract: hosts fail a call whose `attached` is a string",
        "contract: How JSON is read",
        "write true and false without quotes, and `status`, `message` and `device` as strings",
    ),
    heard(
        STATUS,
        Must,
        "the status is Success, Failure or Not supported, letter by letter: any other word is a failure",
        "contract: A call",
        "use exactly these words",
    ),
    heard(
        EXIT,
        Must,
        "whoever says Success exits with 0: hosts take any other exit for a failure",
        "contract: A call",
        "end with `exit 0` after a Success; look what the last command of the script returns",
    ),
    heard(
        CRASH,
        Must,
        "the driver does not die of a signal",
        "contract: A call",
        "run the call that is shown by hand and see why it dies",
    ),
    heard(
        TIME,
        Must,
        "every call ends in time: a host has one place for a volume, and a call that hangs holds it",
        "contract: Demands on drivers",
        "give every wait inside the driver a limit, and answer Failure when it is over",
    ),
    heard(
        HELD,
        Must,
        "nothing that a call leaves running holds its output: hosts wait until nobody does",
        "contract: Demands on drivers, 6",
        "start daemons with their output closed or elsewhere: `daemon >/dev/null 2>&1 </dev/null &`",
    ),
    heard(
        NOT_SUPPORTED,
        Must,
        "\"Not supported\" is said of a verb always or never: hosts remember it and do not ask again, for no volume",
        "contract: Call-outs",
        "answer Failure with a message where the verb is served but this volume cannot have it",
    ),
    heard(
        WORDS,
        Should,
        "a Failure says why in `message`: it is all that a person gets to see",
        "contract: A call",
        "put the reason into `message`, in one sentence that says what to do",
    ),
    heard(
        STREAM,
        Should,
        "the answer is on standard output: some hosts read that alone",
        "contract: Two readings",
        "print the answer to standard output",
    ),
    heard(
        KEYS,
        Note,
        "members are written as the contract writes them: readers other than Kubernetes' may look at letter case",
        "contract: How JSON is read",
        "write `status`, `message`, `device`, `attached`, `capabilities`, `fsGroup` letter by letter",
    ),
];

const fn heard(
    name: &'static str,
    severity: crate::check::Severity,
    why: &'static str,
    section: &'static str,
    mend: &'static str,
) -> Check {
    Check { name, severity, level: Level::Kubernetes, why, section, mend, needs: &[], act: Heard }
}

/// What is wrong with one answer, by the check that is about it. A call that was cut off is judged for its time alone.
pub(crate) fn faults<R>(
    verb: &str,
    outcome: &Outcome,
    said: &Said<'_>,
    strict: &Result<Came<R>, Verdict>,
    meant: &Result<Came<R>, Verdict>,
) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    let mut found = |check: &'static str, seen: String| faults.push((check, seen));
    match outcome.how {
        How::Killed { .. } | How::Stuck(_) => {
            found(TIME, format!("{verb} did not end within {} s", outcome.took.as_secs()));
            return faults;
        }
        How::Stayed(process) => found(HELD, format!("{verb} answered, and went on running as pid {}", process.pid)),
        How::Signalled(signal) => found(CRASH, format!("{verb} died of signal {signal}")),
        How::Exited(_) => {}
    }
    if outcome.held {
        found(HELD, format!("{verb} left a process behind that holds its output open"));
    }
    match strict {
        Err(verdict @ (Verdict::NoAnswer { .. } | Verdict::NotJson { .. })) => found(ONE_JSON, verdict.to_string()),
        Ok(_)
        | Err(
            Verdict::WrongShape { .. }
            | Verdict::Failed(_)
            | Verdict::OddStatus { .. }
            | Verdict::SuccessButExit { .. },
        ) => {}
    }
    match meant {
        Err(verdict @ Verdict::WrongShape { .. }) => found(TYPES, verdict.to_string()),
        Err(verdict @ Verdict::OddStatus { .. }) => found(STATUS, verdict.to_string()),
        Err(verdict @ Verdict::SuccessButExit { .. }) => found(EXIT, verdict.to_string()),
        Err(Verdict::Failed(failed)) if failed.message.trim().is_empty() => {
            found(WORDS, format!("{verb} failed without a word"));
        }
        Ok(_) | Err(Verdict::Failed(_) | Verdict::NoAnswer { .. } | Verdict::NotJson { .. }) => {}
    }
    if is_complete(b"", said.stderr) && !is_complete(said.stdout, b"") {
        found(STREAM, format!("{verb} answered on standard error"));
    }
    if let Some(key) = odd_key(said.stdout) {
        found(KEYS, format!("{verb} wrote `{key}`"));
    }
    faults
}

/// A member that is meant and written otherwise.
fn odd_key(stdout: &[u8]) -> Option<String> {
    const KNOWN: [&str; 7] = ["status", "message", "device", "attached", "capabilities", "volumeName", "extensions"];
    let answer: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(stdout).ok()?;
    let is_odd = |key: &&String| KNOWN.iter().any(|known| known.eq_ignore_ascii_case(key) && known != key);
    answer.keys().find(is_odd).cloned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flexvolume_protocol::{Attached, VerbName, strict, tolerant};

    use super::*;

    fn seen(how: How, stdout: &str, stderr: &str) -> Vec<&'static str> {
        let outcome = Outcome {
            stdout: stdout.into(),
            stderr: stderr.into(),
            cut: false,
            held: false,
            how,
            took: Duration::ZERO,
        };
        let said = Said { stdout: stdout.as_bytes(), stderr: stderr.as_bytes(), exit_ok: how == How::Exited(0) };
        let meant = tolerant::<Attached>(VerbName::IsAttached, &said);
        let strictly = strict(VerbName::IsAttached, &said);
        faults("isattached", &outcome, &said, &strictly, &meant.verdict).into_iter().map(|(check, _)| check).collect()
    }

    #[test]
    fn each_fault_is_told_as_itself_and_as_nothing_else() {
        let fine = r#"{"status":"Success","attached":true}"#;
        let table: [(How, &str, &str, &[&str]); 12] = [
            (How::Exited(0), fine, "", &[]),
            (How::Exited(1), r#"{"status":"Failure","message":"no"}"#, "", &[]),
            (How::Exited(2), r#"{"status":"Not supported"}"#, "", &[]),
            (How::Exited(0), fine, "a warning", &[ONE_JSON]),
            (How::Exited(0), &format!("noise\n{fine}"), "", &[ONE_JSON]),
            (How::Exited(0), "", "", &[ONE_JSON]),
            (How::Exited(0), r#"{"status":"Success","attached":"true"}"#, "", &[TYPES]),
            (How::Exited(0), r#"{"status":"success"}"#, "", &[STATUS]),
            (How::Exited(1), fine, "", &[EXIT]),
            (How::Exited(0), r#"{"status":"Failure"}"#, "", &[WORDS]),
            (How::Exited(0), "", fine, &[STREAM]),
            (How::Exited(0), r#"{"Status":"Success","attached":true}"#, "", &[KEYS]),
        ];
        for (how, stdout, stderr, checks) in table {
            assert_eq!(seen(how, stdout, stderr), checks, "{how:?} {stdout} {stderr}");
        }
        assert_eq!(seen(How::Killed { signal: 9 }, "", ""), [TIME]);
        assert_eq!(seen(How::Signalled(11), fine, ""), [CRASH, EXIT]);
    }
}
