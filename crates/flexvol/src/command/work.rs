//! Volumes worked on side by side, each driver within slots of its own, and again where somebody waits: for `up` and `down`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use flexvolume_host::{
    Error, Host, Kind, Note, Wall,
    drivers::{
        driver::Driver,
        watch::{Seen, Watch},
    },
    ledger::Retry,
    retry::{
        pool::{Happened, Pool, Work},
        queue::{Id, Queue, Task},
    },
    standing::Standing,
    volume::record::Record,
};
use flexvolume_linux::{process, signal};
use flexvolume_protocol::excerpt;

use super::{ground::Done, words};
use crate::{output::Show, problem::Problems, progress::Progress};

/// One volume to be worked on, and of which pod; one that no pod has is known by its key.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) volume: String,
}

/// Whether what failed is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// Each volume is tried once.
    No,
    /// Until all are done, or the time is over.
    For(Option<Duration>),
}

/// What came of it.
pub(super) struct Worked<T> {
    /// By job, in their order.
    pub(super) results: Vec<Done<T>>,
    /// The signal that ended it early.
    pub(super) asked: Option<i32>,
}

/// How much of an error is noted for other commands.
const NOTED: usize = 600;

/// The work of one run.
struct Run<'a, T> {
    host: &'a Host,
    show: &'a Show,
    jobs: &'a [Job],
    pool: Pool<T>,
    progress: Progress,
    /// How it ended, or how it failed last.
    results: Vec<Option<Result<T, Error>>>,
    /// What is noted for others, by job.
    noted: Vec<Option<Retry>>,
    /// The plugin directory, since something was first to be tried again.
    watch: Option<flexvolume_host::Result<Watch>>,
    /// The time that was given, once it is over.
    over: Option<Duration>,
}

/// Does `work` for every job, `slots` of each driver at once; the work's [`Id`] is the job's place in the list.
///
/// Nobody is waited for beyond the time, or once we are asked to end: what is under way then goes on without us.
pub(super) fn all<T: Send + 'static>(
    host: &Host,
    show: &Show,
    jobs: &[Job],
    slots: u8,
    wait: Wait,
    work: Work<T>,
) -> Worked<T> {
    let mut queue = Queue::new(slots.into());
    let now = Instant::now();
    for job in jobs {
        queue.add(job.task.clone(), now);
    }
    let pool = Pool::new(queue, work);
    let teller = pool.teller();
    // Without it a signal ends us as ever, and nothing is told.
    let _ = signal::on_ask_to_end(move |signal| teller.asked(signal));
    let (results, noted) = jobs.iter().map(|_| (None, None)).unzip();
    let progress = show.progress(jobs.len(), "volumes");
    let mut run = Run { host, show, jobs, pool, progress, results, noted, watch: None, over: None };
    let asked = run.run(wait);
    Worked { asked, results: run.told() }
}

impl<T: Send + 'static> Run<'_, T> {
    /// Until all is over, or the time; gives the signal that ended it before.
    fn run(&mut self, wait: Wait) -> Option<i32> {
        let (again, time) = match wait {
            Wait::No => (false, None),
            Wait::For(time) => (true, time),
        };
        let until = time.map(|time| Instant::now() + time);
        loop {
            match self.pool.next(until) {
                Happened::Began(id) => self.progress.begin(id, || self.jobs[id].short()),
                Happened::Note(id, note) => {
                    if let Some(id) = id {
                        self.progress.heed(id, &note);
                    }
                    self.show.note(note);
                }
                Happened::Ended(id, Err(error)) if again && comes_again(&error) => self.try_again(id, error),
                Happened::Ended(id, result) => {
                    self.progress.end(id);
                    self.pool.queue.done(id);
                    self.unnote(id);
                    self.results[id] = Some(result);
                }
                Happened::Asked(signal) => return Some(signal),
                Happened::Late => {
                    self.over = time;
                    return None;
                }
                Happened::Over => return None,
            }
        }
    }

    fn try_again(&mut self, id: Id, error: Error) {
        self.progress.again(id);
        self.watch();
        let now = Instant::now();
        let due = self.pool.queue.failed(id, operation(&error), now);
        let wait = due.saturating_duration_since(now);
        let text = format!("{}; tried again in {}", excerpt(&error.story(), NOTED), seconds(wait));
        self.show.note(Note::Warning { volume: self.jobs[id].subject(), text });
        self.note(id, &error, wait);
        self.results[id] = Some(Err(error));
    }

    /// A driver that comes, changes or works at last ends the wait of its volumes. Where nothing can be watched, time does.
    fn watch(&mut self) {
        if self.watch.is_some() {
            return;
        }
        let teller = self.pool.teller();
        let drivers = &self.host.ground().drivers;
        let names: BTreeSet<_> = self.jobs.iter().map(|job| job.task.driver.clone()).collect();
        // What was there before is no news: it has been tried. Nor is one that answers once more as it did.
        let loaded = names.iter().filter_map(|name| Some((name.clone(), drivers.loaded(name)?)));
        let known = Mutex::new(loaded.collect::<BTreeMap<_, _>>());
        let is_news = move |driver: &Arc<Driver>| {
            let Ok(mut known) = known.lock() else { return true };
            let old = known.insert(driver.name.clone(), driver.clone());
            old.is_none_or(|old| !old.is_like(driver))
        };
        let tell = move |seen| match seen {
            Seen::Ready(driver) if is_news(&driver) => teller.there(&driver.name),
            Seen::Note(note) => teller.aside(note),
            // What fails, or is gone, is told by the tries themselves.
            Seen::Ready(_) | Seen::Failed { .. } | Seen::Gone(_) | Seen::Trouble(_) => {}
        };
        let watch = Watch::start(drivers.clone(), Some(names), tell);
        if let Err(error) = &watch {
            let text = format!("nobody tells when a driver comes, so only time does: {}", error.story());
            self.show.note(Note::Warning { volume: String::new(), text });
        }
        self.watch = Some(watch);
    }

