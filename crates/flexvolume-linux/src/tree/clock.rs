//! The time of a slice. It runs from the first piece of work on: what must be read before there is any cannot use it up, so
//! that something is done in every slice.

use std::time::{Duration, Instant};

/// How long one goes on.
pub(super) enum Clock {
    /// It runs for so long, once something is done.
    Waits(Duration),
    /// Something has been done.
    Runs { since: Instant, slice: Duration },
}

impl Clock {
    /// Something is done.
    pub(super) fn worked(&mut self) {
        if let Self::Waits(slice) = *self {
            *self = Self::Runs { since: Instant::now(), slice };
        }
    }

    /// Whether enough is done for now.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Waits(_) => false,
            Self::Runs { since, slice } => since.elapsed() >= *slice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_from_the_first_piece_of_work() {
        let mut clock = Clock::Waits(Duration::ZERO);
        assert!(!clock.is_over(), "nothing is done yet");
        clock.worked();
        assert!(clock.is_over());
        let mut clock = Clock::Waits(Duration::from_secs(600));
        clock.worked();
        clock.worked();
        assert!(!clock.is_over());
    }
}
