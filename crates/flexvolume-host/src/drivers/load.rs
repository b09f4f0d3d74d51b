//! Drivers loaded when first needed: found, asked `init` once, and asked anew when their file changes.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use flexvolume_linux::beneath::Trust;
use flexvolume_protocol::{Came, DriverName, Init, InitReply, Redactor};

use super::{
    call::{Calling, call},
    driver::Driver,
    scan::{self, Found},
};
use crate::{
    error::{Error, Kind as ErrorKind, Result},
    note::Notes,
    settings::Config,
};

/// The drivers of one plugin directory, loaded when first needed.
#[derive(Debug)]
pub struct Drivers {
    dir: PathBuf,
    trust: Trust,
    config: Config,
    loaded: Mutex<HashMap<DriverName, Slot>>,
}

/// Locked while one driver is asked: whoever wants the same driver waits for the answer, nobody else does.
type Slot = Arc<Mutex<Option<Arc<Driver>>>>;

impl Drivers {
    /// The drivers below `dir`.
    pub fn new(dir: PathBuf, trust: Trust, config: Config) -> Self {
        Self { dir, trust, config, loaded: Mutex::new(HashMap::new()) }
    }

    /// The names of all drivers there, whether they work or not.
    pub fn names(&self) -> Result<Vec<DriverName>> {
        scan::names(&self.dir)
    }

    /// The driver of that name, asked `init` if it was not yet or if its file changed since.
    ///
    /// However many ask at once, a driver is asked once; a slow `init` keeps no other driver waiting.
    pub fn get(&self, name: &DriverName, notes: Notes<'_>) -> Result<Arc<Driver>> {
        let found = scan::find(&self.dir, name, &self.trust)?;
        let dead = |_| Error::new(ErrorKind::System, "another thread died while it loaded a driver");
        let slot = self.loaded.lock().map_err(|_| dead(()))?.entry(name.clone()).or_default().clone();
        let mut slot = slot.lock().map_err(|_| dead(()))?;
        if let Some(driver) = &*slot
            && driver.found == found
        {
            return Ok(driver.clone());
        }
        let driver = Arc::new(self.load(name, found, notes)?);
        *slot = Some(driver.clone());
        Ok(driver)
    }

    fn load(&self, name: &DriverName, found: Found, notes: Notes<'_>) -> Result<Driver> {
        let mut driver = Driver::unasked(name, found, self.config.driver(name).clone());
        let id = crate::ident::fresh_id()?;
        let calling = Calling {
            driver: &driver,
            volume: "",
            call: &id,
            redactor: &Redactor::default(),
            notes,
            born: &mut |_| Ok(()),
        };
        match call(calling, &Init {})? {
            Came::Done(InitReply { capabilities, extensions, .. }) => {
                driver.capabilities = capabilities;
                driver.extensions = extensions;
                Ok(driver)
            }
            Came::NotSupported | Came::InProgress => {
                Err(Error::new(ErrorKind::Driver, format!("driver {name} does not know init, so it cannot be used"))
                    .hint(format!("try it by hand: flexvol call {name} init")))
            }
        }
    }
}
