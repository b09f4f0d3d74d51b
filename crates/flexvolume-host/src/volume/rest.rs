//! A look at what was mounted, while nobody works on it.

use std::path::PathBuf;

use flexvolume_linux::mount::{self, Presence};
use flexvolume_protocol::{DriverName, VolumeName};

use super::{
    record::{self, Kind, Made, Record},
    trace::Trace,
};
use crate::{error::Result, ground::Ground, ident::Ident, layout::Layout};

/// What was mounted when last recorded and is not any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The global mount.
    pub stage: bool,
    /// The places.
    pub places: Vec<String>,
}

/// A look at rest, without touching any file system: is every recorded mount still the one on top at its path?
pub fn look_at_rest(ground: &Ground, record: &Record) -> Lost {
    lost(&ground.layout, record)
}

/// As [`look_at_rest`], for who has nothing but the layout.
pub fn lost(layout: &Layout, record: &Record) -> Lost {
    let gone = |relative: PathBuf, made: &Made| match made {
        Made::NoMount => false,
        Made::Mount(id) => match mount::look(&layout.root().join(relative)) {
            Ok(Presence::Mount(now)) => now != *id,
            Ok(Presence::Absent | Presence::Plain | Presence::Symlink | Presence::Other | Presence::Corrupted(_)) => {
                true
            }
            Err(_) => false,
        },
    };
    let (driver, name) = (&record.driver, &record.name);
    let places = record.places.iter().filter(|(uid, made)| gone(layout.place(uid, driver, name), made));
    Lost {
        stage: record.stage.as_ref().is_some_and(|made| gone(layout.global(driver, name), made)),
        places: places.map(|(uid, _)| uid.clone()).collect(),
    }
}

/// Whether the record's mounts are of this boot and this mount namespace.
pub(crate) fn is_current(ident: &Ident, record: &Record) -> bool {
    record.boot == ident.boot && record.namespace == ident.namespace
}

/// Which of those traces a volume shows at this moment.
pub(crate) fn living(ground: &Ground, record: &Record, traces: &[Trace]) -> Vec<Trace> {
    if !is_current(&ground.ident, record) || !record.known().any(|known| traces.contains(known)) {
        return Vec::new();
    }
    let lost = look_at_rest(ground, record);
    let stage = (record.state.is_staged() && !lost.stage).then(|| record.traces.last()).flatten();
    let stands = |place: &str| record.places.contains_key(place) && !lost.places.iter().any(|lost| lost == place);
    let places = record.place_traces.iter().filter(|(place, _)| stands(place)).filter_map(|(_, own)| own.last());
    stage.into_iter().chain(places).filter(|own| traces.contains(own)).cloned().collect()
}

/// Whether what is shown somewhere is there by another volume of a staged driver as well, which shares its storage.
pub(crate) fn is_shared(ground: &Ground, there: &Trace, driver: &DriverName, name: &VolumeName) -> Result<bool> {
    let own = record::key(driver, name, Kind::Staged, "");
    if !ground.ledger.get(&own)?.is_some_and(|record| record.kind == Kind::Staged) {
        return Ok(false);
    }
    let has_it = |record: &Record| {
        record.driver == *driver
            && record.key != own
            && record.traces.last().is_some_and(|known| known.holds(there))
            && !living(ground, record, &record.traces).is_empty()
    };
    Ok(ground.ledger.all()?.iter().flatten().any(has_it))
}
