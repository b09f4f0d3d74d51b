//! A driver that answered `init`: what it can, and what it does not know. Found anew and asked anew when its file changes.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use flexvolume_linux::beneath::Trust;
use flexvolume_protocol::{Came, Capabilities, DriverName, Extension, Init, InitReply, Redactor, VerbName};

use super::{
    call::{Calling, call},
    scan::{self, Found},
};
use crate::{
    error::{Error, Kind as ErrorKind, Result},
    note::Notes,
    settings::{Config, DriverConfig},
    volume::record::Kind,
};

/// A loaded driver.
#[derive(Debug)]
pub struct Driver {
    /// Its name.
    pub name: DriverName,
    /// Its file.
    pub found: Found,
    /// What it answered to `init`.
    pub capabilities: Capabilities,
    /// The extensions it announced.
    pub extensions: BTreeSet<Extension>,
    /// What the administrator set for it.
    pub config: DriverConfig,
    unsupported: Mutex<BTreeSet<VerbName>>,
}

impl Driver {
    /// How its volumes are handled.
    pub fn kind(&self) -> Kind {
        match (self.extensions.contains(&Extension::Staged), self.capabilities.attach) {
            (true, _) => Kind::Staged,
            (false, true) => Kind::Attachable,
            (false, false) => Kind::Direct,
        }
    }

    /// Whether options travel on standard input instead of argv.
    pub fn by_stdin(&self) -> bool {
        self.extensions.contains(&Extension::Stdin)
    }

    /// Whether it said before, in this load, that it does not know the verb: it is not asked again.
    pub fn lacks(&self, verb: VerbName) -> bool {
        self.unsupported.lock().is_ok_and(|set| set.contains(&verb))
    }

    /// Remembers that it does not know the verb.
    pub(super) fn remember_lack(&self, verb: VerbName) {
        if let Ok(mut set) = self.unsupported.lock() {
            set.insert(verb);
        }
    }
}

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
        let mut driver = Driver {
            name: name.clone(),
            found,
            capabilities: Capabilities::default(),
            extensions: BTreeSet::new(),
            config: self.config.driver(name).clone(),
            unsupported: Mutex::new(BTreeSet::new()),
        };
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
