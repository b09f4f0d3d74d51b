//! After a crash: what an interrupted op left running is ended before anything else is done for its volume.

use std::time::{Duration, Instant};

use flexvolume_linux::process::{self, ProcessId};

use super::Hands;
use crate::{
    drivers::call::{CALL_ID, WORKER},
    error::{Error, Kind, Result},
    note::Note,
    volume::{
        record::Record,
        state::{Op, Seen},
        step,
    },
};

/// How long processes of an interrupted call may go on by themselves before they are asked to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(10);

/// What became of an interrupted op.
pub enum Recovered {
    /// Nothing of it runs any more; this is what the kernel shows.
    Over(Seen),
    /// This still runs and cannot be ended.
    Busy(Error),
}

/// The record as it is after a reboot: mounts are gone, devices and processes mean nothing.
pub fn boot_changed(record: &mut Record, boot: &str) -> bool {
    if record.boot == boot {
        return false;
    }
    record.boot = boot.to_owned();
    record.state = step::rebooted(record.state.clone());
    record.call = None;
    record.leftovers.clear();
    record.stage = None;
    record.places.clear();
    true
}

impl Hands<'_> {
    /// Waits for, then ends, the processes of the interrupted `op`; then looks.
    pub fn interrupted(&mut self, op: &Op) -> Result<Recovered> {
        if let Some(call) = self.record.call.clone() {
            let group = call.process.map(|process| process.pid);
            // First the call's own group: it is at work. What left the group is a daemon that the call began.
            if let Some(alive) = self.await_end(&call.id, group)? {
                return Ok(Recovered::Busy(
                    Error::new(
                        Kind::Busy,
                        format!(
                            "pid {} of an interrupted {op} of volume {} cannot be ended",
                            alive.pid, self.record.key
                        ),
                    )
                    .hint(format!(
                        "nothing is done for this volume until it has ended; see cat /proc/{}/stack",
                        alive.pid
                    )),
                ));
            }
            self.record.leftovers.insert(call.id);
        }
        Ok(Recovered::Over(self.look(op)))
    }

    /// Ends daemons of calls that nobody acknowledged, now that those calls are undone.
    pub(super) fn end_leftovers(&mut self) {
        let current = self.record.call.as_ref().map(|call| call.id.clone());
        for id in std::mem::take(&mut self.record.leftovers) {
            if Some(&id) == current.as_ref() {
                continue;
            }
            if let Ok(processes) = process::marked(CALL_ID, &id) {
                process::end(&processes, GRACE, true);
            }
        }
    }

    /// `None` once no process at work on the call is left; else one that will not end.
    fn await_end(&mut self, id: &str, group: Option<u32>) -> Result<Option<ProcessId>> {
        let start = Instant::now();
        let mut told = false;
        loop {
            let at_work = at_work(id, group)?;
            let Some(first) = at_work.first() else { return Ok(None) };
            if !told {
                told = true;
                (self.notes)(Note::Waiting {
                    volume: self.record.key.clone(),
                    whom: format!("pid {}, left at work by an interrupted run", first.pid),
                });
            }
            if start.elapsed() >= PATIENCE {
                return Ok(process::end(&at_work, GRACE, true).into_iter().next());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is there for `op`, after taking away what it left that is nothing but an empty directory.
    fn look(&self, op: &Op) -> Seen {
        let relative = match op {
            Op::Attach | Op::Detach => return Seen::Nothing,
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
        if op.place().is_some() {
            self.prune(&relative);
        }
        Seen::Nothing
    }
}

/// The call's living processes that are at work: its own group and our worker with its children; every one of them where
/// the group was not recorded. A process of a dead host that has not yet become the driver cannot be missed: it
/// still holds the volume's lock.
fn at_work(id: &str, group: Option<u32>) -> Result<Vec<ProcessId>> {
    let marked = process::marked(CALL_ID, id)?;
    let Some(group) = group else { return Ok(marked) };
    let workers = process::marked(WORKER.0, WORKER.1)?;
    let members = process::group_members(group)?;
    let at_work = |process: &ProcessId| members.contains(process) || workers.contains(process);
    Ok(marked.into_iter().filter(at_work).collect())
}
