//! What a check is: a name that stays, how much it matters, one sentence why, and how to mend what it finds.

use std::fmt;

use serde::Serialize;

use crate::{bed::Bed, run::Trouble};

/// Who has to be content with a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Kubernetes: the contract alone.
    Kubernetes,
    /// flexvol: the extensions that the driver announces as well.
    Flexvol,
}

/// How much a check matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Who fails it is not fit.
    Must,
    /// Who fails it will make trouble some day.
    Should,
    /// Good to know.
    Note,
}

/// A check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// `group.what`; it does not change.
    pub name: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Whether it is about the contract alone.
    pub level: Level,
    /// What is demanded, and why.
    pub why: &'static str,
    /// Where in the book that is written.
    pub section: &'static str,
    /// What an author does about it.
    pub mend: &'static str,
    /// Checks without which this one cannot be made: it is skipped if one of them failed or was skipped.
    pub(crate) needs: &'static [&'static str],
    pub(crate) act: Act,
}

/// How a check is made.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// By calls of its own.
    Do(fn(&mut Bed<'_>) -> Verdict),
    /// By what all calls together came to; it is told in the end.
    Heard,
}

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

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Do(_) => "Do",
            Self::Heard => "Heard",
        })
    }
}

impl Level {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Flexvol => "flexvol",
        }
    }
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::Note => "note",
        }
    }
}
