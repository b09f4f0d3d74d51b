//! What can reach a server is done by a child that can be thrown away, and waited for no longer than the settings say.

use std::time::{Duration, Instant};

use flexvolume::World;
use flexvolume_linux::{
    Error,
    worker::{Task, Worker, WorkerError},
};

use crate::settings::Settings;

/// How long one call may take: each question to a server, and all of them together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    patience: Duration,
    end: Instant,
}

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Came<A> {
    /// The child's answer.
    Answer(A),
    /// None within the time. The child was left behind; it is killed as soon as the kernel lets go of it.
    Silent,
    /// There was no child, or it was lost.
    Lost(Error),
}

/// So many questions may go unanswered for as long as they may be.
const QUESTIONS: u32 = 2;

/// A step has this much also where the call has none left: what only the kernel does must still be done.
const LEAST: Duration = Duration::from_secs(2);

impl Clock {
    /// A call begins, in which a server may take so long to answer.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, end: Instant::now() + patience * QUESTIONS }
    }

    /// As the settings say, also where the rest of them makes no sense: what is mounted must come down.
    pub(crate) fn of(world: &World) -> Self {
        Self::new(Settings::patience(world))
    }

    /// For how long one question may go unanswered.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// What the next step may take.
    pub(crate) fn step(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now()).clamp(LEAST.min(self.patience), self.patience)
    }
}

/// Has a child do it.
pub(crate) fn ask<T: Task>(task: &T, limit: Duration) -> Came<T::Answer> {
    match Worker::new("/proc/self/exe".into(), Vec::new()).ask(task, limit) {
        Ok(answer) => Came::Answer(answer),
        Err(WorkerError::Stuck(..)) => Came::Silent,
        Err(
            error @ (WorkerError::Start(_) | WorkerError::Died(_) | WorkerError::Panicked(_) | WorkerError::Message(_)),
        ) => Came::Lost(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_what_the_call_has_left_and_never_nothing() {
        let seconds = Duration::from_secs;
        let fresh = Clock::new(seconds(15));
        assert_eq!(fresh.step(), seconds(15));
        let over = Clock { end: Instant::now(), ..fresh };
        assert_eq!(over.step(), LEAST);
        let late = Clock { end: Instant::now() + seconds(10), ..fresh };
        assert!((seconds(9)..=seconds(10)).contains(&late.step()), "{:?}", late.step());
        assert_eq!(Clock::new(seconds(1)).step(), seconds(1), "no more than one question may take");
    }
}
