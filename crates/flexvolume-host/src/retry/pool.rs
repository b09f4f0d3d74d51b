//! The threads that do what the queue says, and the one channel by which they and the world outside tell what happened.
//!
//! The caller's own thread decides everything: it asks [`Pool::next`] and is told one thing at a time. A thread is born
//! only for a task whose slot is free, and ends with it. Nobody waits for threads: when the caller has had enough it goes
//! its way, and what is under way is left as a `kill -9` would leave it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Instant,
};

use flexvolume_protocol::DriverName;

use super::queue::{Id, Queue};
use crate::{
    error::{Error, Kind, Result},
    note::Note,
};

/// Does one task, on a thread of its own; notes and more are told through the [`Teller`].
pub type Work<T> = Arc<dyn Fn(Id, &Teller<T>) -> Result<T> + Send + Sync>;

/// Slots, threads and what is due.
pub struct Pool<T> {
    /// What is due when. Whoever is told [`Happened::Ended`] says here what becomes of the task.
    pub queue: Queue,
    work: Work<T>,
    tell: Teller<T>,
    told: Receiver<Told<T>>,
}

/// What the caller is told.
#[derive(Debug)]
pub enum Happened<T> {
    /// A task was begun.
    Began(Id),
    /// A task has something to say, or somebody else.
    Note(Option<Id>, Note),
    /// A task ended: the caller calls [`Queue::done`] or [`Queue::failed`] for it.
    Ended(Id, Result<T>),
    /// We are asked to end, by this signal.
    Asked(i32),
    /// The time is over.
    Late,
    /// Every task is over.
    Over,
}

/// How threads and the world outside reach the pool; may be cloned and sent anywhere.
#[derive(Debug)]
pub struct Teller<T>(Sender<Told<T>>);

#[derive(Debug)]
enum Told<T> {
    Happened(Happened<T>),
    Apart(DriverName),
    There(DriverName),
}

impl<T: Send + 'static> Pool<T> {
    /// A pool for these tasks; nothing is begun yet.
    pub fn new(queue: Queue, work: Work<T>) -> Self {
        let (tell, told) = channel();
        Self { queue, work, tell: Teller(tell), told }
    }

    /// Something to tell the pool by.
    pub fn teller(&self) -> Teller<T> {
        self.tell.clone()
    }

    /// Begins what is due and waits for the next thing that the caller must know. What was told before the time was over
    /// is told first.
    pub fn next(&mut self, until: Option<Instant>) -> Happened<T> {
        loop {
            let mut told = self.told.try_recv().ok();
            if told.is_none() {
                let now = Instant::now();
                if self.queue.is_over() {
                    return Happened::Over;
                }
                if until.is_some_and(|until| until <= now) {
                    return Happened::Late;
                }
                if let Some(id) = self.queue.take(now) {
                    self.start(id);
                    return Happened::Began(id);
                }
                let wake = self.queue.next().into_iter().chain(until).min();
                told = match wake.map(|at| self.told.recv_timeout(at.saturating_duration_since(now))) {
                    Some(Ok(told)) => Some(told),
                    Some(Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) => None,
                    None => self.told.recv().ok(),
                };
            }
            match told {
                Some(Told::Happened(happened)) => return happened,
                Some(Told::Apart(driver)) => self.queue.apart(&driver),
                Some(Told::There(driver)) => self.queue.wake(&driver, Instant::now()),
                None => {}
            }
        }
    }

    fn start(&self, id: Id) {
        let (work, tell) = (self.work.clone(), self.tell.clone());
        let run = move || {
            let result = catch_unwind(AssertUnwindSafe(|| work(id, &tell)));
            let result = result.unwrap_or_else(|_| Err(Error::new(Kind::System, "a thread of our own failed")));
            // Whoever hears of the last end may close what the work holds: then it is not this thread that closes it.
            drop(work);
            tell.send(Told::Happened(Happened::Ended(id, result)));
        };
        if let Err(error) = thread::Builder::new().name("volume".into()).spawn(run) {
            let error = Error::new(Kind::System, "cannot start a thread").because(error);
            self.tell.send(Told::Happened(Happened::Ended(id, Err(error))));
        }
    }
}

impl<T> Teller<T> {
    /// Passes a note of one task on.
    pub fn note(&self, id: Id, note: Note) {
        self.send(Told::Happened(Happened::Note(Some(id), note)));
    }

    /// Passes a note on that is of no task.
    pub fn aside(&self, note: Note) {
        self.send(Told::Happened(Happened::Note(None, note)));
    }

    /// This driver's volumes belong to one pod each: its tasks take no turns from now on.
    pub fn apart(&self, driver: &DriverName) {
        self.send(Told::Apart(driver.clone()));
    }

    /// This driver is there now, or was changed: all of its volumes that wait are tried at once.
    pub fn there(&self, driver: &DriverName) {
        self.send(Told::There(driver.clone()));
    }

