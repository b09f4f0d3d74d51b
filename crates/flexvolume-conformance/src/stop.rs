//! What comes of a check while it is made: nothing wrong, or why it stopped.

use crate::trouble::Trouble;

/// What came of it: nothing wrong, or why it stopped.
pub(crate) type Verdict = Result<(), Stop>;

/// Why a check stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The driver is at fault: what was seen.
    Fault(String),
    /// It cannot be made here, and why.
    Skip(String),
    /// The judge itself cannot go on.
    Trouble(Trouble),
}

/// A fault of the driver.
pub(crate) fn fault<T>(seen: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fault(seen.into()))
}

/// A reason not to make this check.
pub(crate) fn skip<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Skip(why.into()))
}

impl<E: Into<Trouble>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Trouble(error.into())
    }
}
