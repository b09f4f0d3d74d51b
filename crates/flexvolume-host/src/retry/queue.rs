//! What is due when, and how much of it at once: decisions alone, without a clock, a thread or a lock.
//!
//! ```text
//!            take: due, a slot of its driver free, its turn
//!   waiting ────────────────────────────────────────────────▶ running ──── done ────▶ over
//!      ▲  └────────────────────────── done ─────────────────────────────────────────▶
//!      └──────────────────── failed: due again after its backoff ───┘
//! ```
//!
//! Each driver has slots of its own, so that one that hangs costs nobody else's. Tasks of one volume take turns; those
//! that write come before those that only read, however often they have to be tried.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use flexvolume_protocol::DriverName;

use super::backoff::Backoff;

/// A task, by the order in which it was added.
pub type Id = usize;

/// Something to be done for a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Whose slot it takes.
    pub driver: DriverName,
    /// Those of one driver that name the same volume are never done at once.
    pub volume: String,
    /// It comes after those of the same volume that do not say so.
    pub after: bool,
}

/// The tasks of one run, each with what is known of it.
#[derive(Debug)]
pub struct Queue {
    slots: usize,
    tasks: Vec<Entry>,
    lines: BTreeMap<DriverName, Line>,
    over: usize,
}

#[derive(Debug)]
struct Entry {
    task: Task,
    backoff: Backoff,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting(Instant),
    /// `woken` if its driver came or changed meanwhile: a failure of this try says nothing of the next.
    Running {
        woken: bool,
    },
    Over,
}

/// The tasks of one driver.
#[derive(Debug, Default)]
struct Line {
    waiting: BTreeSet<(Instant, Id)>,
    running: usize,
    /// No two of its pods share a volume: nobody takes turns.
    apart: bool,
    turns: BTreeMap<String, Turn>,
}

/// The tasks of one volume.
#[derive(Debug, Default)]
struct Turn {
    running: usize,
    /// Those that come first and are not over.
    first: usize,
}

impl Queue {
    /// A queue with that many slots for each driver.
    pub fn new(slots: usize) -> Self {
        Self { slots: slots.max(1), tasks: Vec::new(), lines: BTreeMap::new(), over: 0 }
    }

    /// Adds a task that is due at `due`.
    pub fn add(&mut self, task: Task, due: Instant) -> Id {
        let id = self.tasks.len();
        let line = self.lines.entry(task.driver.clone()).or_default();
        line.waiting.insert((due, id));
        line.turns.entry(task.volume.clone()).or_default().first += usize::from(!task.after);
        self.tasks.push(Entry { task, backoff: Backoff::default(), phase: Phase::Waiting(due) });
        id
    }

    /// The next task to begin, which is running from now on; `None` if nothing may begin now.
    pub fn take(&mut self, now: Instant) -> Option<Id> {
        let Self { lines, tasks, slots, .. } = self;
        let (line, id) = lines.values_mut().filter(|line| line.running < *slots).find_map(|line| {
            let mut due = line.waiting.iter().take_while(|(due, _)| *due <= now);
            let (_, id) = *due.find(|(_, id)| line.permits(&tasks[*id].task))?;
            Some((line, id))
        })?;
        let entry = &mut tasks[id];
        if let Phase::Waiting(due) = entry.phase {
            line.waiting.remove(&(due, id));
        }
        entry.phase = Phase::Running { woken: false };
        line.running += 1;
        line.turns.entry(entry.task.volume.clone()).or_default().running += 1;
        Some(id)
    }

    /// The task is over, done or not: it does not come again.
    pub fn done(&mut self, id: Id) {
        let first = usize::from(!self.tasks[id].task.after);
        if self.leave(id) != Phase::Over {
            self.over += 1;
            if let Some(turn) = self.turn(id) {
                turn.first = turn.first.saturating_sub(first);
            }
        }
        self.tasks[id].phase = Phase::Over;
    }

    /// The task failed in `operation` and comes again; gives when it is due.
    pub fn failed(&mut self, id: Id, operation: &'static str, now: Instant) -> Instant {
        let wait = self.tasks[id].backoff.failed(operation);
        let due = if self.tasks[id].phase == (Phase::Running { woken: true }) { now } else { now + wait };
        if self.leave(id) != Phase::Over {
            self.wait(id, due);
        }
        due
    }

    /// Everything of this driver that waits is due at once, and what is running as soon as it has failed: the driver is
    /// there now, or was changed.
    pub fn wake(&mut self, driver: &DriverName, now: Instant) {
        for entry in self.tasks.iter_mut().filter(|entry| entry.task.driver == *driver) {
            if let Phase::Running { woken } = &mut entry.phase {
                *woken = true;
            }
        }
        let Some(line) = self.lines.get(driver) else { return };
        let ids: Vec<Id> = line.waiting.iter().filter(|(due, _)| *due > now).map(|(_, id)| *id).collect();
        for id in ids {
            self.leave(id);
            self.wait(id, now);
        }
    }

    /// This driver's volumes belong to one pod each: from now on none of its tasks takes turns.
    pub fn apart(&mut self, driver: &DriverName) {
        if let Some(line) = self.lines.get_mut(driver) {
            line.apart = true;
        }
    }

    /// When something will be due that could begin; what waits for a slot or its turn is not counted.
    pub fn next(&self) -> Option<Instant> {
        let free = self.lines.values().filter(|line| line.running < self.slots);
        free.filter_map(|line| line.waiting.iter().find(|(_, id)| line.permits(&self.tasks[*id].task)))
            .map(|(due, _)| *due)
            .min()
    }

    /// Whether every task is over.
    pub fn is_over(&self) -> bool {
        self.over == self.tasks.len()
    }

    /// Whether the task is under way.
    pub fn is_running(&self, id: Id) -> bool {
        matches!(self.tasks[id].phase, Phase::Running { .. })
    }

    /// How often the task's operation has failed in a row.
    pub fn tries(&self, id: Id) -> u32 {
        self.tasks[id].backoff.tries()
    }

    /// The task itself.
    pub fn task(&self, id: Id) -> &Task {
        &self.tasks[id].task
    }

    /// Takes the task out of the line; tells where it was.
    fn leave(&mut self, id: Id) -> Phase {
        let phase = self.tasks[id].phase;
        let line = self.lines.get_mut(&self.tasks[id].task.driver);
        match (phase, line) {
            (Phase::Waiting(due), Some(line)) => {
                line.waiting.remove(&(due, id));
            }
            (Phase::Running { .. }, Some(line)) => {
                line.running -= 1;
                if let Some(turn) = self.turn(id) {
                    turn.running -= 1;
                }
            }
            (Phase::Waiting(_) | Phase::Running { .. } | Phase::Over, _) => {}
        }
        phase
    }

    fn wait(&mut self, id: Id, due: Instant) {
        self.tasks[id].phase = Phase::Waiting(due);
        if let Some(line) = self.lines.get_mut(&self.tasks[id].task.driver) {
            line.waiting.insert((due, id));
        }
    }

    fn turn(&mut self, id: Id) -> Option<&mut Turn> {
        let task = &self.tasks[id].task;
        self.lines.get_mut(&task.driver)?.turns.get_mut(&task.volume)
    }
}

impl Line {
    fn permits(&self, task: &Task) -> bool {
        self.apart
            || self.turns.get(&task.volume).is_none_or(|turn| turn.running == 0 && (!task.after || turn.first == 0))
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
