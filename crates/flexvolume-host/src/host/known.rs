//! By what a volume is known wherever it is shown, and who has it where.

use std::{
    path::{Path, PathBuf},
    slice,
};

use flexvolume_linux::mount::{Mounted, table};
use flexvolume_protocol::{DriverName, VolumeName};

use super::Host;
use crate::{
    error::{Error, Kind as ErrorKind, Result},
    volume::{
        record::{self, Kind, Record},
        rest::{is_shared, living},
        trace::Trace,
    },
};

/// What is mounted outside of our own root, as one look found it: for who asks of many volumes where they are shown.
#[derive(Debug)]
pub struct Elsewhere {
    /// All mounts: those of our root tell what a place shows.
    all: Vec<Mounted>,
    root: PathBuf,
}

impl Elsewhere {
    /// Where a volume is shown outside of our root: what the node has of it, or what the bridge had mounted for that user of it. Nothing
    /// for a pod of ours, which sees it beneath the root.
    pub fn of(&self, host: &Host, record: &Record, uid: &str) -> Vec<PathBuf> {
        if !host.is_current(record) || record.users.get(uid).is_some_and(|user| user.uid == uid) {
            return Vec::new();
        }
        let own: Vec<Trace> = if uid.is_empty() {
            let mut own = record.traces.clone();
            // What it was once known by may be another's by now; where nobody can say it is told as this one's.
            let _ = host.drop_anothers(&mut own, slice::from_ref(record));
            own
        } else {
            let place = self.root.join(host.ground.layout.place(uid, &record.driver, &record.name));
            self.all.iter().filter(|mounted| mounted.point == place).map(Trace::of).collect()
        };
        self.showing(&own).map(|(point, _)| point.to_owned()).collect()
    }

    /// Where all that is mounted lies, beneath our root as well.
    pub fn points(&self) -> impl Iterator<Item = &Path> {
        self.all.iter().map(|mounted| mounted.point.as_path())
    }

    /// Where outside of our root something is mounted that is known by `own`, or a part of it, and what.
    fn showing(&self, own: &[Trace]) -> impl Iterator<Item = (&Path, Trace)> {
        let outside = self.all.iter().filter(|mounted| !mounted.point.starts_with(&self.root));
        outside
            .map(|mounted| (mounted.point.as_path(), Trace::of(mounted)))
            .filter(|(_, there)| own.iter().any(|own| own.holds(there)))
    }
}

