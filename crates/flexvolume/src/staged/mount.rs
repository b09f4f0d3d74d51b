//! A stranger's `mount`: everything is done, or all of it is undone.

use std::path::Path;

use flexvolume_linux::mount::{Flags, Mounted, set_flags, table};
use flexvolume_protocol::{Attach, Code, Device, Mount, MountDevice, WaitForAttach, keys};

use super::{
    ONLY_READER, Record,
    attach::attach_held,
    node, plain, records, same_device,
    unmount::{forget, sweep, take_down, unmount_all},
};
use crate::{Driver, Failure, Result, World};

/// One composed mount under its locks.
struct Up<'a, D> {
    driver: &'a D,
    /// With `rw` for everybody: mounts of one device share a superblock, so what is one pod's own is only its mount.
    call: Mount,
    read_only: bool,
    place: &'a str,
    /// With this storage's own attachments.
    world: World,
}

pub(crate) fn mount<D: Driver>(driver: &D, call: &Mount, world: &World) -> Result<()> {
    let place = plain(&call.dir);
    let done = mount_at(driver, call, &place, world);
    sweep(driver, &place, world);
    done
}

fn mount_at<D: Driver>(driver: &D, call: &Mount, place: &str, world: &World) -> Result<()> {
    let _place = world.lock_of("place", place)?;
    let storage = driver.storage(&call.options, world)?;
    let mut old = records(world).get(place)?;
    if let Some(other) = &old
        && other.storage != storage
    {
        let _held = world.lock_of("storage", &other.storage)?;
        match other.left {
            true => forget(driver, place, other, None, world)?,
            false => take_down(driver, place, other, world)?,
        }
        old = None;
    }
    let _held = world.lock_of("storage", &storage)?;
    let up = Up::new(driver, call, place, world.scoped(&storage));
    let device = old.as_ref().map(|old| old.device.clone()).unwrap_or_default();
    let fresh = Record { name: call.options.volume_name().to_owned(), storage, device, mount: None, left: false };
    match (old.filter(|old| !old.left).map(|old| old.mount), table::at(Path::new(place))?) {
        (Some(Some(ours)), Some(there)) if there.id == ours => up.forbid_writing(),
        // Not ours by any record, or replaced since: it may be ours all the same, the records being lost.
        (Some(Some(_)) | None, Some(there)) => up.recognise(&there, fresh),
        // A call was cut off after the driver had mounted, who knows how far.
        (Some(None), Some(_)) => unmount_all(driver, place, world).and_then(|_| up.all_or_nothing(fresh)),
        (_, None) => up.all_or_nothing(fresh),
    }
}

impl<'a, D: Driver> Up<'a, D> {
    fn new(driver: &'a D, call: &Mount, place: &'a str, world: World) -> Self {
        let (mut call, read_only) = (call.clone(), call.options.read_only());
        call.options.insert(keys::READ_WRITE, "rw");
        if read_only {
            call.options.insert(ONLY_READER, "true");
        }
        Self { driver, call, read_only, place, world }
    }

    fn all_or_nothing(&self, mut record: Record) -> Result<()> {
        self.write(&record)?;
        let failure = match self.bring_up(&mut record) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        // "Not supported" would be remembered for all volumes, though it was but one of the steps that said so.
        let failure = match failure.is_not_supported() {
            true => Failure::internal("the driver announces `staged` but does not implement mountdevice"),
            false => failure,
        };
        match take_down(self.driver, self.place, &record, &self.world) {
            Ok(()) => Err(failure),
            Err(undo) => Err(failure.followed_by(&format!("what was done could not be undone: {undo}"))),
        }
    }

    fn bring_up(&self, record: &mut Record) -> Result<()> {
        let device = self.device(record, |record| self.write(record))?;
        let (dir, options) = (self.call.dir.clone(), self.call.options.clone());
        self.driver.mountdevice(&MountDevice { dir, device, options }, &self.world)?;
        let there = table::at(Path::new(self.place))?.ok_or_else(|| {
            Failure::internal(format!("the driver's mountdevice succeeded, but nothing is mounted at {}", self.place))
        })?;
        self.settled(record, &there)
    }

    /// Attaches and waits; the record names the device as soon as it is known, and is given to `note` then.
    fn device(&self, record: &mut Record, note: impl Fn(&Record) -> Result<()>) -> Result<Device> {
        let options = self.call.options.clone();
        let attach = Attach { options: options.clone(), node: node() };
        let attached = attach_held(self.driver, &attach, &record.storage, &self.world);
        let device = or_default(attached, Device::default())?;
        record.device.clone_from(&device.0);
        note(record)?;
        let wait = WaitForAttach { device: device.clone(), options };
        let device = or_default(self.driver.waitforattach(&wait, &self.world), device)?;
        if record.device != device.0 {
            record.device.clone_from(&device.0);
            note(record)?;
        }
        Ok(device)
    }

    /// Something is mounted already that no record calls ours: it is, if it is this volume's device.
    fn recognise(&self, there: &Mounted, mut record: Record) -> Result<()> {
        // No record before that is known: one without a mount would let the next call unmount what is there.
        let found = self.device(&mut record, |_| Ok(()));
        if let Ok(device) = &found
            && same_device(&device.0, &there.source)
        {
            return self.settled(&mut record, there);
        }
        forget(self.driver, self.place, &record, None, &self.world)?;
        found?;
        let what = format!("{} from {:?} is mounted at {} already", there.fs_type, there.source, self.place);
        Err(Failure::new(Code::Conflict, format!("{what}, which is not this volume; unmount it first")))
    }

    fn settled(&self, record: &mut Record, there: &Mounted) -> Result<()> {
        self.forbid_writing()?;
        record.mount = Some(there.id);
        self.write(record)
    }

    fn forbid_writing(&self) -> Result<()> {
        let flags = Flags { read_only: self.read_only, nosuid: false, nodev: false, noexec: false };
        Ok(set_flags(Path::new(self.place), flags)?)
    }

    fn write(&self, record: &Record) -> Result<()> {
        records(&self.world).put(self.place, record)
    }
}

/// What Kubernetes takes when these two verbs are not supported.
fn or_default(answer: Result<Device>, default: Device) -> Result<Device> {
    match answer {
        Err(failure) if failure.is_not_supported() => Ok(default),
        answer => answer,
    }
}
