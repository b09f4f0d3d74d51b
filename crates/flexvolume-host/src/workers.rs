//! Disposable workers that are kept while they answer: for what belongs to no op of a volume's record.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
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
    /// Who is at something: a worker that is waited for, or one that was abandoned.
    busy: Mutex<HashMap<String, At>>,
    /// Somebody has come back.
    came: Condvar,
}

/// Who is at something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// One that is waited for.
    Work,
    /// One that was abandoned.
    Stuck(ProcessId),
}

/// What somebody has for himself while he is at it.
struct Taken<'a> {
    workers: &'a Workers,
    at: &'a str,
    left: Option<ProcessId>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut busy = self.workers.busy();
        match self.left {
            Some(held) => busy.insert(self.at.to_owned(), At::Stuck(held)),
            None => busy.remove(self.at),
        };
        drop(busy);
        self.workers.came.notify_all();
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("exe", &self.exe).finish_non_exhaustive()
    }
}

impl Workers {
    /// None is started yet.
    pub(crate) fn new(exe: PathBuf) -> Self {
        Self { exe, idle: Mutex::default(), busy: Mutex::default(), came: Condvar::new() }
    }

    /// Has a task done that is `at` something, one at a time; a worker that does not come back within `limit` is abandoned, and while it
    /// lives nobody else is sent to the same thing.
    ///
    /// # Errors
    /// [`Kind::Stuck`] then; else what the task itself says.
    pub(crate) fn ask(&self, at: &str, task: &Task, limit: Duration) -> Result<Done> {
        let mut taken = self.take(at)?;
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
            taken.left = Some(*held);
        }
        came(answer, limit)
    }

    /// Waits until nobody is at it.
    fn take<'a>(&'a self, at: &'a str) -> Result<Taken<'a>> {
        let mut busy = self.busy();
        busy.retain(|_, at| match at {
            At::Work => true,
            At::Stuck(held) => process::alive(held),
        });
        loop {
            match busy.get(at) {
                None => break,
                // Whoever is waited for comes back, or is abandoned.
                Some(At::Work) => busy = self.came.wait(busy).unwrap_or_else(PoisonError::into_inner),
                Some(At::Stuck(held)) => {
                    let what =
                        format!("pid {held}, which was told to end, is still at work there and does not end ({at})");
                    return Err(Error::new(Kind::Stuck, what).held_by(*held).hint(waits_for(held.pid)));
                }
            }
        }
        busy.insert(at.to_owned(), At::Work);
        Ok(Taken { workers: self, at, left: None })
    }

    fn busy(&self) -> MutexGuard<'_, HashMap<String, At>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
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
