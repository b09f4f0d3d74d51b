//! One cause is told once: what keeps many checks from being made is a failure of the one that is about it, and the others are
//! skipped because of that.

use crate::shown::Call;

/// What is known of faults that keep many checks from being made.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    /// The check that is made at the moment.
    pub(crate) check: &'static str,
    /// Where its calls begin.
    pub(crate) since: usize,
    /// What worked once fails for a reason of the check that is made then.
    pub(crate) worked: Vec<&'static str>,
    /// What was found beside the check that is about it.
    pub(crate) causes: Vec<Cause>,
    /// What the description of the volume has wrong.
    pub(crate) refused: Option<String>,
}

/// A fault, and the check that is about it.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) check: &'static str,
    pub(crate) seen: String,
    pub(crate) calls: Vec<Call>,
}

/// How a reason begins if it is that another check failed.
const BECAUSE: &str = "because ";

/// The reason of a check that says nothing since another one failed.
pub(crate) fn because(check: &str) -> String {
    format!("{BECAUSE}{check} failed")
}

/// Whether a reason is such a one.
pub(crate) fn is_because(reason: &str) -> bool {
    reason.starts_with(BECAUSE)
}
