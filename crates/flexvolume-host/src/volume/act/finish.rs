//! After the mount: ownership for the pod's group, growth.

use std::time::Duration;

use flexvolume_linux::{fs::Usage, mount::Presence, process};
use flexvolume_protocol::excerpt;

use super::{Ended, Hands, directory::SOON};
use crate::{
    error::{Error, Kind, Result, waits_for},
    task::{Done, PROBE, Raw, Task},
    volume::{
        record::{Made, Record},
        state::{Op, Seen},
    },
};

/// A tree of millions of files takes its time; this only says when to call it hung.
const WALK: Duration = Duration::from_secs(3600);

/// Whether an op has nothing to do for this volume: it calls nobody and changes nothing, so that nothing of it can be cut off.
pub fn is_idle(record: &Record, op: &Op) -> bool {
    match op {
        Op::Finish(place) => record.users.get(place).is_some_and(|user| user.fs_group.is_none()) && !record.is_small(),
        Op::Attach | Op::Stage | Op::Publish(_) | Op::Unpublish(_) | Op::Unstage | Op::Detach | Op::Grow(_) => false,
    }
}

impl Hands<'_> {
    pub(super) fn finish(&mut self, place: &str) -> Ended {
        match self.own(place).and_then(|()| self.grow_small(place)) {
            Ok(()) => Ended { answer: Ok(String::new()), seen: Seen::Mounted },
            Err(error) => Ended::failed(error, Seen::Mounted),
        }
    }

    /// Whether the mount at `place` is there and does not answer: asked by a worker, since asking may hang.
    pub fn is_dead(&mut self, place: &str) -> bool {
        if !matches!(self.record.places.get(place), Some(Made::Mount(_))) {
            return false;
        }
        let path = self.absolute(&self.ground.layout.place(place, &self.record.driver, &self.record.name));
        // One that hangs may yet come back; it is not taken from under a pod for that.
        matches!(self.ask(&Task::Probe { path }), Ok(Done::Seen(Presence::Corrupted(_))))
    }

    /// The same of the global mount, which all places show; of a raw device whether it has gone.
    pub fn is_stage_dead(&mut self) -> bool {
        if self.record.spec.block && self.record.state.is_staged() {
            let device = self.record.state.rung.device().into();
            return matches!(self.ask(&Task::LookRaw { device }), Ok(Done::Raw(Raw::Nothing)));
        }
        if !matches!(self.record.stage, Some(Made::Mount(_))) {
            return false;
        }
        let path = self.absolute(&self.ground.layout.global(&self.record.driver, &self.record.name));
        matches!(self.ask(&Task::Probe { path }), Ok(Done::Seen(Presence::Corrupted(_))))
    }

    /// How full the volume is, asked by a worker; `None` for a driver that does not announce `supportsMetrics`.
    pub fn usage(&mut self, place: &str) -> Result<Option<Usage>> {
        if !self.driver()?.capabilities.supports_metrics || !self.record.places.contains_key(place) {
            return Ok(None);
        }
        let path = self.absolute(&self.ground.layout.place(place, &self.record.driver, &self.record.name));
        match self.ask(&Task::Usage { path })? {
            Done::Usage(usage) => Ok(Some(usage)),
            Done::Plainly
            | Done::Told(_)
            | Done::Unmounted(_)
            | Done::Owned(_)
            | Done::Seen(_)
            | Done::Free(_)
            | Done::Raw(_) => Ok(None),
        }
    }

    /// Asks a file system that may hang. One worker at most is lost to a volume in this way: while it is held, the answer
    /// is known.
    fn ask(&mut self, task: &Task) -> Result<Done> {
        let here = self.record.boot == self.ground.ident.boot;
        if let Some(held) = self.record.probe.filter(|held| here && process::alive(held)) {
            return Err(Error::new(
                Kind::Stuck,
                format!("the file system still does not answer; pid {held} waits for it"),
            )
            .held_by(held)
            .hint(waits_for(held.pid)));
        }
        // No op is under way, so nobody looks for its processes: one that is kept will do.
        let answer = self.ground.workers.ask(&format!("{} of {}", task.name(), self.record.key), task, PROBE);
        self.record.probe = answer.as_ref().err().and_then(Error::process);
        answer
    }

    /// As Kubernetes: only with an fsGroup, on a writable volume, of a driver that does not see to it itself.
    fn own(&mut self, place: &str) -> Result<()> {
        let user = self.user(place)?;
        let Some(gid) = user.fs_group else { return Ok(()) };
        let mounted = matches!(self.record.places.get(place), Some(Made::Mount(_)));
        if user.read_only || !mounted || !self.driver()?.capabilities.fs_group {
            return Ok(());
        }
        let dir = self.absolute(&self.ground.layout.place(place, &self.record.driver, &self.record.name));
        // A walk may take an hour, but one that cannot even begin is told soon.
        self.work(&Task::Probe { path: dir.clone() }, SOON)?;
        let task = Task::FsGroup { dir, gid, on_mismatch: user.fs_group_on_mismatch };
        if let Done::Owned(applied) = self.work(&task, WALK)?
            && applied.failed > 0
        {
            self.warn(format!(
                "{} entries could not be given to group {gid}, first: {}",
                applied.failed,
                applied
                    .missed
                    .iter()
                    .map(|m| format!("{} ({})", excerpt(&m.path.to_string_lossy(), 200), m.why))
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
        Ok(())
    }
}
