//! What can go wrong in the host: a small kind to branch on, what could not be done, what to do next, and the cause.

use std::{fmt, sync::Arc};

use flexvolume_linux::process::ProcessId;
use flexvolume_protocol::Code;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller branches on; the command makes its exit code of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for makes no sense or is not allowed.
    Invalid,
    /// There is no such driver, pod or volume.
    NotFound,
    /// Not done, because data or trust would be at risk.
    Refused,
    /// Another process is at it, or something still uses it.
    Busy,
    /// A process of ours lives on and cannot be ended: nothing is known until it does.
    Stuck,
    /// A driver failed, did not answer, or answered something that is no answer.
    Driver,
    /// The system under us failed.
    System,
    /// The ledger cannot be read or written.
    Ledger,
}

/// An error: `Display` says what; [`std::error::Error::source`] says why; [`Error::hint`] says what next.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    what: String,
    hint: Option<String>,
    failure: Option<Failure>,
    during: Option<&'static str>,
    process: Option<ProcessId>,
    otherwise: bool,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The driver's own word that a call failed.
#[derive(Clone, Copy, Debug)]
struct Failure {
    code: Option<Code>,
}

/// The command that shows where in the kernel a process waits.
pub fn kernel_stack(pid: u32) -> String {
    format!("cat /proc/{pid}/stack")
}

/// The hint for a process that does not end.
pub(crate) fn waits_for(pid: u32) -> String {
    format!("see what it waits for: {}", kernel_stack(pid))
}

impl Error {
    /// An error that we found ourselves.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            hint: None,
            failure: None,
            during: None,
            process: None,
            otherwise: false,
            source: None,
        }
    }

    /// Puts the cause beneath.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(Arc::from(source.into())), ..self }
    }

    /// The same error, of another kind.
    #[must_use]
    pub fn of(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// What was asked for is there, and in another way.
    #[must_use]
    pub fn otherwise(self) -> Self {
        Self { otherwise: true, ..self }
    }

    /// Whether it is refused because what was asked for is there in another way.
    pub fn is_otherwise(&self) -> bool {
        self.otherwise
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says during which operation it came up, unless that was said nearer to the fault.
    #[must_use]
    pub fn during(self, operation: &'static str) -> Self {
        Self { during: self.during.or(Some(operation)), ..self }
    }

    /// Names the process that does not end.
    #[must_use]
    pub fn held_by(self, process: ProcessId) -> Self {
        Self { process: Some(process), ..self }
    }

    /// As whoever has nothing to do with the process that does not end meets it: busy.
    pub(crate) fn of_another(self) -> Self {
        if self.kind == Kind::Stuck { Self { kind: Kind::Busy, process: None, ..self } } else { self }
    }

    /// The operation that failed: whoever tries again waits longer only if it is the same once more.
    pub fn operation(&self) -> Option<&'static str> {
        self.during
    }

    /// The driver itself said that it failed, and named this code if any.
    #[must_use]
    pub fn with_code(self, code: Option<Code>) -> Self {
        Self { failure: Some(Failure { code }), ..self }
    }

    /// What kind of failure the driver says it was.
    pub fn code(&self) -> Option<Code> {
        self.failure.and_then(|failure| failure.code)
    }

    /// The driver itself said that it failed, so by the contract nothing is left of the call. Without its word (it was cut off,
    /// or what it said is no answer) that is not known.
    pub fn is_drivers_word(&self) -> bool {
        self.failure.is_some()
    }

    /// The process that does not end, of [`Kind::Stuck`] and of some that are [`Kind::Busy`].
    pub fn process(&self) -> Option<ProcessId> {
        self.process
    }

    /// What to branch on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do next, if known; one hint a line.
    pub fn next(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The whole story on one line, for a record or a log.
    pub fn story(&self) -> String {
        let mut text = self.what.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<flexvolume_linux::Error> for Error {
    /// Keeps the words and the hint; only the kind is translated.
    fn from(error: flexvolume_linux::Error) -> Self {
        use flexvolume_linux::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::Io | ErrorKind::Unsupported | ErrorKind::Timeout | ErrorKind::Corrupted => Kind::System,
            ErrorKind::Busy => Kind::Busy,
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::Refused => Kind::Refused,
            ErrorKind::Invalid => Kind::Invalid,
        };
        let mut ours = Self::new(kind, error.to_string());
        ours.hint = error.hint().map(str::to_owned);
        if let Some(cause) = std::error::Error::source(&error) {
            let cause: Box<dyn std::error::Error + Send + Sync> = cause.to_string().into();
            ours.source = Some(Arc::from(cause));
        }
        ours
    }
}
