//! Reading what a driver said: two ways to find the answer in its output, one way to judge it.

use std::ops::Range;

use crate::call::VerbName;
use crate::capabilities::Capabilities;
use crate::json::{self, Broken};
use crate::reply::{Answer, Came, Code, FAILURE, Failed, Fields, IN_PROGRESS, NOT_SUPPORTED, SUCCESS};
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

/// The members of a well-formed answer by Go's rules: letter case does not count, the last of several equal keys does,
/// null leaves what was there. `Err` names the member of the contract that has the wrong type; members of extensions
/// are unknown to Kubernetes, so a wrong type there is only noted.
fn decode(value: &[u8]) -> Result<Fields, String> {
    let mut fields = Fields::default();
    // What an object of capabilities is laid over. After a null Go makes a new one, in which nothing is granted.
    let mut capabilities = Capabilities::default();
    if value == b"null" {
        return Ok(fields);
    }
    let members = json::members(value).ok_or_else(|| format!("it is {}, not an object", json::kind(value)))?;
    for (key, raw) in members {
        let key = json::fold(&key);
        if raw == b"null" {
            if key == "capabilities" {
                fields.capabilities = None;
                capabilities = Capabilities::NONE;
            }
            continue;
        }
        let text = || json::string(raw).ok_or_else(|| wrong(&key, "a string", raw));
        match key.as_str() {
            "status" => fields.status = text()?,
            "message" => fields.message = Some(text()?),
            "device" => fields.device = Some(text()?),
            "volumename" => fields.volume_name = Some(text()?),
            "attached" => {
                fields.attached = Some(match raw {
                    b"true" => true,
                    b"false" => false,
                    _ => return Err(wrong(&key, "true or false", raw)),
                });
            }
            "capabilities" => fields.capabilities.get_or_insert(capabilities).merge(raw)?,
            "volumenewsize" => drop(number::<i64>(raw).ok_or_else(|| wrong(&key, "a whole number of 64 bits", raw))?),
            "code" => fields.code = json::string(raw).and_then(|word| Code::parse(&word)),
            "extensions" => fields.extensions = json::elements(raw).and_then(|names| names.map(json::string).collect()),
            "id" => note(&mut fields, "id", "a string", raw, |f| &mut f.id, json::string),
            "bytes" => note(&mut fields, "bytes", "a whole number of bytes", raw, |f| &mut f.bytes, number),
            "options" => note(
                &mut fields,
                "options",
                "an object of strings",
                raw,
                |f| &mut f.options,
                |raw| json::members(raw)?.map(|(key, raw)| Some((key, json::string(raw)?))).collect(),
            ),
            _ => {}
        }
    }
    Ok(fields)
}

/// Sets a member of an extension, or notes that it has the wrong type.
fn note<T>(
    fields: &mut Fields,
    key: &'static str,
    wanted: &str,
    raw: &[u8],
    field: impl Fn(&mut Fields) -> &mut Option<T>,
    read: impl Fn(&[u8]) -> Option<T>,
) {
    let value = read(raw);
    match value {
        Some(_) => drop(fields.wrong.remove(key)),
        None => drop(fields.wrong.insert(key, wrong(key, wanted, raw))),
    }
    *field(fields) = value;
}

fn wrong(key: &str, wanted: &str, raw: &[u8]) -> String {
    format!("`{key}` must be {wanted}, and this one is {}", json::kind(raw))
}

fn number<N: std::str::FromStr>(raw: &[u8]) -> Option<N> {
    std::str::from_utf8(raw).ok()?.parse().ok()
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
