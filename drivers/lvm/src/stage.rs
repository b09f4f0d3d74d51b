//! A group under its lock, and what is in it: looked at once, and as it is until the lock goes.

use flexvolume::{Lock, Result, World};

use crate::{group::Group, names::Uuid, place::Place, report::Volume, tool::Lvm, volume};

/// A group that nobody but us changes meanwhile.
#[derive(Debug)]
pub(crate) struct Stage {
    /// That of the group.
    pub(crate) lock: Lock,
    /// The group.
    pub(crate) group: Group,
    /// All its volumes.
    pub(crate) volumes: Vec<Volume>,
}

impl Stage {
    /// Waits for the lock of the group of that place, and looks; with `uuid` into that very group only.
    ///
    /// # Errors
    /// Those of [`volume::all`].
    pub(crate) fn set(place: &Place, uuid: Option<&Uuid>, lvm: &Lvm, world: &World) -> Result<Self> {
        let lock = world.lock(&place.group_lock_key())?;
        let (group, volumes) = volume::all(&place.vg, uuid, lvm, world)?;
        Ok(Self { lock, group, volumes })
    }

    /// Lets go of the lock.
    pub(crate) fn leave(self) -> (Group, Vec<Volume>) {
        (self.group, self.volumes)
    }
}
