//! Drivers loaded when first needed: found, asked `init` once, asked anew when their file changes, and not asked too often
//! while they fail.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use flexvolume_linux::{
    beneath::Trust,
    process::{self, ProcessId},
};
use flexvolume_protocol::{Came, DriverName, Init, InitReply, Redactor};

use super::{
    call::{Calling, Watched, call},
    driver::Driver,
    scan::{self, Found},
};
use crate::{
    backoff,
    error::{Error, Kind as ErrorKind, Result, waits_for},
    note::Notes,
    settings::Config,
};

/// The drivers of one plugin directory, loaded when first needed.
#[derive(Debug)]
pub struct Drivers {
    dir: PathBuf,
    trust: Trust,
    config: Config,
    slots: Mutex<HashMap<DriverName, Slot>>,
}

/// Locked while one driver is asked: whoever wants the same driver waits for the answer, nobody else does.
type Slot = Arc<Mutex<Loaded>>;

/// What came of asking one driver.
#[derive(Debug, Default)]
struct Loaded {
    ready: Option<Arc<Driver>>,
    failed: Option<Failed>,
}

/// An `init` that failed, and has not succeeded since.
#[derive(Debug)]
struct Failed {
    found: Found,
    error: Error,
    failures: u32,
    again: Instant,
    /// The process of that `init`: while the kernel holds it, no second one is begun.
    process: Option<ProcessId>,
}

/// What a look at one driver came to.
#[derive(Debug)]
pub enum Look {
    /// It is there and has answered `init`.
    Ready(Arc<Driver>),
    /// It is there and cannot be used; it may be tried again from then on.
    Failed {
        /// Why.
        error: Error,
        /// When.
        again: Instant,
        /// The same file as it answered before: it serves on.
        serving: Option<Arc<Driver>>,
    },
    /// There is no such driver.
    Gone(Error),
}

/// What a look may be content with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// An answer of the same file.
    IfChanged,
    /// Only a fresh answer: something the driver stands on may have changed.
    Anew,
}

impl Drivers {
    /// The drivers below `dir`.
    pub fn new(dir: PathBuf, trust: Trust, config: Config) -> Self {
        Self { dir, trust, config, slots: Mutex::new(HashMap::new()) }
    }

    /// The plugin directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The names of all drivers there, whether they work or not.
    pub fn names(&self) -> Result<Vec<DriverName>> {
        scan::names(&self.dir)
    }

    /// The driver of that name, asked `init` if it was not yet or if its file changed since.
    ///
    /// However many ask at once, a driver is asked once; a slow `init` keeps no other driver waiting. One that failed is
    /// not asked again before its time, unless its file changed. A driver whose file is the same keeps serving while a
    /// fresh `init` fails; a changed file serves nobody before it has answered.
    pub fn get(&self, name: &DriverName, notes: Notes<'_>) -> Result<Arc<Driver>> {
        match self.look(name, Ask::IfChanged, notes) {
            Look::Ready(driver) => Ok(driver),
            Look::Failed { error, serving, .. } => serving.ok_or(error),
            Look::Gone(error) => Err(error),
        }
    }

    /// The driver of that name as it last answered, if its file was the same at the last look. Never waits: one that is
    /// being asked at this moment counts as not loaded.
    pub fn loaded(&self, name: &DriverName) -> Option<Arc<Driver>> {
        let slot = locked(&self.slots).ok()?.get(name)?.clone();
        let loaded = slot.try_lock().ok()?;
        loaded.ready.clone()
    }

    /// Looks at one driver and asks it `init` where that is due.
    pub fn look(&self, name: &DriverName, ask: Ask, notes: Notes<'_>) -> Look {
        let soon = |error| Look::Failed { error, again: Instant::now() + backoff::after(1), serving: None };
        let slot = match self.slot(name) {
            Ok(slot) => slot,
            Err(error) => return soon(error),
        };
        let mut loaded = match locked(&slot) {
            Ok(loaded) => loaded,
            Err(error) => return soon(error),
        };
        // Found once nobody else asks it: what was found before a wait may be another program by now.
        let found = match scan::find(&self.dir, name, &self.trust) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return match self.forget(name) {
                    Ok(()) => Look::Gone(error),
                    Err(error) => soon(error),
                };
            }
            Err(error) => {
                loaded.ready = None;
                // What cannot be run has no `init` to be asked too often: it is looked at again when it changes.
                return Look::Failed { error, again: Instant::now() + backoff::after(u32::MAX), serving: None };
            }
        };
        let now = Instant::now();
        match &loaded.failed {
            Some(failed) if failed.found == found => {
                if ask == Ask::IfChanged && now < failed.again {
                    let (error, serving) = (failed.error.clone(), loaded.ready.clone());
                    return Look::Failed { error, again: failed.again, serving };
                }
                if let Some(process) = failed.process.filter(process::alive) {
                    let error = still_asked(name, process);
                    let again = now + backoff::after(failed.failures);
                    return Look::Failed { error, again, serving: loaded.ready.clone() };
                }
            }
            Some(_) | None => {
                if let Some(driver) = &loaded.ready
                    && driver.found == found
                    && ask == Ask::IfChanged
                {
                    return Look::Ready(driver.clone());
                }
            }
        }
        self.ask(name, found, &mut loaded, notes)
    }

    /// Asks `init` and writes down what came of it.
    fn ask(&self, name: &DriverName, found: Found, loaded: &mut Loaded, notes: Notes<'_>) -> Look {
        let mut process = None;
        match self.load(name, found.clone(), notes, &mut process) {
            Ok(driver) => {
                let driver = Arc::new(driver);
                *loaded = Loaded { ready: Some(driver.clone()), failed: None };
                Look::Ready(driver)
            }
            Err(error) => {
                let before = loaded.failed.take().filter(|failed| failed.found == found).map_or(0, |f| f.failures);
                let failures = before.saturating_add(1);
                let again = Instant::now() + backoff::after(failures);
                loaded.ready = loaded.ready.take().filter(|driver| driver.found == found);
                loaded.failed = Some(Failed { found, error: error.clone(), failures, again, process });
                Look::Failed { error, again, serving: loaded.ready.clone() }
            }
        }
    }

    fn load(
        &self,
        name: &DriverName,
        found: Found,
        notes: Notes<'_>,
        process: &mut Option<ProcessId>,
    ) -> Result<Driver> {
        let mut driver = Driver::unasked(name, found, self.config.driver(name).clone());
        let id = crate::ident::fresh_id()?;
        let calling = Calling {
            driver: &driver,
            volume: "",
            call: &id,
            redactor: &Redactor::default(),
            notes,
            watched: &mut |watched| match watched {
                Watched::Born(born) => *process = Some(born),
                Watched::Lasting => {}
            },
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

    fn slot(&self, name: &DriverName) -> Result<Slot> {
        Ok(locked(&self.slots)?.entry(name.clone()).or_default().clone())
    }

    /// A driver that is gone is known no longer: should it come back, it is asked afresh.
    fn forget(&self, name: &DriverName) -> Result<()> {
        locked(&self.slots)?.remove(name);
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    mutex.lock().map_err(|_| Error::new(ErrorKind::System, "another thread died while it loaded a driver"))
}

fn still_asked(name: &DriverName, process: ProcessId) -> Error {
    Error::new(ErrorKind::Stuck, format!("an earlier init of driver {name} still runs as pid {process}"))
        .hint(format!("it is asked again when that has ended; {}", waits_for(process.pid)))
}
