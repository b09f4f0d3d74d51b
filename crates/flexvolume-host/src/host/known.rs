//! By what a volume is known wherever it is shown, and who has it where.

use std::path::PathBuf;

use flexvolume_linux::mount::table;
use flexvolume_protocol::{DriverName, VolumeName};

use super::Host;
use crate::{
    engine::look_at_rest,
    error::{Error, Kind as ErrorKind, Result},
    volume::{
        record::{self, Kind, Record},
        trace::Trace,
    },
};

impl Host {
    /// By what the volume is known wherever it is shown: as the node has it, and as a place has it. Nothing of a volume that nobody
    /// knows here.
    ///
    /// # Errors
    /// `Refused` if a raw device stands of which nobody can say which it is; the ledger or the mount table cannot be read.
    pub fn traces(&self, driver: &DriverName, name: &VolumeName, place: Option<&str>) -> Result<Vec<Trace>> {
        let mut all = Vec::new();
        for record in self.records_of(driver, name, place)? {
            if !self.is_current(&record) {
                continue;
            }
            let layout = &self.ground.layout;
            let own = layout.global(driver, name);
            let paths = std::iter::once(own).chain(place.map(|place| layout.place(place, driver, name)));
            // What was mounted before it was written down what it is known by.
            for path in paths {
                // One that is dead says nothing, and was noted while it lived.
                let there = table::at(&layout.root().join(path)).ok().flatten();
                all.extend(there.map(|mounted| Trace::of(&mounted)));
            }
            if record.spec.block && record.state.is_staged() && record.traces.is_empty() {
                let device = record.state.rung.device();
                let known = Trace::device(device.as_ref()).ok_or_else(|| {
                    Error::new(ErrorKind::Refused, format!("nobody can say which device {device} of volume {name} is"))
                        .hint("see who uses it; stage the volume once more to have it looked up")
                })?;
                all.push(known);
            }
            all.extend(record.traces);
        }
        Ok(all)
    }

    /// Whether what a volume was once known by is another one's by now.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn is_anothers(&self, trace: &Trace, driver: &DriverName, name: &VolumeName) -> Result<bool> {
        let own = record::key(driver, name, Kind::Staged, "");
        let has_it = |record: &Record| {
            let stands = record.state.is_staged() && !look_at_rest(&self.ground, record).stage;
            stands && self.is_current(record) && record.traces.last() == Some(trace)
        };
        if self.ground.ledger.get(&own)?.is_some_and(|record| has_it(&record)) {
            return Ok(false);
        }
        // This is rare: something was lost and its number given away.
        Ok(self.ground.ledger.all()?.into_iter().flatten().any(|record| record.key != own && has_it(&record)))
    }

    /// The keys under which a place has this volume.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn at_place(&self, driver: &DriverName, name: &VolumeName, place: &str) -> Result<Vec<String>> {
        let records = self.records_of(driver, name, Some(place))?;
        Ok(records.into_iter().filter(|record| record.is_of(place)).map(|record| record.key).collect())
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

    /// Where, outside of our own root, something of the volume is still seen that is not another's by now.
    pub(super) fn shown_elsewhere(&self, record: &Record) -> Result<Option<PathBuf>> {
        if record.traces.is_empty() || !self.is_current(record) {
            return Ok(None);
        }
        let root = self.ground.layout.root();
        for mounted in table::all()?.into_iter().filter(|mounted| !mounted.point.starts_with(root)) {
            let there = Trace::of(&mounted);
            if let Some(own) = record.traces.iter().find(|own| own.holds(&there))
                && !self.is_anothers(own, &record.driver, &record.name)?
            {
                return Ok(Some(mounted.point));
            }
        }
        Ok(None)
    }
}
