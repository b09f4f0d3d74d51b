//! Reading what a driver said: two ways to find the answer in its output, one way to judge it.

use std::ops::Range;

use crate::call::VerbName;
use crate::fields::{Answer, FAILURE, IN_PROGRESS, NOT_SUPPORTED, SUCCESS};
use crate::json::{self, Broken};
use crate::members::decode;
use crate::reply::{Came, Failed};
use crate::verdict::{Forgiven, Stream, Verdict};

/// What a driver said: both streams, whole or cut at the host's bound, and whether it ended well.
#[derive(Clone, Copy)]
pub struct Said<'a> {
    /// Standard output.
    pub stdout: &'a [u8],
    /// Standard error.
    pub stderr: &'a [u8],
    /// True when the process ran and exited with 0. A call cut off by a limit is no answer at all: do not read it.
    pub exit_ok: bool,
}

/// An answer as read tolerantly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading<R> {
    /// How the call came out.
    pub verdict: Result<Came<R>, Verdict>,
    /// What Kubernetes would have failed the call for, though it was found in order here.
    pub forgiven: Vec<Forgiven>,
    /// Whether a "Not supported" holds for later calls too: it does when it stands alone.
    pub remember_not_supported: bool,
}

/// Reads the answer exactly as Kubernetes does: standard output and standard error together must be one JSON value.
///
/// Kubernetes has both streams in one buffer in the order of writing; here error follows output.
///
/// # Errors
/// The [`Verdict`] says why the call did not succeed.
pub fn strict<R: Answer>(verb: VerbName, said: &Said<'_>) -> Result<Came<R>, Verdict> {
    let whole = said.whole();
    match json::only_value(&whole) {
        Ok(value) => judge(verb, said.exit_ok, value),
        Err(broken) => Err(unreadable(verb, &whole, || broken.describe(whole.len()))),
    }
}

/// Reads the answer as drivers really give it: when the output is not one JSON value, the JSON objects in it that carry
/// a status are looked for. One that failed wins, else the last counts. An object that breaks off might have been a
/// failure, so it is one.
pub fn tolerant<R: Answer>(verb: VerbName, said: &Said<'_>) -> Reading<R> {
    let whole = said.whole();
    let broken = match json::only_value(&whole) {
        Ok(value) if value.starts_with(b"{") || value == b"null" => {
            let verdict = judge(verb, said.exit_ok, value);
            let remember_not_supported = matches!(verdict, Ok(Came::NotSupported));
            return Reading { verdict, forgiven: Vec::new(), remember_not_supported };
        }
        Ok(value) => format!("it is {}, not an object", json::kind(value)),
        Err(broken) => broken.describe(whole.len()),
    };
    let streams = [(Stream::Stdout, said.stdout), (Stream::Stderr, said.stderr)];
    let searched = streams.map(|(stream, text)| (stream, text, search(text)));

    let answers = searched.iter().flat_map(|(_, text, found)| found.answers.iter().map(|range| &text[range.clone()]));
    let mut verdicts: Vec<_> = answers.map(|answer| judge(verb, said.exit_ok, answer)).collect();
    let count = verdicts.len();
    let failure = verdicts.iter().rposition(Result::is_err);
    let trouble = searched.iter().find_map(|(_, _, found)| found.trouble);
    let verdict = match (failure.map(|at| verdicts.swap_remove(at)), trouble, verdicts.pop()) {
        (Some(failed), _, _) => failed,
        (None, Some(trouble), _) => Err(unreadable(verb, &whole, || trouble.to_owned())),
        (None, None, Some(last)) => last,
        (None, None, None) => {
            Err(unreadable(verb, &whole, || format!("{broken}, and no object with a status is found in it")))
        }
    };

    let mut forgiven = Vec::new();
    if count > 0 {
        for (stream, text, found) in &searched {
            let noise = String::from_utf8_lossy(&found.noise(text)).trim().to_owned();
            if !noise.is_empty() {
                forgiven.push(Forgiven::Noise { stream: *stream, text: noise });
            }
        }
    }
    if count > 1 {
        forgiven.push(Forgiven::SeveralAnswers { count });
    }
    let remember_not_supported = count == 1 && matches!(verdict, Ok(Came::NotSupported));
    Reading { verdict, forgiven, remember_not_supported }
}

