//! Growing a volume while it is mounted: to the size its PersistentVolume states, or to the one that somebody asks for.

use std::{
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use flexvolume_protocol::{Bytes, Came, Device, Dir, ExpandFs, ExpandVolume, Extension};

use super::{Ended, Hands};
use crate::{
    drivers::{
        call::{PATIENCE, PAUSE},
        driver::Driver,
    },
    error::{Error, Kind, Result},
    task::Task,
    volume::state::Seen,
};

/// Growing takes as long as it takes; this only says when to call it hung.
const GROW: Duration = Duration::from_secs(3600);

impl Hands<'_> {
    /// Grows the volume if it is smaller than wanted, through the pod's own mount.
    ///
    /// Only a driver that announces `expand` is asked to grow what lies beneath. For others, as in Kubernetes, that has
    /// happened elsewhere: they are told when the stated size rises, not of the size they begin with.
    pub(super) fn grow_small(&mut self, place: &str) -> Result<()> {
        if !self.record.is_small() {
            return Ok(());
        }
        let driver = self.driver()?;
        if self.user(place)?.read_only || !driver.capabilities.requires_fs_resize {
            return Ok(());
        }
        let announced = driver.extensions.contains(&Extension::Expand);
        let mut size = None;
        if announced {
            size = self.grow_backing(&driver)?;
        }
        if announced || self.record.capacity > 0 {
            self.grow_file_system(&driver, &self.place(place))?;
        }
        self.has_grown(size);
        Ok(())
    }

    /// Grows it because somebody asked for just that: what lies beneath if the driver announces `expand`, then the file
    /// system if there is one that has to follow, through the mount at `place` or the global one.
    pub(super) fn grow(&mut self, place: Option<&str>) -> Ended {
        match self.grow_through(place) {
            Ok(()) => Ended { answer: Ok(String::new()), seen: Seen::Mounted },
            Err(error) => Ended::failed(error, Seen::Mounted),
        }
    }

    fn grow_through(&mut self, place: Option<&str>) -> Result<()> {
        if !self.record.is_small() {
            return Ok(());
        }
        let driver = self.driver()?;
        let mut size = None;
        if driver.extensions.contains(&Extension::Expand) {
            size = self.grow_backing(&driver)?;
        }
        if driver.capabilities.requires_fs_resize && !self.record.spec.block {
            let at = place.map_or_else(|| self.global(), |place| self.place(place));
            self.grow_file_system(&driver, &at)?;
        }
        self.has_grown(size);
        Ok(())
    }

    /// A driver may have made it larger than it was asked to.
    fn has_grown(&mut self, size: Option<u64>) {
        self.record.capacity = self.record.capacity_wanted.max(size.unwrap_or(0));
    }

    /// The size it has then, if the driver says.
    fn grow_backing(&mut self, driver: &Driver) -> Result<Option<u64>> {
        let secrets = self.secrets(driver, false)?;
        let global = self.absolute(&self.global());
        let verb = ExpandVolume {
            options: self.device_options().with_secrets(secrets.clone()),
            dir: Dir::try_from(global.as_path()).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?,
            new: Bytes(self.record.capacity_wanted),
            old: Bytes(self.record.capacity),
        };
        let start = Instant::now();
        loop {
            match self.call(driver, &secrets, &verb)? {
                Came::Done(expanded) => return Ok(expanded.bytes),
                // The call itself makes a failure of this; were it to pass, a file system would be grown over a device that was not.
                Came::NotSupported => {
                    let name = &driver.name;
                    let what = format!("driver {name} announces expand and does not grow volumes");
                    return Err(Error::new(Kind::Driver, what));
                }
                Came::InProgress if start.elapsed() >= PATIENCE => {
                    return Err(Error::new(Kind::Busy, format!("driver {} is still growing the volume", driver.name))
                        .hint("ask again: it goes on where it is"));
                }
                Came::InProgress => sleep(PAUSE),
            }
        }
    }

    fn grow_file_system(&mut self, driver: &Driver, at: &Path) -> Result<()> {
        let secrets = self.secrets(driver, false)?;
        let at = self.absolute(at);
        let device = self.record.state.rung.device().to_owned();
        let verb = ExpandFs {
            options: self.device_options().with_secrets(secrets.clone()),
            device: Device(device.clone()),
            dir: Dir::try_from(at.as_path()).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?,
            new: Bytes(self.record.capacity_wanted),
            old: Bytes(self.record.capacity),
        };
        match self.call(driver, &secrets, &verb)? {
            Came::Done(_) => Ok(()),
            Came::NotSupported => self.grow_ourselves(device.into(), at),
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
