//! What a driver's method answers when it is not Success: one type, so that `?` works on everything.

use std::{error::Error as _, fmt, io};

use flexvolume_linux::{Error, ErrorKind};
use flexvolume_protocol::{Code, Failed, NameError};

/// The result of every method of a driver: `Ok` is "Success".
pub type Result<T> = std::result::Result<T, Failure>;

/// Any answer but "Success".
///
/// `?` makes one from a [`flexvolume_linux::Error`] (its words, its cause and its hint are kept, and where its kind
/// says so a code is added), from an [`io::Error`] (better: [`Error::io`], which names the path) and from the errors
/// of this kit. Never put a secret into the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Failed(Failed),
    NotSupported,
    InProgress,
}

impl Failure {
    /// "Failure", with a code that tells the host more than the message does.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Kind::Failed(Failed::new(message).with_code(code)))
    }

    /// "Failure" without a code: something went wrong inside.
    pub fn internal(message: impl Into<String>) -> Self {
        Self(Kind::Failed(Failed::new(message)))
    }

    /// "Not supported": the host does what it does by default, and never asks this driver for that verb again. So it
    /// must not mean "not for this volume".
    pub fn not_supported() -> Self {
        Self(Kind::NotSupported)
    }

    /// "In progress": the work goes on, or is taken up again when the host calls again with the same arguments. For
    /// createvolume, deletevolume, expandvolume, modifyvolume, createsnapshot and deletesnapshot only; from any other verb the host is
    /// told of a failure with code `busy`.
    pub fn in_progress() -> Self {
        Self(Kind::InProgress)
    }

    /// Whether it is "Not supported".
    pub fn is_not_supported(&self) -> bool {
        self.0 == Kind::NotSupported
    }

    /// Whether it is "In progress".
    pub fn is_in_progress(&self) -> bool {
        self.0 == Kind::InProgress
    }

    /// The code, if it is a failure that has one.
    pub fn code(&self) -> Option<Code> {
        match &self.0 {
            Kind::Failed(failed) => failed.code,
            Kind::NotSupported | Kind::InProgress => None,
        }
    }

    /// The same failure with words before its message, such as what was being done.
    #[must_use]
    pub fn within(self, context: &str) -> Self {
        match self.0 {
            Kind::Failed(failed) => {
                Self(Kind::Failed(Failed { message: format!("{context}: {}", failed.message), code: failed.code }))
            }
            Kind::NotSupported | Kind::InProgress => self,
        }
    }

    /// The same failure with words after its message.
    #[must_use]
    pub(crate) fn followed_by(self, more: &str) -> Self {
        match self.0 {
            Kind::Failed(failed) => {
                Self(Kind::Failed(Failed { message: format!("{}; {more}", failed.message), code: failed.code }))
            }
            Kind::NotSupported | Kind::InProgress => self,
        }
    }

    /// As the words of the contract.
    pub(crate) fn into_failed(self) -> Failed {
        match self.0 {
            Kind::Failed(failed) => failed,
            Kind::NotSupported => Failed::new("it is not supported").with_code(Code::Unsupported),
            Kind::InProgress => Failed::new("it is still in progress; call again").with_code(Code::Busy),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Failed(failed) => f.write_str(&failed.message),
            Kind::NotSupported => f.write_str("not supported"),
            Kind::InProgress => f.write_str("in progress"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut message = error.to_string();
        if let Some(cause) = error.source() {
            message = format!("{message}: {cause}");
        }
        if let Some(hint) = error.hint() {
            message = format!("{message}; {hint}");
        }
        // NotFound stays without a code: a missing program or directory is not a missing volume, and a host might
        // take the one for the other.
        let code = match error.kind() {
            ErrorKind::Busy => Some(Code::Busy),
            ErrorKind::Unsupported => Some(Code::Unsupported),
            ErrorKind::Invalid => Some(Code::Invalid),
            ErrorKind::Io => error.errno().and_then(code_of),
            ErrorKind::NotFound | ErrorKind::Refused | ErrorKind::Timeout | ErrorKind::Corrupted => None,
        };
        Self(Kind::Failed(Failed { message, code }))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let code = error.raw_os_error().and_then(code_of);
        Self(Kind::Failed(Failed { message: error.to_string(), code }))
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::new(Code::Invalid, error.to_string())
    }
}

/// The code of those system errors that say the same in every place.
fn code_of(errno: i32) -> Option<Code> {
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ResourceBusy, StorageFull};
    let kind = io::Error::from_raw_os_error(errno).kind();
    let known = [
        (StorageFull, Code::Exhausted),
        (QuotaExceeded, Code::Exhausted),
        (FileTooLarge, Code::Exhausted),
        (PermissionDenied, Code::Permission),
        (ResourceBusy, Code::Busy),
    ];
    known.into_iter().find(|(same, _)| *same == kind).map(|(_, code)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linux_error_keeps_words_cause_hint_and_what_its_kind_says() {
        let full = Error::io("write", "/x", io::Error::from_raw_os_error(28)).with_hint("free some room");
        let failure = Failure::from(full);
        assert_eq!(failure.to_string(), "cannot write /x: No space left on device; free some room");
        assert_eq!(failure.code(), Some(Code::Exhausted));
        let missing = Failure::from(Error::io("run", "/sbin/x", io::Error::from_raw_os_error(2)));
        assert_eq!(missing.code(), None, "a missing program is not a missing volume");
        assert_eq!(Failure::from(Error::new(ErrorKind::Busy, "b")).code(), Some(Code::Busy));
    }

    #[test]
    fn context_goes_before_and_the_code_stays() {
        let failure = Failure::new(Code::Busy, "in use").within("cannot detach");
        assert_eq!((failure.to_string().as_str(), failure.code()), ("cannot detach: in use", Some(Code::Busy)));
        assert!(Failure::not_supported().within("x").is_not_supported());
    }
}
