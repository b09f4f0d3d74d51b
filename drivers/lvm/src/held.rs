//! What is attached here: noted by attach, so that the verbs after it ask the kernel alone, and found again by its device.

use std::path::{Path, PathBuf};

use flexvolume::{Result, World};
use serde::{Deserialize, Serialize};

use crate::{
    dm::Dm,
    names::{Uuid, dm_uuid},
    notes::{Lasting, Note},
    place::Place,
    report::Volume,
    seen::Seen,
    taken::Pending,
};

/// What attach learnt of a volume, for this boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The group's own UUID.
    pub(crate) vg_uuid: Uuid,
    /// The volume's own UUID.
    pub(crate) lv_uuid: Uuid,
    /// Its device, as LVM named it.
    pub(crate) device: PathBuf,
    /// The disks of its group, as LVM named them.
    pub(crate) disks: Vec<String>,
    /// What a clone lacks before it is as good as any other volume.
    #[serde(default)]
    pub(crate) pending: Pending,
}

impl Held {
    /// What is to be noted of a volume that has this device, in a group with these disks.
    pub(crate) fn of(volume: &Volume, device: PathBuf, disks: Vec<String>) -> Self {
        let (vg_uuid, lv_uuid) = (volume.group.uuid.clone(), volume.uuid.clone());
        Self { vg_uuid, lv_uuid, device, disks, pending: Pending::read(&volume.tags) }
    }

    /// The note itself.
    ///
    /// # Errors
    /// The folder of notes is not known.
    pub(crate) fn note(place: &Place, world: &World) -> Result<Note> {
        place.note("attached", Lasting::ThisBoot, world)
    }

    /// What is noted of that place, if it was attached in this boot.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn read(place: &Place, world: &World) -> Result<Option<Self>> {
        Self::note(place, world)?.read()
    }

    /// The kernel's device, if it is there and still this very volume's.
    pub(crate) fn dm(&self) -> Option<Dm> {
        Dm::at(&self.device).filter(|dm| dm.uuid() == dm_uuid(&self.vg_uuid, &self.lv_uuid))
    }

    /// The kernel's device, whatever became of its node.
    ///
    /// # Errors
    /// The kernel's list cannot be read.
    pub(crate) fn dm_anywhere(&self) -> Result<Option<Dm>> {
        match self.dm() {
            Some(dm) => Ok(Some(dm)),
            None => Dm::with_uuid(&dm_uuid(&self.vg_uuid, &self.lv_uuid)),
        }
    }
}

/// The volume that was attached as this device: by the notes of this boot, or, where somebody has cleaned up, by the marks
/// of what was handed out here; then its node is not known.
pub(crate) fn whose(dm: &Dm, world: &World) -> Option<(Place, Held)> {
    let is_it = |vg: &Uuid, lv: &Uuid| dm_uuid(vg, lv) == dm.uuid();
    let noted = places(&world.run_dir().join("attached")).find_map(|place| {
        let held = Held::read(&place, world).ok()??;
        is_it(&held.vg_uuid, &held.lv_uuid).then_some((place, held))
    });
    noted.or_else(|| {
        places(&world.state_dir().ok()?.join("seen")).find_map(|place| {
            let Seen { vg_uuid, lv_uuid, .. } = Seen::read(&place, world).ok()??;
            if !is_it(&vg_uuid, &lv_uuid) {
                return None;
            }
            let (device, disks, pending) = (PathBuf::new(), Vec::new(), Pending::default());
            Some((place, Held { vg_uuid, lv_uuid, device, disks, pending }))
        })
    })
}

/// The places of which there are notes in a folder.
fn places(notes: &Path) -> impl Iterator<Item = Place> {
    let groups = std::fs::read_dir(notes).into_iter().flatten().flatten();
    let notes = groups.flat_map(|group| std::fs::read_dir(group.path()).into_iter().flatten().flatten());
    notes.filter_map(|note| {
        let file = note.path();
        let (vg, lv) = (file.parent()?.file_name()?.to_str()?, file.file_name()?.to_str()?.strip_suffix(".json")?);
        Place::recorded(&format!("{vg}/{lv}")).ok()
    })
}
