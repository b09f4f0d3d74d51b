//! After a crash: what an interrupted op left running is ended before anything else is done for its volume.

use std::time::{Duration, Instant};

use flexvolume_linux::process::{self, Kill, ProcessId};
use flexvolume_protocol::VerbName;
use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};

use super::{Hands, stage::FORMAT};
use crate::{
    drivers::call::{CALL_ID, WORKER},
    error::{Error, Kind, Result, waits_for},
    ident::Ident,
    lock,
    note::Note,
    volume::{
        record::{Made, OpenCall, Record},
        state::{At, Level, Op, Place, Rung, Seen},
        step,
    },
};

/// Between TERM and KILL for a daemon, and at most for what is at work.
const GRACE: Duration = Duration::from_secs(10);
/// A worker of a dead host is at one step of the kernel, or at a walk that is begun anew: it need not end that.
const WORKER_GRACE: Duration = Duration::from_secs(1);
/// Between two looks at what is at work.
const TICK: Duration = Duration::from_millis(5);

/// What became of an interrupted op.
pub enum Recovered {
    /// Nothing of it runs any more; this is what the kernel shows.
    Over(Seen),
    /// This still runs and cannot be ended.
    Busy(Error),
}

/// The record as it is after a reboot, or after its mount namespace has gone: mounts are gone, devices and processes mean
/// nothing.
pub fn boot_changed(record: &mut Record, ident: &Ident) -> bool {
    if record.boot == ident.boot && record.namespace == ident.namespace {
        return false;
    }
    record.boot.clone_from(&ident.boot);
    record.namespace.clone_from(&ident.namespace);
    record.state = step::rebooted(record.state.clone());
    // What was no mount did not go with them: it is undone through the driver.
    for place in record.places.iter().filter(|(_, made)| **made == Made::NoMount).map(|(place, _)| place) {
        record.state.places.insert(place.clone(), At::Half);
    }
    record.call = None;
    if record.state.floor == Level::Attached {
        // Who attached it said what it is called; what waiting made of that may be another's by now.
        record.state.rung = Rung::Attached(record.attached.clone());
    } else {
        record.attached.clear();
    }
    record.leftovers.clear();
    record.probe = None;
    record.stage = None;
    record.places.clear();
    record.traces.clear();
    record.place_traces.clear();
    record.inner.clear();
    true
}