    /// We are asked to end, by this signal.
    pub fn asked(&self, signal: i32) {
        self.send(Told::Happened(Happened::Asked(signal)));
    }

    fn send(&self, told: Told<T>) {
        // A caller that went its way hears nothing any more.
        let _ = self.0.send(told);
    }
}

impl<T> Clone for Teller<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Barrier, Mutex},
        time::Duration,
    };

    use super::{super::queue::Task, *};

    const LONG: Duration = Duration::from_secs(60);

    fn task(driver: &str, volume: usize) -> Task {
        Task { driver: DriverName::parse(driver).unwrap(), volume: volume.to_string(), after: false }
    }

    fn queue(drivers: &[&str], slots: usize) -> Queue {
        let mut queue = Queue::new(slots);
        for (volume, driver) in drivers.iter().enumerate() {
            queue.add(task(driver, volume), Instant::now());
        }
        queue
    }

    /// The next thing that is no beginning.
    fn next<T: Send + 'static>(pool: &mut Pool<T>, until: Option<Instant>) -> Happened<T> {
        loop {
            let happened = pool.next(until);
            if !matches!(happened, Happened::Began(_)) {
                return happened;
            }
        }
    }

    fn ended<T: Send + std::fmt::Debug + 'static>(pool: &mut Pool<T>) -> (Id, Result<T>) {
        match next(pool, Some(Instant::now() + LONG)) {
            Happened::Ended(id, result) => (id, result),
            other
            @ (Happened::Began(_) | Happened::Note(..) | Happened::Asked(_) | Happened::Late | Happened::Over) => {
                panic!("{other:?}")
            }
        }
    }

    #[test]
    fn drivers_run_side_by_side_and_each_within_its_slots() {
        // Whoever is not met by one of the other driver waits here for ever.
        let meet = Arc::new(Barrier::new(2));
        let most: Arc<Mutex<(usize, usize)>> = Arc::default();
        let work: Work<()> = Arc::new(move |_, _| {
            {
                let mut count = most.lock().unwrap();
                count.0 += 1;
                count.1 = count.1.max(count.0);
                assert!(count.1 <= 2, "two drivers with a slot each");
            }
            meet.wait();
            most.lock().unwrap().0 -= 1;
            Ok(())
        });
        let mut pool = Pool::new(queue(&["v/a", "v/a", "v/b", "v/b"], 1), work);
        for _ in 0..4 {
            let (id, result) = ended(&mut pool);
            result.unwrap();
            pool.queue.done(id);
        }
        assert!(matches!(pool.next(None), Happened::Over));
    }

    #[test]
    fn what_failed_is_done_again_and_a_driver_that_comes_is_not_waited_for() {
        let tries: Arc<Mutex<u32>> = Arc::default();
        let work: Work<u32> = Arc::new(move |_, _| {
            let mut tries = tries.lock().unwrap();
            *tries += 1;
            if *tries < 8 { Err(Error::new(Kind::NotFound, "not there").during("init")) } else { Ok(*tries) }
        });
        let mut pool = Pool::new(queue(&["v/a"], 1), work);
        let teller = pool.teller();
        let began = Instant::now();
        loop {
            match ended(&mut pool) {
                (_, Ok(tries)) => break assert_eq!(tries, 8),
                (id, Err(error)) => {
                    pool.queue.failed(id, error.operation().unwrap(), Instant::now());
                    teller.there(&DriverName::parse("v/a").unwrap());
                }
            }
        }
        assert!(began.elapsed() < Duration::from_secs(32), "63 seconds of backoff were waited for");
    }

    #[test]
    fn nobody_is_waited_for_beyond_the_time_and_what_was_told_before_counts() {
        let work: Work<()> = Arc::new(|id, tell| {
            if id == 0 {
                thread::sleep(LONG);
            }
            tell.note(id, Note::Waiting { volume: String::new(), whom: "x".into() });
            Ok(())
        });
        let mut pool = Pool::new(queue(&["v/a", "v/b"], 1), work);
        assert!(matches!(next(&mut pool, None), Happened::Note(..)));
        let (id, _) = ended(&mut pool);
        pool.queue.done(id);
        pool.teller().asked(15);
        let past = Instant::now();
        assert!(matches!(pool.next(Some(past)), Happened::Asked(15)));
        assert!(matches!(pool.next(Some(past)), Happened::Late));
        assert!(pool.queue.is_running(0));
    }

    #[test]
    fn a_thread_that_panics_is_a_failure_like_any_other() {
        let work: Work<()> = Arc::new(|_, _| panic!("as the test has it"));
        let mut pool = Pool::new(queue(&["v/a"], 1), work);
        assert_eq!(ended(&mut pool).1.unwrap_err().kind(), Kind::System);
    }
}
