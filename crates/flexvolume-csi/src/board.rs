//! Who is served at this moment, for whoever asks how they are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flexvolume_protocol::DriverName;

use crate::plugin::Plugin;

/// The drivers served; its copies are one.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<DriverName, Entry>>>);

struct Entry {
    plugin: Arc<Plugin>,
    absent: bool,
}

impl Board {
    pub(crate) fn put(&self, driver: DriverName, plugin: Arc<Plugin>) {
        self.lock().insert(driver, Entry { plugin, absent: false });
    }

    pub(crate) fn take(&self, driver: &DriverName) {
        self.lock().remove(driver);
    }

    /// These are served for their volumes only, their programs are gone; the others are there.
    pub(crate) fn set_absent(&self, absent: &[DriverName]) {
        for (driver, entry) in self.lock().iter_mut() {
            entry.absent = absent.contains(driver);
        }
    }

    /// Asks each whether it is ready, and gives what is wrong: nothing if all is well. That a program is gone is known, and no restart
    /// of ours brings it back. It may take as long as `init` takes.
    pub(crate) fn probe(&self) -> Vec<String> {
        let present: Vec<_> =
            self.lock().values().filter(|entry| !entry.absent).map(|entry| Arc::clone(&entry.plugin)).collect();
        let wrong = |plugin: Arc<Plugin>| {
            plugin.driver().err().map(|error| format!("{}: {}", plugin.serving.driver, error.words()))
        };
        present.into_iter().filter_map(wrong).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DriverName, Entry>> {
        // Nothing is done under the lock that could leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
