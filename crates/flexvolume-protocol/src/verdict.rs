//! Why a call did not succeed and what was forgiven in its answer, in words for a person.

use std::fmt;

use crate::call::VerbName;
use crate::fields;
use crate::redact::Redactor;
use crate::reply::{Code, Failed};
use crate::telltale;
use crate::text::excerpt;

/// Why a call did not succeed, by what its driver printed.
///
/// The texts are the driver's own and whole; pass a verdict through [`Verdict::redacted`] before showing it. `Display`
/// bounds them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// It printed nothing.
    #[error("the driver printed no answer to {verb}")]
    NoAnswer {
        /// The call.
        verb: VerbName,
    },
    /// No answer is found in what it printed.
    #[error("what the driver printed for {verb} is no JSON answer: {why}; it printed: {}", excerpt(.text, 500))]
    NotJson {
        /// The call.
        verb: VerbName,
        /// What is wrong, and where.
        why: String,
        /// What was printed.
        text: String,
    },
    /// The answer has a member that is missing or has the wrong type.
    #[error("the driver's answer to {verb} is malformed: {why}")]
    WrongShape {
        /// The call.
        verb: VerbName,
        /// Which member, what it must be and what it is.
        why: String,
    },
    /// It says Failure.
    #[error("the driver says that it failed: {0}")]
    Failed(Failed),
    /// Its status is no word of the contract (or is missing), which counts as a failure.
    #[error("the driver answered {verb} with the status {:?}: {failed}", excerpt(.status, 80))]
    OddStatus {
        /// The call.
        verb: VerbName,
        /// The status as written; `""` when absent.
        status: String,
        /// What it says beside it.
        failed: Failed,
    },
    /// It says Success, or In progress, but ended as if it had failed.
    #[error("the driver says {status:?} to {verb}, but its process ended with an error")]
    SuccessButExit {
        /// The call.
        verb: VerbName,
        /// The status as written.
        status: String,
    },
}

/// One of the two streams of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Something in an answer that Kubernetes would have failed the call for. Texts are the driver's own and whole: pass
/// through [`Forgiven::redacted`] before showing. `Display` bounds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgiven {
    /// Other text stands around the answer.
    Noise {
        /// Where.
        stream: Stream,
        /// The text without the answers in it.
        text: String,
    },
    /// There are several answers; a failure among them wins, else the last.
    SeveralAnswers {
        /// How many.
        count: usize,
    },
}

impl Verdict {
    /// What a person can do about it, where that can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoAnswer { verb } => Some(format!(
                "run the driver by hand with `{}`: it must print one JSON object with a status for every call",
                verb.usage()
            )),
            Self::NotJson { verb, text, .. } => telltale::hint(*verb, text).or_else(|| {
                let hint =
                    "the answer must be one JSON object with a status; let the driver log to a file, not to its output";
                Some(hint.to_owned())
            }),
            Self::WrongShape { verb, .. } => Some(match verb.extension() {
                None => "the driver must be mended; Kubernetes refuses such an answer too".to_owned(),
                Some(_) => "the driver must be mended; the book's page on extensions says what it answers".to_owned(),
            }),
            Self::Failed(failed) => failed.code.and_then(code_hint).map(str::to_owned),
            Self::OddStatus { verb, status, failed } => near_miss(status)
                .map(|word| {
                    let hint = format!("the contract's word is exactly {word:?}; any other is a failure");
                    // The documents of long ago spelt it otherwise.
                    let old = word == fields::NOT_SUPPORTED && telltale::is_since_1_6(*verb);
                    if old { format!("{hint}; {}", telltale::OLD_CONTRACT) } else { hint }
                })
                .or_else(|| failed.code.and_then(code_hint).map(str::to_owned)),
            Self::SuccessButExit { .. } => Some(
                "a driver that succeeded must exit with 0; look at its log for what went wrong at its end".to_owned(),
            ),
        }
    }

    /// The kind of failure, if the driver named one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Failed(failed) | Self::OddStatus { failed, .. } => failed.code,
            Self::NoAnswer { .. } | Self::NotJson { .. } | Self::WrongShape { .. } | Self::SuccessButExit { .. } => {
                None
            }
        }
    }

    /// The same verdict with secrets taken out of every text of the driver.
    pub fn redacted(self, redactor: &Redactor) -> Self {
        let clean = |failed: Failed| Failed { message: redactor.text(&failed.message), ..failed };
        match self {
            Self::NotJson { verb, why, text } => Self::NotJson { verb, why, text: redactor.text(&text) },
            Self::WrongShape { verb, why } => Self::WrongShape { verb, why: redactor.text(&why) },
            Self::Failed(failed) => Self::Failed(clean(failed)),
            Self::OddStatus { verb, status, failed } => {
                Self::OddStatus { verb, status: redactor.text(&status), failed: clean(failed) }
            }
            Self::NoAnswer { .. } | Self::SuccessButExit { .. } => self,
        }
    }
}

/// The word of the contract that was probably meant.
fn near_miss(status: &str) -> Option<&'static str> {
    let status = status.trim().to_ascii_lowercase();
    match status.as_str() {
        "success" | "ok" => Some(fields::SUCCESS),
        "in progress" => Some(fields::IN_PROGRESS),
        "failure" | "failed" | "error" => Some(fields::FAILURE),
        other if other.ends_with("not supported") || other == "unsupported" => Some(fields::NOT_SUPPORTED),
        _ => None,
    }
}

fn code_hint(code: Code) -> Option<&'static str> {
    match code {
        Code::Conflict => Some("something else has that name already; choose another, or ask for what is there"),
        Code::NotFound => Some("look whether the volume was deleted, or its name is misspelt"),
        Code::Exhausted => Some("free some room where the driver keeps its volumes, or ask for less"),
        Code::Busy => Some("something still uses the volume; try again when that has ended"),
        Code::Permission => Some("look at the credentials and rights that the driver was given"),
        Code::Invalid => Some("look at the volume's options"),
        Code::Unsupported => None,
    }
}

impl Forgiven {
    /// The same with secrets taken out.
    pub fn redacted(self, redactor: &Redactor) -> Self {
        match self {
            Self::Noise { stream, text } => Self::Noise { stream, text: redactor.text(&text) },
            Self::SeveralAnswers { .. } => self,
        }
    }
}

impl fmt::Display for Forgiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noise { stream, text } => {
                write!(f, "other text around the answer on {stream}: {}", excerpt(text, 200))
            }
            Self::SeveralAnswers { count } => write!(f, "{count} answers where there must be one"),
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "standard output",
            Self::Stderr => "standard error",
        })
    }
}
