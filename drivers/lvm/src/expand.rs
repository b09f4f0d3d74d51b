//! Volumes made larger, never smaller, and only ours.

use flexvolume::{Code, Failure, Options, Result, World};

use crate::{
    active::refresh,
    create::room,
    decide::partial,
    held::Held,
    place::Place,
    report::{Kind, Volume},
    thin::promise,
    tool::{Lvm, flush},
    volume,
};

/// Grows the volume to `bytes` at least, and answers how many it then has. One that is as large already is left as it is.
///
/// # Errors
/// `permission`: it is not ours. `notFound`: it is not there, or not to be used. `exhausted`: there is no room.
pub(crate) fn expand(options: &Options, bytes: u64, world: &World) -> Result<u64> {
    let place = Place::of(options, world)?;
    let lvm = Lvm::find()?;
    let volume_lock = place.lock(world)?;
    let lock = world.lock(&place.group_lock_key())?;
    let looked = volume::look(&place, &[], &lvm, world)?;
    let volume = growable(&place, looked.volume)?;
    let group = looked.group;
    if volume.suspended {
        refresh(&place, &volume.uuid, &group, &volume_lock, &lvm)?;
    }
    if volume.bytes >= bytes {
        // A dead call's command may have grown it just now.
        flush(&group)?;
        return Ok(volume.bytes);
    }
    let wanted = volume.group.round_up(bytes);
    match volume.pool() {
        None => room(&volume.group, wanted - volume.bytes)?,
        Some(pool) => {
            let (_, all) = volume::all(&place.vg, Some(&group.uuid), &lvm, world)?;
            promise(pool, wanted - volume.bytes, &all, &group, world)?;
        }
    }
    let (size, storage) = (format!("{wanted}b"), place.storage());
    lvm.change(&format!("grow {storage}"), &lock, &group, &["lvextend", "-L", &size, &storage])?;
    let now = match Held::read(&place, world)?.and_then(|held| held.dm()) {
        Some(dm) => dm.bytes(),
        None => volume::look(&place, &[], &lvm, world)?.volume.map_or(0, |volume| volume.bytes),
    };
    if now < bytes {
        return Err(Failure::internal(format!("{storage} has {now} bytes after it was grown to {wanted}")));
    }
    Ok(now)
}

/// What may be grown at all.
fn growable(place: &Place, volume: Option<Volume>) -> Result<Volume> {
    let storage = place.storage();
    let Some(volume) = volume else {
        return Err(Failure::new(Code::NotFound, format!("there is no logical volume {storage}")));
    };
    let Some(ours) = volume.tags.ours().filter(|_| matches!(volume.kind, Kind::Thick | Kind::Thin { .. })) else {
        let message = format!(
            "{storage} was not made by this driver, so it is not grown; grow it by hand (lvextend), or let the driver adopt \
             it: adopt: \"true\""
        );
        return Err(Failure::new(Code::Permission, message));
    };
    if ours.state.is_some() || !ours.is_called(&place.lv) {
        return Err(Failure::new(Code::NotFound, format!("{storage} is being made or deleted, or is another volume")));
    }
    if volume.partial {
        return Err(partial(place, &volume));
    }
    if volume.thick_origin {
        let message = format!("{storage} has thick snapshots, and does not grow as long as it has; delete them first");
        return Err(Failure::new(Code::Busy, message));
    }
    Ok(volume)
}
