//! A stranger's `unmount`, and the undoing that it shares with a failed `mount` and with the sweep of the dead.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use flexvolume_linux::{
    block,
    mount::{self, Mounted, Presence, look, table},
};
use flexvolume_protocol::{Detach, Dir, Unmount, UnmountDevice};

use super::{
    Record,
    attach::{User, in_use},
    block, node, plain, records, same_device,
};
use crate::{Attachment, Attachments, Driver, Failure, Result, World, store::Store};

/// More mounts than this upon one another are not a mistake any more.
const MOST_LAYERS: usize = 32;

/// For those who hold a device only in passing.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn unmount<D: Driver>(driver: &D, call: &Unmount, world: &World) -> Result<()> {
    let place = plain(&call.dir);
    unmount_at(driver, &place, world)?;
    sweep(driver, &place, world);
    Ok(())
}

fn unmount_at<D: Driver>(driver: &D, place: &str, world: &World) -> Result<()> {
    let _place = world.lock_of("place", place)?;
    let record = match records(world).get(place)? {
        Some(record) => record,
        // Whatever became of the records, the mount table knows.
        None => match table::at(Path::new(place))? {
            Some(there) => {
                let record = guess(place, &there, world)?;
                // Were we cut off after the unmount, nothing else would lead to the device.
                records(world).put(place, &record)?;
                record
            }
            None => return Ok(()),
        },
    };
    let _held = world.lock_of("storage", &record.storage)?;
    take_down(driver, place, &record, world)
}

/// Unmounts the place, lets go of the storage, and forgets the place when nothing is left. For callers that hold the
/// locks of both.
pub(super) fn take_down<D: Driver>(driver: &D, place: &str, record: &Record, world: &World) -> Result<()> {
    let superblock = unmount_all(driver, place, world)?;
    forget(driver, place, record, superblock, world)
}

/// Lets go of the storage that was mounted at this place and forgets the place, unless somebody will have to come back.
pub(super) fn forget<D: Driver>(
    driver: &D,
    place: &str,
    record: &Record,
    superblock: Option<(u32, u32)>,
    world: &World,
) -> Result<()> {
    if release(driver, place, record, superblock, world)? {
        return records(world).remove(place);
    }
    records(world).put(place, &Record { mount: None, left: true, ..record.clone() })
}

/// Unmounts until nothing is mounted there. Says which superblock (by device number) was the last.
pub(super) fn unmount_all<D: Driver>(driver: &D, place: &str, world: &World) -> Result<Option<(u32, u32)>> {
    let path = Path::new(place);
    let call = UnmountDevice { dir: Dir::parse(place)? };
    let mut last = None;
    for _ in 0..MOST_LAYERS {
        let Some(there) = table::at(path)? else { return Ok(last) };
        last = Some(there.dev);
        match driver.unmountdevice(&call, world) {
            Err(failure) if failure.is_not_supported() => mount::unmount(path, mount::Unmount::Plain)?,
            answer => answer?,
        }
        if look(path)? == Presence::Mount(there.id) {
            let message = format!("the driver's unmountdevice succeeded, but {place} is still mounted");
            return Err(Failure::internal(message));
        }
    }
    Err(Failure::internal(format!("{place} is mounted more than {MOST_LAYERS} times; unmount it by hand")))
}

/// Detaches the storage that was mounted at this place, if nothing else uses it. `false` if somebody does of whom nothing
/// will be heard.
fn release<D: Driver>(
    driver: &D,
    place: &str,
    record: &Record,
    superblock: Option<(u32, u32)>,
    world: &World,
) -> Result<bool> {
    let known = world.scoped(&record.storage).attachments();
    let attached = Attachment { storage: record.storage.clone(), device: record.device.clone() };
    if let Some(user) = in_use(&attached, User::Place(place), world)? {
        world.log(format_args!("{} stays attached: {user} uses it too", record.storage));
        return forget_unless_shared(&known, place, record, world).map(|()| true);
    }
    if is_mounted_elsewhere(&record.device, superblock)? {
        world.log(format_args!("{} stays attached: its device {} is in use", record.storage, record.device));
        // A device can be asked later whether it is free by now.
        return if block(&record.device).is_some() { Ok(false) } else { known.remove(&record.name).map(|()| true) };
    }
    let call = Detach { name: record.name.clone(), node: node() };
    match driver.detach(&call, &world.scoped(&record.storage)) {
        Err(failure) if failure.is_not_supported() => {}
        answer => answer?,
    }
    known.remove(&record.name).map(|()| true)
}

