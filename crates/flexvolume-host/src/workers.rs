//! Disposable workers that are kept while they answer: for what belongs to no op of a volume's record.

use std::{path::PathBuf, sync::Mutex, time::Duration};

use flexvolume_linux::worker::{Worker, WorkerError};

use crate::{
    drivers::call::WORKER,
    error::{Error, Kind, Result, waits_for},
    task::{Done, Task},
};

/// So many are kept while nothing is to be done.
const IDLE: usize = 4;

/// Workers, each at one task; as many as are asked at once.
pub(crate) struct Workers {
    exe: PathBuf,
    idle: Mutex<Vec<Worker<Task>>>,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("exe", &self.exe).finish_non_exhaustive()
    }
}

impl Workers {
    /// None is started yet.
    pub(crate) fn new(exe: PathBuf) -> Self {
        Self { exe, idle: Mutex::new(Vec::new()) }
    }

    /// Has a task done; a worker that does not come back within `limit` is abandoned.
    ///
    /// # Errors
    /// [`Kind::Stuck`] then; else what the task itself says.
    pub(crate) fn ask(&self, task: &Task, limit: Duration) -> Result<Done> {
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
        came(answer, limit)
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
