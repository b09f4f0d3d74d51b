//! One error for all that this crate does: a small kind to branch on, what was being done, and the kernel's own word.

use std::{fmt, io, path::Path};

use serde::{Deserialize, Serialize};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller branches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// A system call failed; see the source and [`Error::errno`].
    Io,
    /// Something still uses it.
    Busy,
    /// It is not there.
    NotFound,
    /// Not done because data or trust would be at risk.
    Refused,
    /// This kernel or machine cannot do it.
    Unsupported,
    /// It did not end within its limit.
    Timeout,
    /// What was asked for makes no sense.
    Invalid,
    /// It is there but broken: a dead mount, a damaged file system, a record that cannot be read.
    Corrupted,
}

/// What failed: `Display` says what was being done and, where no system call is to blame, why; the kernel's or the
/// other program's own text is the [`source`](std::error::Error::source).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    errno: Option<i32>,
    cause: Option<Cause>,
    hint: Option<String>,
}

/// The text beneath an [`Error`]; plain data, so that it crosses the border of a worker process.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cause(String);

impl Error {
    /// An error that this crate found itself: `context` says what could not be done and why.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), errno: None, cause: None, hint: None }
    }

    /// A system call that failed while doing `what` to `path`: "cannot `what` `path`".
    pub fn io(what: &str, path: impl AsRef<Path>, error: impl Into<io::Error>) -> Self {
        Self::os(format!("cannot {what} {}", path.as_ref().display()), error)
    }

    /// A system call that failed; `context` is the whole sentence.
    pub fn os(context: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let known = [
            (io::ErrorKind::NotFound, ErrorKind::NotFound),
            (io::ErrorKind::ResourceBusy, ErrorKind::Busy),
            (io::ErrorKind::Unsupported, ErrorKind::Unsupported),
            (io::ErrorKind::TimedOut, ErrorKind::Timeout),
        ];
        let kind = known.iter().find(|(theirs, _)| *theirs == error.kind()).map_or(ErrorKind::Io, |(_, ours)| *ours);
        let errno = error.raw_os_error();
        Self { kind, context: context.into(), errno, cause: Some(Cause(plain(&error))), hint: None }
    }

    /// The same error with another kind.
    #[must_use]
    pub fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Puts another program's or the kernel's longer text beneath the error.
    #[must_use]
    pub fn with_cause(self, text: impl Into<String>) -> Self {
        Self { cause: Some(Cause(text.into())), ..self }
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// What to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The system's error number, if a system call failed.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// What to do next, if known.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The whole story on one line: context and cause.
    pub fn story(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{}: {}", self.context, cause.0),
            None => self.context.clone(),
        }
    }
}

/// The system's text without std's "(os error N)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}