impl Hands<'_> {
    /// After a reboot: the bare directories at which mounts lay are taken away; a mount that is there all the same is nobody's.
    pub fn look_after_reboot(&mut self) {
        let places: Vec<Place> = self.record.users.keys().cloned().collect();
        for place in places {
            let relative = self.ground.layout.place(&place, &self.record.driver, &self.record.name);
            let Ok(Some(target)) = self.existing(&relative) else { continue };
            if target.seen() == Seen::Mounted {
                self.record.state.places.insert(place, At::Half);
            } else if target.remove().is_ok() {
                let _ = self.prune(&relative);
            }
        }
        if let Ok(Some(target)) = self.existing(&self.ground.layout.global(&self.record.driver, &self.record.name)) {
            let _ = target.remove();
        }
    }

    /// Waits for, then ends, the processes of the interrupted `op`; then looks.
    pub fn interrupted(&mut self, op: &Op) -> Result<Recovered> {
        let lock = self.ground.layout.lock(&self.record.key);
        let call = self.record.call.clone().map(|call| lock::with_note(&lock, call));
        // Should it not end, who gives it up writes down what is known of it.
        self.record.call.clone_from(&call);
        if let Some(call) = &call {
            // First what is at work. What left the call's group or session is a daemon that the call began.
            if let Some(alive) = self.await_end(op, call)? {
                let what = format!(
                    "pid {}, at work for an interrupted {op} of volume {}, has not ended",
                    alive.pid, self.record.key
                );
                return Ok(Recovered::Busy(
                    Error::new(Kind::Busy, what)
                        .held_by(alive)
                        .hint(format!("nothing is done for this volume until it has; {}", waits_for(alive.pid))),
                ));
            }
            self.record.leftovers.insert(call.id.clone(), op.undoing());
        }
        let seen = self.look(op);
        if call.is_some() && seen == Seen::Nothing && op.undoing() != Op::Detach {
            // There is nothing to undo, and what the call left running might mount yet.
            self.end_leftovers(&op.undoing());
        }
        Ok(Recovered::Over(seen))
    }

    /// Ends daemons of calls that nobody acknowledged, now that `undone` has undone those calls.
    pub(super) fn end_leftovers(&mut self, undone: &Op) {
        let ids: Vec<String> =
            self.record.leftovers.extract_if(.., |_, undoing| undoing == undone).map(|(id, _)| id).collect();
        for id in ids {
            let Ok(processes) = process::marked(CALL_ID, &id) else { continue };
            for alive in process::end(&processes, GRACE, true) {
                self.warn(format!(
                    "pid {}, left behind by a call that was cut off, cannot be ended; it may still use the volume",
                    alive.pid
                ));
            }
        }
    }

    /// `None` once no process at work on the call is left; else one that goes on, after its time is over.
    fn await_end(&mut self, op: &Op, call: &OpenCall) -> Result<Option<ProcessId>> {
        let start = Instant::now();
        let mut told = false;
        loop {
            let at_work = at_work(call)?;
            let Some(first) = at_work.first() else { return Ok(None) };
            if !told {
                told = true;
                (self.notes)(Note::Waiting {
                    volume: self.record.key.clone(),
                    whom: format!("pid {}, left at work by an interrupted run", first.id.pid),
                });
            }
            let due: Vec<(&AtWork, Kill)> = at_work
                .iter()
                .map(|one| (one, self.limit(op, call, one)))
                .filter(|(one, kill)| is_due(one, *kill, start.elapsed(), self.ground.settings.patience))
                .collect();
            if due.is_empty() {
                std::thread::sleep(TICK);
                continue;
            }
            let (killed, asked): (Vec<_>, Vec<_>) =
                due.iter().filter(|(one, _)| one.certain).partition(|(_, kill)| matches!(kill, Kill::After { .. }));
            let end = |some: Vec<&(&AtWork, Kill)>, kill| {
                let ids: Vec<ProcessId> =
                    some.iter().filter(|(_, kill)| *kill != Kill::Never).map(|(one, _)| one.id).collect();
                let grace = some.iter().map(|(_, kill)| grace(*kill)).max().unwrap_or_default();
                process::end(&ids, grace, kill)
            };
            end(killed, true);
            end(asked, false);
            if let Some((alive, _)) = due.iter().find(|(one, _)| process::alive(&one.id)) {
                return Ok(Some(alive.id));
            }
        }
    }

    /// How long a process at work may take: a driver as its verb may, counted from its start.
    fn limit(&self, op: &Op, call: &OpenCall, one: &AtWork) -> Kill {
        let config = self.ground.settings.config.driver(&self.record.driver);
        let of = |verb| config.limits(verb).kill;
        if one.is_worker {
            return match op {
                // It may be at a format, whose tools are never killed.
                Op::Stage => Kill::Ask { at: FORMAT },
                Op::Attach
                | Op::Publish(_)
                | Op::Finish(_)
                | Op::Unpublish(_)
                | Op::Unstage
                | Op::Detach
                | Op::Grow(_) => Kill::After { at: Duration::ZERO, grace: WORKER_GRACE },
            };
        }
        match (call.verb, op) {
            (Some(verb), _) => of(verb),
            (None, Op::Attach) => of(VerbName::Attach),
            (None, Op::Stage) => of(VerbName::MountDevice),
            (None, Op::Publish(_) | Op::Finish(_)) => of(VerbName::Mount),
            (None, Op::Unpublish(_)) => of(VerbName::Unmount),
            (None, Op::Unstage) => of(VerbName::UnmountDevice),
            (None, Op::Detach) => of(VerbName::Detach),
            (None, Op::Grow(_)) => of(VerbName::ExpandVolume),
        }
    }

    /// What is there for `op`, after taking away what it left that is nothing but an empty directory.
    fn look(&self, op: &Op) -> Seen {
        let relative = match op {
            Op::Attach | Op::Detach => return Seen::Nothing,
            // What is not mounted by us leaves nothing to see.
            Op::Stage | Op::Unstage if self.record.spec.block => return Seen::Nothing,
            // Nothing is to be undone.
            Op::Grow(_) => return Seen::Mounted,
            Op::Stage | Op::Unstage => self.ground.layout.global(&self.record.driver, &self.record.name),
            Op::Publish(place) | Op::Finish(place) | Op::Unpublish(place) => {
                self.ground.layout.place(place, &self.record.driver, &self.record.name)
            }
        };
        match self.existing(&relative) {
            // Files without a mount are half-made work as well: they are undone through the driver.
            Ok(Some(target)) if target.seen() == Seen::Mounted || target.remove().is_err() => return Seen::Mounted,
            Ok(Some(_) | None) => {}
            Err(_) => return Seen::Mounted,
        }
        if op.place().is_some() && self.prune(&relative).is_err() {
            return Seen::Mounted;
        }
        Seen::Nothing
    }
}