    /// For others to read. That it cannot be written keeps nobody from trying.
    fn note(&mut self, id: Id, error: &Error, wait: Duration) {
        let (Some(process), job) = (process::own(), &self.jobs[id]) else { return };
        let retry = Retry {
            driver: job.task.driver.to_string(),
            volume: job.volume.clone(),
            namespace: job.namespace.clone(),
            pod: job.pod.clone(),
            uid: job.uid.clone(),
            process,
            boot: self.host.ground().ident.boot.clone(),
            tries: self.pool.queue.tries(id),
            next: Wall::now().after(wait),
            operation: operation(error).to_owned(),
            last: excerpt(&error.story(), NOTED),
        };
        if self.host.ground().ledger.set_retry(&retry).is_ok() {
            self.noted[id] = Some(retry);
        }
    }

    fn unnote(&mut self, id: Id) {
        if let Some(retry) = self.noted[id].take() {
            let _ = self.host.ground().ledger.clear_retry(&retry);
        }
    }

    /// What came of every job. What is not over is named: what it waits for, or what is still under way.
    fn told(mut self) -> Vec<Done<T>> {
        (0..self.jobs.len()).for_each(|id| self.unnote(id));
        let Self { host, jobs, pool, results, over, .. } = self;
        let within = over.map_or(String::new(), |time| format!(" in {} s", time.as_secs_f64()));
        let told = |(id, result): (Id, Option<Result<T, Error>>)| {
            let job = &jobs[id];
            let result = match result {
                _ if pool.queue.is_running(id) => Err(under_way(host, job).into()),
                Some(Ok(done)) => Ok(done),
                Some(Err(error)) if pool.queue.tries(id) > 0 => {
                    let tries = pool.queue.tries(id);
                    let word = if tries == 1 { "try" } else { "tries" };
                    Err(Problems::from(error).about(&format!("not done after {tries} {word}{within}")))
                }
                Some(Err(error)) => Err(error.into()),
                None => Err(not_begun(job).into()),
            };
            result.map_err(|problems: Problems| problems.about(&job.subject()))
        };
        results.into_iter().enumerate().map(told).collect()
    }
}

impl Job {
    /// For a line that has little room.
    fn short(&self) -> String {
        if self.pod.is_empty() {
            self.volume.clone()
        } else {
            format!("{}/{} {}", self.namespace, self.pod, self.volume)
        }
    }

    fn whose(&self) -> String {
        words::whose(&self.namespace, &self.pod, &self.uid)
    }

    /// What errors say first.
    pub(super) fn subject(&self) -> String {
        if self.pod.is_empty() {
            format!("volume {}", self.volume)
        } else {
            format!("pod {}, volume {}", self.whose(), self.volume)
        }
    }

    fn record(&self, host: &Host) -> Option<Record> {
        if self.uid.is_empty() {
            return host.ground().ledger.get(&self.volume).ok().flatten();
        }
        let mine = |record: &Record| record.users.get(&self.uid).is_some_and(|user| user.volume == self.volume);
        host.of_pod(&self.uid).ok()?.into_iter().find(mine)
    }
}

/// Whether waiting may help. What is wrong in itself stays so, but for a driver's file, which may be replaced.
fn comes_again(error: &Error) -> bool {
    match error.kind() {
        Kind::Invalid => error.operation() == Some("init"),
        Kind::NotFound | Kind::Refused | Kind::Busy | Kind::Stuck | Kind::Driver | Kind::System | Kind::Ledger => true,
    }
}

/// What failed: an op, or what comes before the first one.
fn operation(error: &Error) -> &'static str {
    error.operation().unwrap_or("begin")
}

fn under_way(host: &Host, job: &Job) -> Error {
    let record = job.record(host);
    let verb = record.as_ref().and_then(|record| host.call_of(record)?.verb);
    let what = match (record.map(|record| host.standing(&record)), verb) {
        (Some(Standing::Working { op, process: Some(process), .. }), Some(verb)) => {
            format!("{op} is still under way: driver {} is at {verb}, as pid {process}", job.task.driver)
        }
        (Some(Standing::Working { op, .. }), _) => format!("{op} is still under way"),
        (Some(Standing::Stuck { op, process } | Standing::Orphan { op, process }), _) => {
            format!("{op} waits for pid {process}, of an earlier run")
        }
        (Some(Standing::Rest | Standing::CutOff { .. }) | None, _) => format!(
            "it is still being begun: driver {} has not answered init, or another command works on the volume",
            job.task.driver
        ),
    };
    Error::new(Kind::Busy, what)
        .hint("what was begun goes on by itself; flexvol ls shows how far it is, and the next run takes it up")
}

fn not_begun(job: &Job) -> Error {
    Error::new(Kind::Busy, format!("it was not begun: driver {} was busy with other volumes", job.task.driver))
        .hint("try again; --jobs says how many volumes of a driver are worked on at once")
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}
