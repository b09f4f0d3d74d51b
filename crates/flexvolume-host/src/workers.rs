//! Disposable workers that are kept while they answer: for what belongs to no op of a volume's record.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flexvolume_linux::{
    process::{self, ProcessId},
    worker::{Worker, WorkerError},
};

use crate::{
    drivers::call::WORKER,
    error::{Error, Kind, Result, waits_for},
    task::{Done, Task},
};

/// So many are kept while nothing is to be done.
const IDLE: usize = 4;

/// Workers, each at one task; as many as are asked at once. One at most is lost to each thing that hangs.
pub(crate) struct Workers {
    exe: PathBuf,
    idle: Mutex<Vec<Worker<Task>>>,
    /// Who was abandoned, by what it was at.
    stuck: Mutex<HashMap<String, ProcessId>>,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("exe", &self.exe).finish_non_exhaustive()
    }
}

impl Workers {
    /// None is started yet.
    pub(crate) fn new(exe: PathBuf) -> Self {
        Self { exe, idle: Mutex::default(), stuck: Mutex::default() }
    }

    /// Has a task done that is `at` something; a worker that does not come back within `limit` is abandoned, and while it lives nobody
    /// else is sent to the same thing.
    ///
    /// # Errors
    /// [`Kind::Stuck`] then; else what the task itself says.
    pub(crate) fn ask(&self, at: &str, task: &Task, limit: Duration) -> Result<Done> {
        self.stuck().retain(|_, held| process::alive(held));
        if let Some(held) = self.stuck().get(at).copied() {
            let what = format!("pid {held}, which was told to end, is still at work there and does not end ({at})");
            return Err(Error::new(Kind::Stuck, what).held_by(held).hint(waits_for(held.pid)));
        }
        let kept = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let mut worker =
            kept.unwrap_or_else(|| Worker::new(self.exe.clone(), vec![(WORKER.0.to_owned(), WORKER.1.to_owned())]));
        let answer = worker.ask(task, limit);
        if worker.id().is_some()
            && let Ok(mut idle) = self.idle.lock()
            && idle.len() < IDLE
        {
            idle.push(worker);
        }
        if let Err(WorkerError::Stuck(held, _)) = &answer {
            self.stuck().insert(at.to_owned(), *held);
        }
        came(answer, limit)
    }

    fn stuck(&self) -> MutexGuard<'_, HashMap<String, ProcessId>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker's answer, or its silence, means.
pub(crate) fn came(
    answer: std::result::Result<flexvolume_linux::Result<Done>, WorkerError>,
    limit: Duration,
) -> Result<Done> {
    match answer {
        Ok(done) => Ok(done?),
        Err(WorkerError::Stuck(process, _)) => {
            let (seconds, pid) = (limit.as_secs(), process.pid);
            let what = format!("the kernel has not answered for {seconds} s; the worker, pid {pid}, was told to end");
            Err(Error::new(Kind::Stuck, what).held_by(process).hint(format!(
                "a file system or device beneath this volume hangs; nothing else is done for it until pid {pid} has ended; {}",
                waits_for(pid)
            )))
        }
        Err(
            error @ (WorkerError::Start(_) | WorkerError::Died(_) | WorkerError::Panicked(_) | WorkerError::Message(_)),
        ) => Err(Error::new(Kind::System, "a worker process of our own failed").because(error)),
    }
}
