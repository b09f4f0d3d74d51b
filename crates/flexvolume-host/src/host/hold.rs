//! Volumes held on the node without a pod: brought up, looked up, made anew where they are lost, let go.

use std::path::PathBuf;

use flexvolume_linux::mount::{self, Presence};
use flexvolume_protocol::{DriverName, VolumeName};

use super::{Host, first};
use crate::{
    engine::{Failed, Scope, drive},
    error::{Error, Kind as ErrorKind, Result},
    ledger::Durability,
    note::Notes,
    volume::{
        act::{Hands, Keys},
        admit::otherwise_up,
        hold::{Hold, Met},
        record::{self, Kind, Record, Spec},
        state::{Event, Level, Rung, Want},
        step::step,
    },
};

/// A volume that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The ledger's key.
    pub key: String,
    /// How its driver is handled.
    pub kind: Kind,
    /// The global directory, at which it is mounted unless it is a raw device.
    pub path: PathBuf,
    /// The device as the driver named it: opaque, possibly empty; of a raw volume the path of a block device.
    pub device: String,
    /// What it is, as it was asked for.
    pub spec: Spec,
    /// The global mount, or the raw device, cannot be written to.
    pub read_only: bool,
    /// It is for one user alone, as the last one said.
    pub alone: bool,
    /// False if all was so before.
    pub changed: bool,
}

impl Held {
    /// Whether it is what `spec` says.
    ///
    /// # Errors
    /// `Refused`, otherwise: it says what differs.
    pub fn must_be(&self, spec: &Spec) -> Result<()> {
        if self.spec.is_same(spec) { Ok(()) } else { Err(otherwise_up(&self.key, &self.spec, spec)) }
    }
}

impl Host {
    /// Brings a volume up on the node and keeps it there whether pods use it or not; the same wish twice is a no-op. What is gone,
    /// replaced or dead is made anew; that the name of a raw device is another's by now is seen by [`Host::restage`] alone.
    ///
    /// # Errors
    /// The first failure that keeps it down: what was begun is recorded, and the next try goes on from there. `Invalid` for what
    /// cannot be held, `Refused` where the volume is up in another way; then nothing was done.
    pub fn hold(&self, hold: &Hold, keys: Keys<'_>, notes: Notes<'_>) -> Result<Held> {
        self.ground.ledger.check_writable()?;
        let driver = self.ground.drivers.get(&hold.driver, notes).map_err(|e| e.during("init"))?;
        let kind = driver.kind();
        hold.check(kind, &driver.extensions)?;
        let key = record::key(&hold.driver, &hold.name, kind, "");
        let _lock = self.ground.lock(&key, notes)?;
        let record = self.ground.ledger.get(&key)?;
        self.hold_locked(record, hold, kind, false, keys, notes)
    }

    /// The same hold again, as its record has it: for who finds it gone or stale.
    ///
    /// # Errors
    /// As [`Host::hold`]; `NotFound` if nobody holds that volume.
    pub fn restage(&self, key: &str, keys: Keys<'_>, notes: Notes<'_>) -> Result<Held> {
        self.ground.ledger.check_writable()?;
        let _lock = self.ground.lock(key, notes)?;
        let held = |record: &Record| record.state.is_held();
        let Some(record) = self.ground.ledger.get(key)?.filter(held) else {
            return Err(Error::new(ErrorKind::NotFound, format!("volume {key} is not held on this node")));
        };
        let driver = self.ground.drivers.get(&record.driver, notes).map_err(|e| e.during("init"))?;
        let hold = Hold::of(&record);
        hold.check(driver.kind(), &driver.extensions)?;
        // The name of a raw device may be another's by now: its driver is asked again.
        let anew = hold.spec.block;
        self.hold_locked(Some(record), &hold, driver.kind(), anew, keys, notes)
    }

    fn hold_locked(
        &self,
        record: Option<Record>,
        hold: &Hold,
        kind: Kind,
        anew: bool,
        keys: Keys<'_>,
        notes: Notes<'_>,
    ) -> Result<Held> {
        let fresh = || hold.record(kind, &self.ground.ident);
        let mut record = match record {
            None => fresh(),
            Some(mut record) => match hold.meets(&record, kind, self.is_current(&record))? {
                Met::Same => record,
                Met::Stale => {
                    if let Some(point) = self.shown_elsewhere(&record)? {
                        let (key, point) = (&record.key, point.display());
                        let what = format!("volume {key} does not stand as it was, and is still mounted at {point}");
                        return Err(Error::new(ErrorKind::Refused, what)
                            .hint("take it from there before it is brought up in another way"));
                    }
                    self.undo(&mut record, "", keys, notes)?;
                    fresh()
                }
            },
        };
        let mut before = record.generation;
        let read = record.clone();
        record.spec.remember_callers(&hold.spec);
        record.shared = hold.shared || (record.shared && record.state.is_staged());
        // What is seen at rest says nothing while an op is open: the drive below looks up how that ended.
        if record.state.doing.is_none() && self.is_current(&record) {
            self.notice_losses(&mut record, None, keys, notes);
            if anew || self.may_be_without_device(&record)? {
                record.stage = None;
                record.state = step(record.state, Event::Lost { device: true, stage: false, places: Vec::new() });
                // The drive decides with the wish in hand; nothing was begun.
                record.state.doing = None;
            }
        }
        if before > 0 && (record.probe, record.shared, &record.spec) != (read.probe, read.shared, &read.spec) {
            self.ground.ledger.put(&mut record, Durability::Process, true)?;
            before = record.generation;
        }
        let want = Want { hold: Level::Staged, places: record.state.want.places.clone() };
        let failed = drive(&self.ground, &mut record, Event::Want(want), Scope::Both, keys, notes)?;
        if record.state.is_staged() && record.state.doing.is_none() {
            return Ok(self.held_as(&record, record.generation != before));
        }
        Err(of_node(failed, &record.key))
    }

