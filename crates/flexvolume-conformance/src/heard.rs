//! What is wrong with an answer, whatever was asked, by the name of the check that is about it.

use flexvolume_linux::process::{How, Outcome};
use flexvolume_protocol::{Came, Said, Verdict, is_complete};

pub(crate) const ONE_JSON: &str = "answer.one-json";
pub(crate) const TYPES: &str = "answer.types";
pub(crate) const STATUS: &str = "answer.status";
pub(crate) const EXIT: &str = "answer.exit";
pub(crate) const CRASH: &str = "answer.crash";
pub(crate) const TIME: &str = "answer.in-time";
pub(crate) const HELD: &str = "answer.held";
pub(crate) const WORDS: &str = "answer.failure-message";
pub(crate) const STREAM: &str = "answer.stdout";
pub(crate) const KEYS: &str = "answer.keys";
pub(crate) const NOT_SUPPORTED: &str = "answer.not-supported";

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
        // None is waited for that answers and goes on running: hosts wait for its end.
        How::Killed { .. } | How::Stuck(_) | How::Stayed(_) => {
            let answered = if is_complete(said.stdout, said.stderr) { "answered, and " } else { "" };
            found(TIME, format!("{verb} {answered}did not end within {} s", outcome.took.as_secs()));
            return faults;
        }
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
