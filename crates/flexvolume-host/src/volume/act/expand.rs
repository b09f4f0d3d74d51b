//! Growing a volume to the size its PersistentVolume states, while it is mounted.

use std::{path::PathBuf, time::Duration};

use flexvolume_protocol::{Bytes, Came, Device, Dir, ExpandFs, ExpandVolume, Extension};

use super::Hands;
use crate::{
    drivers::driver::Driver,
    error::{Error, Kind, Result},
    task::Task,
    volume::record::User,
};

/// Growing takes as long as it takes; this only says when to call it hung.
const GROW: Duration = Duration::from_secs(3600);

impl Hands<'_> {
    /// Grows the volume if it is smaller than wanted, through the pod's own mount.
    ///
    /// Only a driver that announces `expand` is asked to grow what lies beneath. For others, as in Kubernetes, that has
    /// happened elsewhere: they are told when the stated size rises, not of the size they begin with.
    pub(super) fn grow(&mut self, user: &User) -> Result<()> {
        let driver = self.driver()?;
        if !self.record.is_small() || user.read_only || !driver.capabilities.requires_fs_resize {
            return Ok(());
        }
        let announced = driver.extensions.contains(&Extension::Expand);
        if announced {
            self.grow_backing(&driver)?;
        }
        if announced || self.record.capacity > 0 {
            self.grow_file_system(&driver, user)?;
        }
        self.record.capacity = self.record.capacity_wanted;
        Ok(())
    }

    fn grow_backing(&mut self, driver: &Driver) -> Result<()> {
        let secrets = self.secrets(driver, false)?;
        let global = self.absolute(&self.ground.layout.global(&self.record.driver, &self.record.name));
        let verb = ExpandVolume {
            options: self.device_options().with_secrets(secrets.clone()),
            dir: Dir::try_from(global.as_path()).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?,
            new: Bytes(self.record.capacity_wanted),
            old: Bytes(self.record.capacity),
        };
        match self.call(driver, &secrets, &verb)? {
            Came::Done(_) => Ok(()),
            // The call itself makes a failure of this; were it to pass, a file system would be grown over a device that was not.
            Came::NotSupported => Err(Error::new(
                Kind::Driver,
                format!("driver {} announces expand and does not grow volumes", driver.name),
            )),
            Came::InProgress => {
                Err(Error::new(Kind::Driver, format!("driver {} is still growing the volume", driver.name))
                    .hint("run flexvol up again: it goes on where it is"))
            }
        }
    }

    fn grow_file_system(&mut self, driver: &Driver, user: &User) -> Result<()> {
        let secrets = self.secrets(driver, false)?;
        let place = self.absolute(&self.ground.layout.place(&user.uid, &self.record.driver, &self.record.name));
        let device = self.record.state.rung.device().to_owned();
        let verb = ExpandFs {
            options: self.device_options().with_secrets(secrets.clone()),
            device: Device(device.clone()),
            dir: Dir::try_from(place.as_path()).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?,
            new: Bytes(self.record.capacity_wanted),
            old: Bytes(self.record.capacity),
        };
        match self.call(driver, &secrets, &verb)? {
            Came::Done(_) => Ok(()),
            Came::NotSupported => self.grow_ourselves(device.into(), place),
            Came::InProgress => Err(super::attach::unfinished("expandfs")),
        }
    }

    /// The default of Kubernetes: the generic tools, where there is a block device.
    fn grow_ourselves(&mut self, device: PathBuf, at: PathBuf) -> Result<()> {
        if !device.is_absolute() {
            return Ok(());
        }
        self.work(&Task::Grow { device, at }, GROW).map(drop)
    }
}