/// Places that share storage and name share the entry too.
fn forget_unless_shared(known: &Attachments, place: &str, record: &Record, world: &World) -> Result<()> {
    for one in records(world).each()? {
        let (at, other) = one?;
        if at != place && other.storage == record.storage && other.name == record.name {
            return Ok(());
        }
    }
    known.remove(&record.name)
}

/// Whether anybody has it mounted whom we have no record of: an exclusive open tells of other mount namespaces too;
/// without a block device there is only the mount table. A container that is just starting has a copy of every mount for
/// a moment, which is waited for.
fn is_mounted_elsewhere(device: &str, superblock: Option<(u32, u32)>) -> Result<bool> {
    if block(device).is_none() {
        return superblock.map_or(Ok(false), |dev| Ok(!table::of_device(dev)?.is_empty()));
    }
    let end = Instant::now() + PATIENCE;
    // A device that cannot be opened has gone; detaching is then for the driver to judge.
    while !block::is_free(Path::new(device)).unwrap_or(true) {
        if Instant::now() >= end {
            return Ok(true);
        }
        sleep(PATIENCE / 50);
    }
    Ok(false)
}

/// What is known of a mount whose record is lost: its device, and perhaps the name it was attached under.
fn guess(place: &str, there: &Mounted, world: &World) -> Result<Record> {
    let device = there.source.clone();
    let scopes = fs::read_dir(world.attachments_dir()).into_iter().flatten().flatten().map(|entry| entry.path());
    for scope in scopes.filter(|scope| !scope.ends_with(crate::world::BY_HOST)) {
        for (name, attached) in Store::<Attachment>::new(scope).all()? {
            if same_device(&attached.device, &device) {
                return Ok(Record { name, storage: attached.storage, device, mount: None, left: false });
            }
        }
    }
    let name = PathBuf::from(place).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let storage = format!("unknown, mounted at {place}");
    // `detach` finds its device there.
    let attached = Attachment { storage: storage.clone(), device: device.clone() };
    world.scoped(&storage).attachments().put(&name, &attached)?;
    Ok(Record { name, storage, device, mount: None, left: false })
}

/// Undoes what calls left that were cut off and whose places are gone, so that no host will ask for them again, and lets
/// go of devices that somebody held when their last place was unmounted. Others' work is never waited for, and a failure
/// here is none of the call that sweeps.
pub(super) fn sweep<D: Driver>(driver: &D, own: &str, world: &World) {
    let dead = records(world).all().unwrap_or_default();
    for (place, record) in dead.into_iter().filter(|(place, record)| place != own || record.left) {
        if let Err(failure) = sweep_one(driver, &place, &record, world) {
            world.log(format_args!("cannot clean up after {place}: {failure}"));
        }
    }
}

fn sweep_one<D: Driver>(driver: &D, place: &str, record: &Record, world: &World) -> Result<()> {
    // Most are in use, and cost no more than this look. What is found here is looked at again beneath the lock.
    if !record.left && look(Path::new(place))? != Presence::Absent {
        return Ok(());
    }
    let Some(_place) = world.try_lock_of("place", place)? else { return Ok(()) };
    let Some(record) = records(world).get(place)? else { return Ok(()) };
    if !record.left && look(Path::new(place))? != Presence::Absent {
        return Ok(());
    }
    let Some(_held) = world.try_lock_of("storage", &record.storage)? else { return Ok(()) };
    match record.left {
        // Still held: another call will come, and this one need not wait.
        true if !block::is_free(Path::new(&record.device)).unwrap_or(true) => Ok(()),
        true => forget(driver, place, &record, None, world),
        false => take_down(driver, place, &record, world),
    }
}
