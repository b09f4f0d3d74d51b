//! Who is served at this moment, for whoever asks how they are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flexvolume_protocol::DriverName;

use crate::plugin::Plugin;

/// The drivers served; its copies are one.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<DriverName, Arc<Plugin>>>>);

impl Board {
    pub(crate) fn put(&self, driver: DriverName, plugin: Arc<Plugin>) {
        self.lock().insert(driver, plugin);
    }

    pub(crate) fn take(&self, driver: &DriverName) {
        self.lock().remove(driver);
    }

    /// Which of them are there and have answered `init`. It may take as long as `init` takes.
    pub(crate) fn ready(&self) -> Vec<(DriverName, bool)> {
        let served: Vec<_> = self.lock().iter().map(|(driver, plugin)| (driver.clone(), Arc::clone(plugin))).collect();
        served.into_iter().map(|(driver, plugin)| (driver, plugin.driver().is_ok())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DriverName, Arc<Plugin>>> {
        // Nothing is done under the lock that could leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
