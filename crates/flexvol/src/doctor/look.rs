//! Every look is taken by a worker process of its own, so that a file system that hangs hides only what lies on it.

use std::time::Duration;

use flexvolume_host::{
    drivers::call::{CALL_ID, WORKER},
    kernel_stack,
};
use flexvolume_linux::worker::{Task, Worker, WorkerError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    driver, entries,
    finding::{Finding, Group, Severity},
    machine, mounts, nfs, places, root,
    sight::Sight,
    traces,
};

/// Longer than any look takes where nothing hangs.
const LIMIT: Duration = Duration::from_secs(10);

/// All that a worker may be asked to look at.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Look {
    Places(places::Look),
    Elsewhere(places::LookElsewhere),
    Entries(entries::Look),
    Driver(driver::Look),
    Machine(machine::Look),
    Nfs(nfs::Look),
    Mounts(mounts::Look),
    Root(root::Look),
    Beneath(traces::Beneath),
    Loops(traces::Loops),
    Processes(traces::Processes),
}

/// A look that came to nothing.
#[derive(Debug)]
pub(crate) enum Unseen {
    /// It did not come back; the process that is held by the kernel.
    Hangs(u32),
    /// The worker itself failed, and how.
    Failed(String),
}

macro_rules! looks {
    ($($variant:ident $sight:ty;)*) => { $(
        impl From<$sight> for Look {
            fn from(sight: $sight) -> Self {
                Self::$variant(sight)
            }
        }
    )* };
}

looks! {
    Places places::Look;
    Elsewhere places::LookElsewhere;
    Entries entries::Look;
    Driver driver::Look;
    Machine machine::Look;
    Nfs nfs::Look;
    Mounts mounts::Look;
    Root root::Look;
    Beneath traces::Beneath;
    Loops traces::Loops;
    Processes traces::Processes;
}

impl Task for Look {
    const NAME: &'static str = "flexvol-doctor";
    type Answer = Result<Value, String>;

    fn run(self) -> Self::Answer {
        fn seen(sight: impl Sight) -> Result<Value, String> {
            serde_json::to_value(sight.look()).map_err(|error| error.to_string())
        }
        match self {
            Self::Places(sight) => seen(sight),
            Self::Elsewhere(sight) => seen(sight),
            Self::Entries(sight) => seen(sight),
            Self::Driver(sight) => seen(sight),
            Self::Machine(sight) => seen(sight),
            Self::Nfs(sight) => seen(sight),
            Self::Mounts(sight) => seen(sight),
            Self::Root(sight) => seen(sight),
            Self::Beneath(sight) => seen(sight),
            Self::Loops(sight) => seen(sight),
            Self::Processes(sight) => seen(sight),
        }
    }
}

/// Has a worker look; `call` marks it as ours.
pub(crate) fn ask<S: Sight + Into<Look>>(sight: S, call: &str) -> Result<S::Seen, Unseen> {
    let mark = vec![(CALL_ID.to_owned(), call.to_owned()), (WORKER.0.to_owned(), WORKER.1.to_owned())];
    let answer = Worker::new("/proc/self/exe".into(), mark).ask(&sight.into(), LIMIT);
    match answer {
        Ok(Ok(value)) => serde_json::from_value(value).map_err(|error| Unseen::Failed(error.to_string())),
        Ok(Err(words)) => Err(Unseen::Failed(words)),
        Err(WorkerError::Stuck(process, _)) => Err(Unseen::Hangs(process.pid)),
        Err(
            error @ (WorkerError::Start(_) | WorkerError::Died(_) | WorkerError::Panicked(_) | WorkerError::Message(_)),
        ) => Err(Unseen::Failed(error.to_string())),
    }
}

impl Unseen {
    /// What could not be seen.
    pub(crate) fn finding(&self, group: Group, about: &str) -> Finding {
        match self {
            Self::Hangs(pid) => Finding::new(
                group,
                Severity::Problem,
                "hangs",
                about,
                format!("a look at it has not come back for {} s", LIMIT.as_secs()),
            )
            .why("a file system that it lies on does not answer; whoever touches it waits as well")
            .mend("see what it waits for")
            .run(kernel_stack(*pid)),
            Self::Failed(words) => Finding::unseen(group, about, words),
        }
    }
}