/// A process at work.
struct AtWork {
    id: ProcessId,
    /// When the call it works for was begun, as processes count time.
    began: u64,
    /// A worker of ours, or a child of one.
    is_worker: bool,
    /// It is this call's beyond doubt, so that it may be sent signals.
    certain: bool,
}

/// The call's living processes that are at work: its own group, and our worker with its children. Where the group was
/// not recorded, all that stayed in the session of the host that began it. A process of a dead host that has not yet
/// become the driver cannot be missed: it still holds the volume's lock.
fn at_work(call: &OpenCall) -> Result<Vec<AtWork>> {
    let marked = process::marked(CALL_ID, &call.id)?;
    let workers = process::marked(WORKER.0, WORKER.1)?;
    let mut found: Vec<AtWork> = Vec::new();
    let mut members = Vec::new();
    if let Some(leader) = call.process {
        members = process::group_members(leader.pid)?;
        let (alive, replaced) =
            (members.contains(&leader), members.iter().any(|id| id.pid == leader.pid && *id != leader));
        // A child without our variable is the call's as long as the number of its group cannot be another's.
        let unmarked = members.iter().filter(|id| !marked.contains(id) && !replaced);
        found.extend(unmarked.map(|id| AtWork { id: *id, began: leader.started, is_worker: false, certain: alive }));
    }
    for id in marked {
        let is_worker = workers.contains(&id);
        let is_driver = match call.process {
            Some(_) => members.contains(&id),
            None => process::session(id.pid) == call.session,
        };
        if is_worker || is_driver {
            let began = call.process.filter(|_| !is_worker).map_or(id.started, |leader| leader.started);
            found.push(AtWork { id, began, is_worker, certain: true });
        }
    }
    Ok(found)
}

/// Whether its time is over. What may go on for ever, or may not be sent signals, is waited for as long as a person would.
fn is_due(one: &AtWork, kill: Kill, waited: Duration, patience: Duration) -> bool {
    let at = match kill {
        Kill::After { at, .. } | Kill::Ask { at } if one.certain => at,
        Kill::After { .. } | Kill::Ask { .. } | Kill::Never => return waited >= patience,
    };
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0));
    let began = Duration::from_millis(one.began.saturating_mul(1000) / clock_ticks_per_second().max(1));
    now.saturating_sub(began) >= at
}

fn grace(kill: Kill) -> Duration {
    match kill {
        Kill::After { grace, .. } => grace,
        Kill::Ask { at } => GRACE.min(at),
        Kill::Never => Duration::ZERO,
    }
}
