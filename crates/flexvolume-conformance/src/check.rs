//! What a check is: a name that stays, how much it matters, one sentence why, and how to mend what it finds.

use std::fmt;

use crate::{
    bed::Bed,
    level::{Level, Severity},
    stop::Verdict,
};

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
    /// Checks without which this one cannot be made: it is skipped if one of them failed, or was skipped for such a reason.
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

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Do(_) => "Do",
            Self::Heard => "Heard",
        })
    }
}

/// A row of the table: a check of the contract that makes calls of its own.
pub(crate) const fn row(
    name: &'static str,
    severity: Severity,
    why: &'static str,
    section: &'static str,
    mend: &'static str,
    needs: &'static [&'static str],
    act: fn(&mut Bed<'_>) -> Verdict,
) -> Check {
    Check { name, severity, level: Level::Kubernetes, why, section, mend, needs, act: Act::Do(act) }
}

/// The same, of an extension.
pub(crate) const fn extra(
    name: &'static str,
    severity: Severity,
    why: &'static str,
    section: &'static str,
    mend: &'static str,
    needs: &'static [&'static str],
    act: fn(&mut Bed<'_>) -> Verdict,
) -> Check {
    Check { level: Level::Flexvol, ..row(name, severity, why, section, mend, needs, act) }
}

/// The same as [`row`], of a check that listens to all calls.
pub(crate) const fn heard(
    name: &'static str,
    severity: Severity,
    why: &'static str,
    section: &'static str,
    mend: &'static str,
) -> Check {
    Check { name, severity, level: Level::Kubernetes, why, section, mend, needs: &[], act: Act::Heard }
}
