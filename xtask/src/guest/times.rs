//! How long guests may take: one case, and all of them.

use std::time::{Duration, Instant};

/// All suites together have so long; what has not begun by then fails. It is there for what hangs: 25 minutes are what they shall take on
/// a machine with nothing else to do.
const BUDGET: Duration = Duration::from_secs(40 * 60);

/// After this a case is ended, and the machine it ran in thrown away.
const CASE_LIMIT: Duration = Duration::from_secs(10 * 60);

/// How long cases may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// One of them.
    pub(super) case: Duration,
    /// No case begins after this.
    pub(super) end: Option<Instant>,
}

impl Times {
    /// As the test door gives to all that begin at `start`.
    pub(super) fn usual(start: Instant) -> Times {
        Times { case: CASE_LIMIT, end: Some(start + BUDGET) }
    }
}
