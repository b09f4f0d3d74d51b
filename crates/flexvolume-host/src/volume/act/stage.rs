//! The middle rung: the device awaited and mounted once per node at the global directory, and taken from there.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume_linux::mount::{MountId, Presence, table};
use flexvolume_protocol::{
    Came, Device, Dir, Extension, MountDevice, Options, Secrets, UnmountDevice, WaitForAttach, excerpt,
};

use super::{
    Ended, Hands,
    attach::unfinished,
    directory::{SOON, Target},
};
use crate::{
    drivers::driver::Driver,
    error::{Error, Kind, Result},
    task::{Done, Raw, Task},
    volume::{
        record::Made,
        rest::is_shared,
        state::{Op, Seen},
        trace::Trace,
    },
};

/// Formatting and checking take as long as they take; this only says when to call it hung.
pub(super) const FORMAT: Duration = Duration::from_secs(3600);

impl Hands<'_> {
    pub(super) fn global(&self) -> PathBuf {
        self.ground.layout.global(&self.record.driver, &self.record.name)
    }

    pub(super) fn stage(&mut self) -> Ended {
        if self.record.spec.block {
            return match self.stage_raw() {
                Ok(device) => {
                    self.record.stage = Some(Made::NoMount);
                    Ended { answer: Ok(device), seen: Seen::Nothing }
                }
                Err(error) => Ended::failed(error, Seen::Nothing),
            };
        }
        let target = match self.make(&self.global()) {
            Ok(target) => target,
            Err(error) => return Ended::failed(error, Seen::Nothing),
        };
        match self.stage_at(&target) {
            Ok((device, made)) => {
                self.record.stage = Some(made);
                Ended { answer: Ok(device), seen: target.seen() }
            }
            Err(error) => {
                let seen = target.seen();
                if seen == Seen::Nothing {
                    let _ = target.remove();
                }
                Ended::failed(error, seen)
            }
        }
    }

    fn stage_at(&mut self, target: &Target) -> Result<(String, Made)> {
        match target.look()? {
            Presence::Absent | Presence::Plain => {}
            Presence::Mount(_) | Presence::Corrupted(_) => {
                return Err(Error::new(
                    Kind::Refused,
                    format!("something nobody recorded is mounted at {}", target.path.display()),
                )
                .hint(if self.record.state.places.is_empty() {
                    "it is taken away now; try again".to_owned()
                } else {
                    format!(
                        "pods live on the volume, so it is left alone; look what it is, then: umount {}",
                        target.path.display()
                    )
                }));
            }
            Presence::Symlink | Presence::Other => {
                return Err(Error::new(Kind::Refused, format!("{} is no directory", target.path.display()))
                    .hint("move it out of the way, then try again"));
            }
        }
        let driver = self.driver()?;
        let secrets = self.secrets(&driver, false)?;
        let options = self.device_options().with_secrets(secrets.clone());
        let device = self.wait_for_device(&driver, &secrets, &options)?;
        let dir = Dir::try_from(target.path.as_path()).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?;
        let read_only = self.record.read_only;
        let may_be_empty = match self.call(&driver, &secrets, &MountDevice { dir, device: device.clone(), options })? {
            Came::Done(()) => {
                self.without_options(&driver)?;
                driver.config.allow_unmounted
            }
            Came::NotSupported => self.mount_device_ourselves(target, &device.0)?,
            Came::InProgress => return Err(unfinished("mountdevice")),
        };
        let made = self.judge(target, None, read_only, may_be_empty)?;
        Ok((device.0, made))
    }

    fn wait_for_device(&mut self, driver: &Driver, secrets: &Secrets, options: &Options) -> Result<Device> {
        let given = match self.record.attached.as_str() {
            "" => Device(self.record.state.rung.device().to_owned()),
            attached => Device(attached.to_owned()),
        };
        let wait = WaitForAttach { device: given.clone(), options: options.clone() };
        let device = match self.call(driver, secrets, &wait)? {
            // Some answer without the device: taken for none, their volume would be a folder on the host's own disk.
            Came::Done(device) if !device.0.is_empty() => device,
            Came::Done(_) | Came::NotSupported => given,
            Came::InProgress => return Err(unfinished("waitforattach")),
        };
        Ok(Device(self.sound(device, secrets)?))
    }

    /// The device awaited and looked at, to be given away as it is.
    fn stage_raw(&mut self) -> Result<String> {
        let driver = self.driver()?;
        let secrets = self.secrets(&driver, false)?;
        let options = self.device_options().with_secrets(secrets.clone());
        let Device(device) = self.wait_for_device(&driver, &secrets, &options)?;
        let (path, read_only) = (PathBuf::from(&device), self.record.read_only);
        let raw = if path.is_absolute() { self.look_raw(path)? } else { Raw::Nothing };
        let shown = excerpt(&device, 200);
        match (raw, read_only) {
            (Raw::Nothing, true | false) => Err(Error::new(
                Kind::Driver,
                format!(
                    "driver {} answered {shown:?}, which is no block device or an empty one, so it cannot be given raw",
                    driver.name
                ),
            )
            .hint("that is a fault of the driver, or the volume is none of those that it can give raw")),
            (Raw::Writable(..), true) => Err(Error::new(
                Kind::Refused,
                format!("the driver gave a writable device, {shown}, for a volume that is to be read only"),
            )
            .hint(format!("ask for the volume writable, or see why driver {} overlooks readwrite: ro", driver.name))),
            (Raw::ReadOnly(major, minor), true | false) | (Raw::Writable(major, minor), false) => {
                self.record.remember(None, Trace::Device(major, minor));
                Ok(device)
            }
        }
    }

    fn look_raw(&mut self, device: PathBuf) -> Result<Raw> {
        match self.work(&Task::LookRaw { device }, SOON)? {
            Done::Raw(raw) => Ok(raw),
            Done::Plainly
            | Done::Told(_)
            | Done::Unmounted(_)
            | Done::Owned(_)
            | Done::Seen(_)
            | Done::Usage(_)
            | Done::Free(_) => Ok(Raw::Nothing),
        }
    }

    /// A driver that mounts by itself is not told of mount options: what was asked for is not what is there.
    fn without_options(&self, driver: &Driver) -> Result<()> {
        match self.record.spec.mount_options.first() {
            Some(option) => {
                let (option, name) = (parted(option).0, &driver.name);
                Err(Error::new(
                    Kind::Invalid,
                    format!("the mount option {option} has no effect: driver {name} mounts by itself"),
                )
                .hint("leave it away, or look whether the driver has an option of its own for that"))
            }
            None => Ok(()),
        }
    }

    /// What Kubernetes does for a driver without mountdevice; true if there is nothing to mount.
    fn mount_device_ourselves(&mut self, target: &Target, device: &str) -> Result<bool> {
        if device.is_empty() {
            return Ok(true);
        }
        if self.record.shared {
            let what = format!("driver {} leaves the mount of {device} to the host", self.record.driver);
            return Err(Error::new(
                Kind::Refused,
                format!("{what}, and other nodes may write to the volume meanwhile"),
            )
            .hint("a file system on a device is for one node, or for reading alone: ask for such an access mode"));
        }
        let storage = self.record.storage()?;
        let intent = self.ground.layout.intent(&storage);
        if let Some(parent) = intent.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|e| Error::new(Kind::System, format!("cannot create {}", parent.display())).because(e))?;
        }
        let task = Task::FormatAndMount {
            device: device.into(),
            identity: storage,
            fs_type: self.record.spec.fs_type.clone(),
            target: target.path.clone(),
            intent,
            options: self.record.spec.mount_options.iter().map(|option| parted(option)).collect(),
            power: self.power(self.record.read_only)?,
        };
        match self.work(&task, FORMAT) {
            Ok(_) => Ok(false),
            // Whatever a driver calls its device, here it has to be one.
            Err(error) if error.next().is_none() && error.kind() != Kind::Stuck => Err(error.hint(format!(
                "driver {} leaves mountdevice to the host, so its device {device:?} must be a block device",
                self.record.driver
            ))),
            Err(error) => Err(error),
        }
    }

    pub(super) fn unstage(&mut self) -> Ended {
        if self.record.spec.block {
            return self.unstaged(Ok(()), Seen::Nothing);
        }
        match self.existing(&self.global()) {
            Ok(None) => self.unstaged(Ok(()), Seen::Nothing),
            Ok(Some(target)) => {
                let result = self.unstage_at(&target);
                // Files left behind are as much in the way as a mount.
                let seen = if result.is_err() && target.look().is_ok_and(|p| p != Presence::Absent) {
                    Seen::Mounted
                } else {
                    target.seen()
                };
                self.unstaged(result, seen)
            }
            Err(error) => Ended::failed(error, Seen::Mounted),
        }
    }

    fn unstaged(&mut self, result: Result<()>, seen: Seen) -> Ended {
        match result {
            Ok(()) => {
                self.record.stage = None;
                self.end_leftovers(&Op::Unstage);
                Ended { answer: Ok(String::new()), seen }
            }
            Err(error) => Ended::failed(error, seen),
        }
    }

    fn unstage_at(&mut self, target: &Target) -> Result<()> {
        match target.look()? {
            Presence::Absent => return Ok(()),
            // Nothing is mounted: Kubernetes does not call the driver either.
            Presence::Plain | Presence::Symlink | Presence::Other => return target.remove(),
            Presence::Mount(id) => self.only_here(id, target)?,
            Presence::Corrupted(_) => {}
        }
        let said = self.driver().and_then(|driver| self.call_unmount_device(&driver, target));
        self.clear(target, said)
    }

    /// Fails where the volume is mounted elsewhere too: it is not taken from under whoever that serves.
    fn only_here(&mut self, id: MountId, target: &Target) -> Result<()> {
        let Some(mounted) = table::by_id(id)? else { return Ok(()) };
        // A staged driver's detach leaves the device to whom it is attached by another name, so two volumes of one storage
        // go one by one, each by itself. Other drivers may let go of the device beneath the second.
        let (is_staged, drivers) = (self.is_staged_driver(), self.drivers_own());
        let own = OsStr::new(self.record.name.as_str());
        let is_known = |at: &Path| {
            let is_anothers = self.ground.layout.is_of(&self.record.driver, at) && at.file_name() != Some(own);
            (is_staged && is_anothers) || drivers.as_ref().is_some_and(|drivers| at.starts_with(drivers))
        };
        let others = table::of_device(mounted.dev)?;
        for other in others.iter().filter(|o| o.is_within(&mounted) && o.point != target.path && !is_known(&o.point)) {
            // What another volume of that storage shows as well is that one's.
            if is_shared(self.ground, &Trace::of(other), &self.record.driver, &self.record.name)? {
                continue;
            }
            return Err(Error::new(Kind::Refused, format!("the volume is also mounted at {}", other.point.display()))
                .hint(format!("unmount that first: umount {}", other.point.display())));
        }
        Ok(())
    }

    /// The same, asked before anything is begun.
    pub fn is_only_here(&mut self) -> Result<()> {
        let Some(target) = self.existing(&self.global())? else { return Ok(()) };
        match target.look()? {
            Presence::Mount(id) => self.only_here(id, &target),
            Presence::Absent | Presence::Plain | Presence::Symlink | Presence::Other | Presence::Corrupted(_) => Ok(()),
        }
    }

    /// Where a staged driver mounts for itself what several volumes share; `None` for drivers that are not staged.
    pub(super) fn drivers_own(&mut self) -> Option<PathBuf> {
        if self.is_staged_driver() { self.ground.drivers_own(&self.record.driver) } else { None }
    }

    fn is_staged_driver(&self) -> bool {
        self.driver().is_ok_and(|driver| driver.extensions.contains(&Extension::Staged))
    }

    fn call_unmount_device(&mut self, driver: &Driver, target: &Target) -> Result<()> {
        let dir = Dir::try_from(target.path.as_path()).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?;
        match self.call(driver, &Default::default(), &UnmountDevice { dir })? {
            Came::Done(()) => Ok(()),
            Came::NotSupported => self.take_away(&target.path),
            Came::InProgress => Err(unfinished("unmountdevice")),
        }
    }
}

/// `name=value`, or a name alone.
fn parted(option: &str) -> (String, Option<String>) {
    match option.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (option.to_owned(), None),
    }
}