/// Whether an answer is there, read tolerantly, and nothing is broken off: then there is no need to wait for whoever
/// still holds the pipes of a process that has exited.
pub fn is_complete(stdout: &[u8], stderr: &[u8]) -> bool {
    let whole = Said { stdout, stderr, exit_ok: true }.whole();
    if json::only_value(&whole).is_ok_and(has_status) {
        return true;
    }
    let found = [search(stdout), search(stderr)];
    found.iter().all(|found| found.trouble.is_none()) && found.iter().any(|found| !found.answers.is_empty())
}

impl Said<'_> {
    fn whole(&self) -> Vec<u8> {
        [self.stdout, self.stderr].concat()
    }
}

fn unreadable(verb: VerbName, whole: &[u8], why: impl FnOnce() -> String) -> Verdict {
    if whole.trim_ascii().is_empty() {
        return Verdict::NoAnswer { verb };
    }
    Verdict::NotJson { verb, why: why(), text: String::from_utf8_lossy(whole).into_owned() }
}

/// The one judge of both readings: what a well-formed value means.
fn judge<R: Answer>(verb: VerbName, exit_ok: bool, value: &[u8]) -> Result<Came<R>, Verdict> {
    let fields = decode(value).map_err(|why| Verdict::WrongShape { verb, why })?;
    let failed = || Failed { message: fields.message.clone().unwrap_or_default(), code: fields.code };
    match fields.status.as_str() {
        NOT_SUPPORTED => Ok(Came::NotSupported),
        SUCCESS if exit_ok => R::take(fields).map(Came::Done).map_err(|why| Verdict::WrongShape { verb, why }),
        IN_PROGRESS if exit_ok && verb.may_be_in_progress() => Ok(Came::InProgress),
        SUCCESS => Err(Verdict::SuccessButExit { verb, status: fields.status }),
        IN_PROGRESS if verb.may_be_in_progress() => Err(Verdict::SuccessButExit { verb, status: fields.status }),
        FAILURE => Err(Verdict::Failed(failed())),
        _ => Err(Verdict::OddStatus { verb, failed: failed(), status: fields.status }),
    }
}

/// What the search through one stream found.
struct Found {
    /// Where complete objects with a status stand, in their order.
    answers: Vec<Range<usize>>,
    /// Why the rest of the stream was not searched.
    trouble: Option<&'static str>,
}

/// How often the search may read each byte. An honest answer takes two or three.
const PASSES: usize = 16;

/// Looks for complete objects that carry a status. What lies inside a complete object is data and not looked into.
fn search(text: &[u8]) -> Found {
    let mut found = Found { answers: Vec::new(), trouble: None };
    let mut budget = PASSES * text.len();
    let mut at = 0;
    while let Some(brace) = text[at..].iter().position(|b| *b == b'{').map(|offset| at + offset) {
        let read_to = match json::end_of_value(text, brace) {
            Ok(end) => {
                if has_status(&text[brace..end]) {
                    found.answers.push(brace..end);
                }
                at = end;
                continue;
            }
            Err(Broken::Syntax(offset)) => offset,
            // Inside an object that breaks off nothing counts: the Success in there may belong to a Failure.
            Err(Broken::Eof) if text.get(json::skip_blanks(text, brace + 1)) == Some(&b'"') => {
                found.trouble = Some("an object in it breaks off");
                break;
            }
            Err(Broken::Eof) => text.len(),
            Err(Broken::Deep(_)) => {
                found.trouble = Some("an object in it is nested too deep");
                break;
            }
        };
        let cost = read_to - brace;
        if cost > budget {
            found.trouble = Some("it is too tangled to be searched");
            break;
        }
        budget -= cost;
        at = brace + 1;
    }
    found
}

impl Found {
    /// The stream without its answers.
    fn noise(&self, text: &[u8]) -> Vec<u8> {
        let mut noise = Vec::new();
        let mut from = 0;
        for answer in &self.answers {
            noise.extend_from_slice(&text[from..answer.start]);
            from = answer.end;
        }
        noise.extend_from_slice(&text[from..]);
        noise
    }
}

fn has_status(value: &[u8]) -> bool {
    json::members(value).is_some_and(|mut members| members.any(|(key, _)| json::fold(&key) == "status"))
}