impl Host {
    /// A look at what is mounted outside of our root.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn elsewhere(&self) -> Result<Elsewhere> {
        Ok(Elsewhere { all: table::all()?, root: self.ground.layout.root().to_owned() })
    }

    /// By what the volume is known wherever it is shown, as the node has it and as a place has it, and was known at any time in this
    /// boot, less what is another's by now. The newest of the node's own is the last. Nothing of a volume that nobody knows here.
    ///
    /// # Errors
    /// `Refused` if a raw device stands of which nobody can say which it is; the ledger or the mount table cannot be read.
    pub fn traces(&self, driver: &DriverName, name: &VolumeName, place: Option<&str>) -> Result<Vec<Trace>> {
        let records = self.current_of(driver, name, place)?;
        let mut now = Vec::new();
        for record in &records {
            // What was mounted before it was written down what it is known by.
            for path in self.paths(driver, name, place) {
                // One that is dead says nothing, and was noted while it lived.
                now.extend(table::at(&path).ok().flatten().map(|mounted| Trace::of(&mounted)));
            }
            if record.spec.block && record.state.is_staged() && record.traces.is_empty() {
                let device = record.state.rung.device();
                let known = Trace::device(device.as_ref()).ok_or_else(|| {
                    Error::new(ErrorKind::Refused, format!("nobody can say which device {device} of volume {name} is"))
                        .hint("see who uses it; stage the volume once more to have it looked up")
                })?;
                now.push(known);
            }
        }
        let mut all: Vec<Trace> = records.iter().flat_map(Record::known).cloned().collect();
        all.retain(|trace| !now.contains(trace));
        self.drop_anothers(&mut all, &records)?;
        now.extend(all);
        Ok(now)
    }

    /// What is, or was, mounted in what the volume is shown by: it goes with that.
    ///
    /// # Errors
    /// The ledger or the mount table cannot be read.
    pub fn inner(&self, driver: &DriverName, name: &VolumeName, place: Option<&str>) -> Result<Vec<Trace>> {
        let mut all: Vec<Trace> =
            self.current_of(driver, name, place)?.into_iter().flat_map(|record| record.inner).collect();
        for path in self.paths(driver, name, place) {
            all.extend(table::beneath(&path)?.iter().map(Trace::of));
        }
        Ok(all)
    }

    /// Where it is mounted for the node, and for a place.
    fn paths(&self, driver: &DriverName, name: &VolumeName, place: Option<&str>) -> Vec<PathBuf> {
        let layout = &self.ground.layout;
        let own = layout.global(driver, name);
        let all = std::iter::once(own).chain(place.map(|place| layout.place(place, driver, name)));
        all.map(|path| layout.root().join(path)).collect()
    }

    /// Takes out what the volume of `own` was once known by, and another one is now.
    fn drop_anothers(&self, traces: &mut Vec<Trace>, own: &[Record]) -> Result<()> {
        let kept: Vec<Trace> = own.iter().flat_map(|record| living(&self.ground, record, traces)).collect();
        if traces.iter().all(|trace| kept.contains(trace)) {
            return Ok(());
        }
        // This is rare: something was lost, and perhaps its number given away.
        for other in self.ground.ledger.all()?.into_iter().flatten() {
            if own.iter().all(|record| record.key != other.key) {
                let theirs = living(&self.ground, &other, traces);
                traces.retain(|trace| kept.contains(trace) || !theirs.contains(trace));
            }
        }
        Ok(())
    }

    /// The first place outside of our root, of those that count, at which the volume that is known by `own`, or a part of it, is shown.
    /// What is there by another volume of a staged driver as well, which shares its storage, does not count: such volumes go one by one,
    /// each by itself.
    ///
    /// # Errors
    /// The ledger or the mount table cannot be read.
    pub fn shown(
        &self,
        driver: &DriverName,
        name: &VolumeName,
        own: &[Trace],
        counts: impl Fn(&Path) -> bool,
    ) -> Result<Option<PathBuf>> {
        if own.is_empty() {
            return Ok(None);
        }
        for (point, there) in self.elsewhere()?.showing(own).filter(|(point, _)| counts(point)) {
            if !is_shared(&self.ground, &there, driver, name)? {
                return Ok(Some(point.to_owned()));
            }
        }
        Ok(None)
    }

    /// Whether callers have brought secrets for the volume, or a pod names some: its driver may know them.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn has_secrets(&self, driver: &DriverName, name: &VolumeName) -> Result<bool> {
        let has = |record: &Record| record.spec.secret.is_some();
        if self.records_of(driver, name, None)?.iter().any(has) {
            return Ok(true);
        }
        // One that cannot be read may have had some.
        Ok(self.of_users(driver, name)?.iter().any(|record| record.as_ref().map_or(true, has)))
    }

    /// The records by which a place has this volume.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn at_place(&self, driver: &DriverName, name: &VolumeName, place: &str) -> Result<Vec<Record>> {
        let records = self.records_of(driver, name, Some(place))?;
        Ok(records.into_iter().filter(|record| record.is_of(place)).collect())
    }

    /// What is written of a volume: for the node, and for that place alone.
    pub(super) fn records_of(
        &self,
        driver: &DriverName,
        name: &VolumeName,
        place: Option<&str>,
    ) -> Result<Vec<Record>> {
        let mut keys = vec![record::key(driver, name, Kind::Staged, "")];
        keys.extend(place.map(|place| record::key(driver, name, Kind::Direct, place)));
        self.ground.ledger.these(&keys)
    }

    /// The same, as far as it tells of this boot and this mount namespace.
    fn current_of(&self, driver: &DriverName, name: &VolumeName, place: Option<&str>) -> Result<Vec<Record>> {
        let mut records = self.records_of(driver, name, place)?;
        records.retain(|record| self.is_current(record));
        Ok(records)
    }

    /// Where, outside of our own root and of what its driver mounts for itself, something of the volume is still seen that is not
    /// another's by now, nor there by another one as well.
    pub(super) fn shown_elsewhere(&self, record: &Record) -> Result<Option<PathBuf>> {
        if !self.is_current(record) {
            return Ok(None);
        }
        let mut traces: Vec<Trace> = record.known().cloned().collect();
        self.drop_anothers(&mut traces, std::slice::from_ref(record))?;
        let drivers = match record.kind {
            Kind::Staged => self.ground.drivers_own(&record.driver),
            Kind::Attachable | Kind::Direct => None,
        };
        let is_drivers = |at: &Path| drivers.as_ref().is_some_and(|drivers| at.starts_with(drivers));
        self.shown(&record.driver, &record.name, &traces, |at| !is_drivers(at))
    }
}
