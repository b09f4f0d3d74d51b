//! The lasting mark that a volume was handed out on this node: what is lost is then never taken for what never was.

use flexvolume::{Result, World};
use serde::{Deserialize, Serialize};

use crate::{
    names::Uuid,
    notes::{Lasting, Note},
    place::Place,
    report::Volume,
};

/// The logical volume that was handed out under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Its own UUID: another one under its name is not it.
    pub(crate) lv_uuid: Uuid,
    /// That of its group.
    pub(crate) vg_uuid: Uuid,
    /// The thin pool it takes its blocks from, so that the next call can look at it too.
    pub(crate) pool: Option<String>,
}

impl Seen {
    /// What a volume is remembered by.
    pub(crate) fn of(volume: &Volume) -> Self {
        Self { lv_uuid: volume.uuid.clone(), vg_uuid: volume.vg_uuid.clone(), pool: volume.pool().map(str::to_owned) }
    }

    /// The mark of that place, if there is one.
    ///
    /// # Errors
    /// It cannot be read: then it is not known whether anything was lost.
    pub(crate) fn read(place: &Place, world: &World) -> Result<Option<Self>> {
        note(place, world)?.read()
    }

    /// Sets the mark, so that it survives a power cut.
    pub(crate) fn write(&self, place: &Place, world: &World) -> Result<()> {
        note(place, world)?.write(self)
    }

    /// Takes the mark away: the volume was deleted at its owner's word.
    pub(crate) fn remove(place: &Place, world: &World) -> Result<()> {
        note(place, world)?.remove()
    }
}

/// The file with the mark; whoever wants to begin anew removes it.
pub(crate) fn note(place: &Place, world: &World) -> Result<Note> {
    place.note("seen", Lasting::Durable, world)
}
