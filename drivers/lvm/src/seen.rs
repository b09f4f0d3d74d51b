//! The lasting mark that a volume was handed out on this node: what is lost is then never taken for what never was.

use std::path::{Path, PathBuf};

use flexvolume::{Result, World};
use serde::{Deserialize, Serialize};

use crate::{
    names::Uuid,
    notes::{Lasting, Note},
    place::Place,
    report::Volume,
    tags::Tags,
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
    /// How it was the last time.
    #[serde(default)]
    pub(crate) last: Option<Last>,
}

/// How a volume was when it was last handed out: if it is so still, nothing need be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Last {
    /// Its device, as LVM named it.
    pub(crate) device: PathBuf,
    /// All its tags.
    pub(crate) tags: Vec<String>,
}

impl Seen {
    /// What a volume with this device is remembered by.
    pub(crate) fn of(volume: &Volume, device: &Path) -> Self {
        Self {
            lv_uuid: volume.uuid.clone(),
            vg_uuid: volume.group.uuid.clone(),
            pool: volume.pool().map(str::to_owned),
            last: Some(Last { device: device.to_owned(), tags: volume.tags.all().to_vec() }),
        }
    }

    /// Whether it was one of ours.
    pub(crate) fn is_ours(&self) -> bool {
        self.last.as_ref().is_some_and(|last| Tags::of(last.tags.clone()).ours().is_some())
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