    /// Whether a volume that stood has lost its mount, and perhaps its device with it: its driver is asked from the beginning then. Not
    /// while anybody lives on it, for a second device of the same storage would be written to beside the first.
    fn may_be_without_device(&self, record: &Record) -> Result<bool> {
        let state = &record.state;
        let is_down = match state.rung {
            Rung::Attached(_) | Rung::Half(_) => {
                let global = self.ground.layout.global(&record.driver, &record.name);
                let there = mount::look(&self.ground.layout.root().join(global));
                matches!(there, Ok(Presence::Absent | Presence::Plain))
            }
            Rung::Unsure | Rung::Absent | Rung::Staged(_) => false,
        };
        let stood = state.floor == Level::Absent && record.known().next().is_some();
        Ok(is_down && stood && state.places.is_empty() && self.shown_elsewhere(record)?.is_none())
    }

    /// The volume if it is held and stands, as the ledger has it: its mount is not looked at.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn held(&self, driver: &DriverName, name: &VolumeName) -> Result<Option<Held>> {
        let key = record::key(driver, name, Kind::Staged, "");
        let stands = |record: &Record| record.state.is_held() && record.state.is_staged() && self.is_current(record);
        Ok(self.ground.ledger.get(&key)?.filter(stands).map(|record| self.held_as(&record, false)))
    }

    /// Notes whether a held volume is for one user alone from now on: whoever comes next is told.
    ///
    /// # Errors
    /// The ledger cannot be read or written.
    pub fn set_alone(&self, key: &str, alone: bool, notes: Notes<'_>) -> Result<()> {
        let _lock = self.ground.lock(key, notes)?;
        let Some(mut record) = self.ground.ledger.get(key)?.filter(|record| record.alone != alone) else {
            return Ok(());
        };
        record.alone = alone;
        self.ground.ledger.put(&mut record, Durability::Process, false)
    }

    /// Whether somebody wants the volume held, whether it stands or not.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn is_held(&self, driver: &DriverName, name: &VolumeName) -> Result<bool> {
        Ok(self.wanted(driver, name)?.is_some())
    }

    /// Whether a hold has begun something, or something of one is left: who is refused before that has nothing to undo.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn is_begun(&self, driver: &DriverName, name: &VolumeName) -> Result<bool> {
        let key = record::key(driver, name, Kind::Staged, "");
        Ok(self.ground.ledger.get(&key)?.is_some_and(|record| record.state.is_held() || !record.state.is_wanted()))
    }

    /// What is wanted of a volume that somebody wants held, whether it stands or not.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn wanted(&self, driver: &DriverName, name: &VolumeName) -> Result<Option<Spec>> {
        let key = record::key(driver, name, Kind::Staged, "");
        Ok(self.ground.ledger.get(&key)?.filter(|record| record.state.is_held()).map(|record| record.spec))
    }

    /// Lets a held volume go; one that nobody knows is gone already.
    ///
    /// # Errors
    /// `Busy` if pods still use it, or if it is mounted outside of our root; then nothing was done. Else the first failure that keeps it here: what was begun is recorded, and the next try
    /// goes on from there.
    pub fn release(&self, key: &str, keys: Keys<'_>, notes: Notes<'_>) -> Result<()> {
        self.ground.ledger.check_writable()?;
        let _lock = self.ground.lock(key, notes)?;
        let Some(mut record) = self.ground.ledger.get(key)? else { return Ok(()) };
        let places = record.state.want.places.clone();
        if !places.is_empty() {
            let name = |place: &String| record.users.get(place).map_or(place.clone(), |user| user.pod.clone());
            let pods: Vec<_> = places.iter().map(name).collect();
            return Err(Error::new(
                ErrorKind::Busy,
                format!("volume {key} is still in use by pod {}", pods.join(", ")),
            )
            .hint("take it from there first"));
        }
        if record.state.is_staged() && !record.spec.block && self.is_current(&record) {
            // Who is refused finds it as it was: held, and of use.
            Hands::new(&self.ground, &mut record, keys, notes).is_only_here().map_err(|e| e.of(ErrorKind::Busy))?;
        }
        let want = Want { hold: Level::Absent, places };
        let failed = drive(&self.ground, &mut record, Event::Want(want), Scope::Down, keys, notes)?;
        if record.state.is_over() { Ok(()) } else { Err(first(failed, "", key)) }
    }

    fn held_as(&self, record: &Record, changed: bool) -> Held {
        let layout = &self.ground.layout;
        Held {
            key: record.key.clone(),
            kind: record.kind,
            path: layout.root().join(layout.global(&record.driver, &record.name)),
            device: record.state.rung.device().to_owned(),
            spec: record.spec.clone(),
            read_only: record.read_only,
            alone: record.alone,
            changed,
        }
    }
}

/// The failure that keeps a volume from the node: those of places are their pods' own.
fn of_node(mut failed: Vec<Failed>, key: &str) -> Error {
    failed.retain(|failed| failed.op.place().is_none());
    first(failed, "", key)
}
