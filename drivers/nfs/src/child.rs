//! What can reach a server is done by a child that can be thrown away, and waited for no longer than the settings say.

use std::time::Duration;

use flexvolume_linux::{
    Error,
    worker::{Task, Worker, WorkerError},
};

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
