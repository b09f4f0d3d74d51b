//! How long guests may take: one case, and all of them.

use std::time::{Duration, Instant};

/// All suites together have so long; what has not begun by then fails, and what has is ended soon. It is there for what hangs.
const BUDGET: Duration = Duration::from_secs(55 * 60);

/// After this a case is ended, and the machine it ran in thrown away.
const CASE_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Whatever has begun in time has at least so long.
const LEAST: Duration = Duration::from_secs(60);

/// How long cases may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// One of them.
    case: Duration,
    /// No case begins after this.
    pub(super) end: Option<Instant>,
}

impl Times {
    /// As the test door gives to all that begin at `start`.
    pub(super) fn usual(start: Instant) -> Times {
        Times { case: CASE_LIMIT, end: Some(start + BUDGET) }
    }

    /// For who has the time: so long for each case, and for all of them as long as it takes.
    pub(super) fn patient(case: Duration) -> Times {
        Times { case, end: None }
    }

    /// What a case has that begins now.
    pub(super) fn of_case(&self) -> Duration {
        let left = self.end.map(|end| end.saturating_duration_since(Instant::now()) + LEAST);
        left.map_or(self.case, |left| left.min(self.case))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_what_is_left_for_all() {
        let now = Instant::now();
        assert_eq!(Times::usual(now).of_case(), CASE_LIMIT);
        assert_eq!(Times { case: CASE_LIMIT, end: Some(now) }.of_case(), LEAST);
        assert_eq!(Times::patient(BUDGET * 2).of_case(), BUDGET * 2);
    }
}
