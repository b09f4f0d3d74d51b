//! Attach and detach with their books kept: what is attached under which name, and who else still uses it.

use flexvolume_linux::mount::{Presence, look};
use flexvolume_protocol::{Attach, Code, Detach, Device, keys::PV_OR_VOLUME_NAME};

use super::{records, same_device};
use crate::{Attachment, Driver, Failure, Result, World};

/// A host's own `attach`.
pub(crate) fn attach<D: Driver>(driver: &D, call: &Attach, world: &World) -> Result<Device> {
    let name = call.options.volume_name();
    if name.is_empty() {
        let message = format!("the options have no {PV_OR_VOLUME_NAME}, by which the volume is detached again");
        return Err(Failure::new(
            Code::Invalid,
            format!("{message}: hosts write it, and so must who attaches by hand"),
        ));
    }
    let storage = driver.storage(&call.options, world)?;
    if let Some(other) = world.attachments().get(name)?
        && other.storage != storage
    {
        if !other.device.is_empty() {
            let message = format!("{name:?} is attached already, as other storage ({})", other.storage);
            return Err(Failure::new(Code::Conflict, format!("{message}; detach it first, or choose another name")));
        }
        // Left by an attach that never succeeded, for options that were wrong and are now mended.
        detach(driver, &Detach { name: name.to_owned(), node: call.node.clone() }, world)?;
    }
    let _held = world.lock_of("storage", &storage)?;
    attach_held(driver, call, &storage, world)
}

/// Attaches under the storage's lock. The record is there before the driver begins, so that `detach` finds what a call
/// left that was cut off.
pub(super) fn attach_held<D: Driver>(driver: &D, call: &Attach, storage: &str, world: &World) -> Result<Device> {
    let (name, known) = (call.options.volume_name(), world.attachments());
    let record = |device: String| known.put(name, &Attachment { storage: storage.to_owned(), device });
    record(known.get(name)?.map(|before| before.device).unwrap_or_default())?;
    match driver.attach(call, world) {
        Ok(device) => record(device.0.clone()).map(|()| device),
        Err(failure) if failure.is_not_supported() => known.remove(name).and(Err(failure)),
        Err(failure) => Err(failure),
    }
}

/// A host's own `detach`: the driver is asked only when nothing else uses the storage; else the name is forgotten.
pub(crate) fn detach<D: Driver>(driver: &D, call: &Detach, world: &World) -> Result<()> {
    let known = world.attachments();
    let Some(attached) = known.get(&call.name)? else { return driver.detach(call, world) };
    let _held = world.lock_of("storage", &attached.storage)?;
    if let Some(user) = in_use(&attached, User::Name(&call.name), world)? {
        world.log(format_args!("{} stays attached: {user} uses it too", attached.storage));
        return known.remove(&call.name);
    }
    driver.detach(call, world)?;
    known.remove(&call.name)
}

/// Who asks, and so does not count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum User<'a> {
    /// A host, by the name it attached.
    Name(&'a str),
    /// A stranger, by the place it mounted at.
    Place(&'a str),
}

/// Who else has the storage, or the device, attached or mounted.
pub(super) fn in_use(what: &Attachment, asking: User<'_>, world: &World) -> Result<Option<String>> {
    let same = |storage: &str, device: &str| storage == what.storage || same_device(device, &what.device);
    for (name, attached) in world.by_host().attachments().all()? {
        if asking != User::Name(&name) && same(&attached.storage, &attached.device) {
            return Ok(Some(format!("the volume {name:?}")));
        }
    }
    // The first is enough: where many share a storage, all of them are not read again for each that goes.
    for one in records(world).each()? {
        let (place, record) = one?;
        if !record.left
            && asking != User::Place(&place)
            && same(&record.storage, &record.device)
            && is_live(&place, world)?
        {
            return Ok(Some(format!("the mount at {place}")));
        }
    }
    Ok(None)
}

/// Nobody will ask again for a place that is gone, unless a call is at work on it this moment.
pub(super) fn is_live(place: &str, world: &World) -> Result<bool> {
    match look(place.as_ref())? {
        Presence::Absent => Ok(world.try_lock_of("place", place)?.is_none()),
        Presence::Plain | Presence::Mount(_) | Presence::Corrupted(_) | Presence::Symlink | Presence::Other => Ok(true),
    }
}
