//! A clone before and after its first mount: its file system gets a UUID of its own, and fills what it lies on.
//!
//! Until then a tag says so. It goes after the UUID was given and before anything is mounted, so a clone that was cut off
//! in between is renewed again, and one that was ever mounted never is.

use std::path::Path;

use flexvolume::{Result, World};
use flexvolume_linux::fs::{Content, FsType, content, grow_fs, renew_uuid};

use crate::{active::retag, devices, held::Held, place::Place, taken::Pending, tool::Lvm};

/// Gives a clone's file system the UUID that was chosen for it. One that holds nothing yet needs none. Others have nothing
/// to do.
///
/// # Errors
/// What [`renew_uuid`] says; then nothing may be mounted.
pub(crate) fn before_mount(place: &Place, held: Held, fs_type: FsType, world: &World) -> Result<Held> {
    if held.pending.renew.is_none() {
        return Ok(held);
    }
    let _lock = place.lock(world)?;
    // Another call may have done it while this one waited.
    let held = Held::read(place, world)?.filter(|now| now.lv_uuid == held.lv_uuid).unwrap_or(held);
    let Some(uuid) = held.pending.renew.clone() else { return Ok(held) };
    if content(&held.device)? != Content::Empty {
        for note in renew_uuid(&held.device, fs_type, &uuid)? {
            world.log(format_args!("{}: {note}", place.storage()));
        }
    }
    let done = Pending { renew: held.pending.renew.clone(), grow: false };
    finished(place, held, &done, world)
}

/// Makes the file system of a clone as large as the clone, if that is larger than its original was. Others have nothing
/// to do.
///
/// # Errors
/// What [`grow_fs`] says.
pub(crate) fn after_mount(place: &Place, held: Held, dir: &Path, world: &World) -> Result<()> {
    if !held.pending.grow {
        return Ok(());
    }
    let _lock = place.lock(world)?;
    grow_fs(&held.device, dir)?;
    let done = Pending { renew: None, grow: true };
    finished(place, held, &done, world).map(drop)
}

/// What was pending is done: the volume says so no more, and neither does the note.
fn finished(place: &Place, held: Held, done: &Pending, world: &World) -> Result<Held> {
    let lvm = Lvm::find()?;
    let lock = world.lock(&place.group_lock_key())?;
    let group = devices::find(&place.vg, Some(&held.vg_uuid), &lvm, world)?.group;
    retag(place, &held.lv_uuid, &[], &done.tags(), (&group, &lock, &lvm))?;
    let pending =
        Pending { renew: held.pending.renew.filter(|_| done.renew.is_none()), grow: held.pending.grow && !done.grow };
    let now = Held { pending, ..held };
    Held::note(place, world)?.write(&now)?;
    Ok(now)
}
