//! How long guests may take: one case, and all of them, and from when on all work.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// All suites together have so long; what has not begun by then fails, and what has is ended soon. It is there for what hangs.
const BUDGET: Duration = Duration::from_secs(55 * 60);

/// After this a case is ended, and the machine it ran in thrown away.
const CASE_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Whatever has begun in time has at least so long.
const LEAST: Duration = Duration::from_secs(60);

/// How long cases may take. It begins as a shut gate, before which one lane works alone.
#[derive(Debug)]
pub(super) struct Times {
    /// One of them.
    case: Duration,
    /// All of them, from when the gate was opened on.
    all: Option<Duration>,
    gate: OnceLock<Instant>,
}

impl Times {
    /// As the test door gives.
    pub(super) fn usual() -> Times {
        Times { case: CASE_LIMIT, all: Some(BUDGET), gate: OnceLock::new() }
    }

    /// For who has the time: so long for each case, and for all of them as long as it takes.
    pub(super) fn patient(case: Duration) -> Times {
        Times { case, all: None, gate: OnceLock::new() }
    }

    /// Lets all lanes work.
    pub(super) fn open(&self) {
        self.gate.get_or_init(Instant::now);
    }

    /// Returns once all lanes may work.
    pub(super) fn wait(&self) {
        self.gate.wait();
    }

    /// No case begins after this.
    fn end(&self) -> Option<Instant> {
        Some(*self.gate.get()? + self.all?)
    }

    /// Whether no case may begin any more.
    pub(super) fn are_over(&self) -> bool {
        self.end().is_some_and(|end| Instant::now() >= end)
    }

    /// What a case has that begins now.
    pub(super) fn of_case(&self) -> Duration {
        let left = self.end().map(|end| end.saturating_duration_since(Instant::now()) + LEAST);
        left.map_or(self.case, |left| left.min(self.case))
    }
}

#[cfg(test)]
impl Times {
    /// Those that are over as soon as the gate is open.
    pub(super) fn none() -> Times {
        Times { all: Some(Duration::ZERO), ..Times::usual() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_what_is_left_for_all_once_all_work() {
        for times in [Times::usual(), Times::none()] {
            assert_eq!((times.of_case(), times.are_over()), (CASE_LIMIT, false));
        }
        let (usual, none, patient) = (Times::usual(), Times::none(), Times::patient(BUDGET * 2));
        [&usual, &none, &patient].into_iter().for_each(Times::open);
        assert_eq!((usual.of_case(), usual.are_over()), (CASE_LIMIT, false));
        assert_eq!((none.of_case(), none.are_over()), (LEAST, true));
        assert_eq!((patient.of_case(), patient.are_over()), (BUDGET * 2, false));
    }
}
