//! What everything in the host stands on: settings, paths, ledger, drivers, and where and when we run.

use std::{path::PathBuf, sync::Arc, time::Duration};

use flexvolume_linux::beneath::trusted_chain;
use flexvolume_protocol::DriverName;

use crate::{
    drivers::load::Drivers,
    error::{Error, Kind, Result},
    ident::Ident,
    layout::Layout,
    ledger::Ledger,
    lock::{self, Lock},
    note::{Note, Notes},
    settings::Settings,
    workers::Workers,
};

/// What everything stands on.
#[derive(Debug)]
pub struct Ground {
    /// The settings.
    pub settings: Settings,
    /// Paths.
    pub layout: Layout,
    /// The ledger.
    pub ledger: Ledger,
    /// The drivers; discovery looks at them from threads of its own.
    pub drivers: Arc<Drivers>,
    /// This machine, this boot.
    pub ident: Ident,
    /// Those that ask mounts and devices whether they answer.
    pub(crate) workers: Workers,
}

/// What opening found.
#[derive(Debug)]
pub struct Found {
    /// There was no ledger: what is mounted beneath the root is to be recorded anew.
    pub fresh: bool,
    /// A damaged ledger that was set aside.
    pub set_aside: Option<PathBuf>,
}

impl Ground {
    /// Opens the root: makes it if it is missing, and checks that nobody else could have written there.
    pub fn open(settings: Settings) -> Result<(Self, Found)> {
        let root = settings.root.clone();
        if !root.is_absolute() {
            return Err(Error::new(Kind::Invalid, format!("the root {} is not an absolute path", root.display())));
        }
        if let Err(error) = std::fs::create_dir_all(&root)
            && !root.is_dir()
        {
            return Err(Error::new(Kind::System, format!("cannot create the root {}", root.display()))
                .because(error)
                .hint("run as root, or give a folder of yours with --root"));
        }
        let root = std::fs::canonicalize(&root)
            .map_err(|e| Error::new(Kind::System, format!("cannot resolve the root {}", root.display())).because(e))?;
        let trust = settings.config.trust();
        if root.to_str().is_none() {
            let what = format!("the root {} is not UTF-8, so drivers cannot be told of it", root.display());
            return Err(Error::new(Kind::Invalid, what).hint("choose another folder with --root"));
        }
        trusted_chain(&root, &trust)?;
        let layout = Layout::new(&root);
        let opened = Ledger::open(&layout.ledger())?;
        let ident = Ident::read(settings.config.node.as_deref())?;
        let drivers = Arc::new(Drivers::new(settings.plugin_dir.clone(), trust, settings.config.clone()));
        let found = Found { fresh: opened.fresh, set_aside: opened.set_aside };
        let workers = Workers::new(settings.worker.clone());
        Ok((Self { settings, layout, ledger: opened.ledger, drivers, ident, workers }, found))
    }

    /// The folder in which a staged driver mounts for itself what several volumes share, as the mount table has it; `None` where that
    /// could be what pods have.
    pub fn drivers_own(&self, driver: &DriverName) -> Option<PathBuf> {
        let run = std::fs::canonicalize(&self.settings.run).ok()?;
        let (own, root) = (run.join(driver.dir()), self.layout.root());
        (!own.starts_with(root) && !root.starts_with(&own)).then_some(own)
    }

    /// Who holds the lock of one volume now, in words.
    pub fn lock_holder(&self, key: &str) -> Option<String> {
        lock::held_by(&self.layout.lock(key))
    }

    /// Takes the lock of one volume.
    pub fn lock(&self, key: &str, notes: Notes<'_>) -> Result<Locked<'_>> {
        let lock = Lock::take(&self.layout.lock(key), self.settings.patience, &mut |whom| {
            notes(Note::Waiting { volume: key.to_owned(), whom: whom.to_owned() });
        })
        .map_err(|error| error.during("lock"))?;
        Ok(Locked { ground: self, key: key.to_owned(), lock })
    }

    /// The same, if nobody has it.
    pub fn try_lock(&self, key: &str) -> Option<Locked<'_>> {
        let lock = Lock::take(&self.layout.lock(key), Duration::ZERO, &mut |_| ()).ok()?;
        Some(Locked { ground: self, key: key.to_owned(), lock })
    }
}

/// The lock of one volume, held until dropped. Its file goes with the last of the volume: there is one for each pod's volume, and pods
/// come and go.
#[derive(Debug)]
pub struct Locked<'a> {
    ground: &'a Ground,
    key: String,
    lock: Lock,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Ok(false) = self.ground.ledger.knows(&self.key) {
            self.lock.remove(&self.ground.layout.lock(&self.key));
        }
    }
}
