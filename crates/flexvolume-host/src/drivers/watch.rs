//! Discovery: the plugin directory watched, so that a driver that is put there, changed or taken away is known at once.
//!
//! One thread watches and decides (by `table`); each look at a driver, which may run its `init`, has a thread of its own, so that a
//! slow or hanging driver delays no other. The directory is made if it is missing, and made again if it is taken away.
//! Beside the events it is listed on a slow timer: a network file system tells nothing, and a mount over it neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use flexvolume_linux::{
    ErrorKind,
    watch::{Bell, Change, Event, WatchId, Watcher},
};
use flexvolume_protocol::DriverName;

use super::{
    driver::Driver,
    load::{Ask, Drivers, Look},
    table::{Changed, Outcome, Table},
};
use crate::{
    error::{Error, Kind, Result},
    note::Note,
};

/// What discovery tells.
#[derive(Debug)]
pub enum Seen {
    /// A driver can be used: a new one, or one that answered `init` anew.
    Ready(Arc<Driver>),
    /// A driver is there and cannot be used. It is tried again, more and more slowly, and at once when something in its
    /// directory changes; it is told again when the reason is another.
    Failed {
        /// Which.
        name: DriverName,
        /// Why.
        error: Error,
    },
    /// A driver that was told of is not there any more.
    Gone(DriverName),
    /// The plugin directory cannot be watched as it should; told once, and again when the reason is another.
    Trouble(Error),
    /// What a driver's `init` is worth telling of.
    Note(Note),
}

/// Who hears it: called from several threads.
type Tell = Arc<dyn Fn(Seen) + Send + Sync>;

/// Discovery at work; dropped, it ends.
#[derive(Debug)]
pub struct Watch {
    bell: Bell,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Between two listings when nothing is told.
const RESCAN: Duration = Duration::from_secs(30);
/// The same while the plugin directory is not there and cannot be made.
const RETRY: Duration = Duration::from_secs(2);

impl Watch {
    /// Begins to watch the plugin directory of `drivers`; every driver that is there already is told of as if it came now.
    /// With `only` given, no other drivers are looked at.
    ///
    /// # Errors
    /// The kernel gives no watch; nothing is begun.
    pub fn start(
        drivers: Arc<Drivers>,
        only: Option<BTreeSet<DriverName>>,
        tell: impl Fn(Seen) + Send + Sync + 'static,
    ) -> Result<Self> {
        let watcher = Watcher::new()?;
        let bell = watcher.bell();
        let stop = Arc::new(AtomicBool::new(false));
        let (send, looked) = mpsc::channel();
        let mut prober = Prober {
            drivers,
            only,
            watcher,
            root: None,
            table: Table::default(),
            known: BTreeMap::new(),
            trouble: String::new(),
            send,
            looked,
            tell: Arc::new(tell),
        };
        let over = stop.clone();
        let thread = thread::Builder::new()
            .name("discovery".into())
            .spawn(move || prober.run(&over))
            .map_err(|e| Error::new(Kind::System, "cannot start a thread to watch the plugin directory").because(e))?;
        Ok(Self { bell, stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What was last told of a driver.
enum Told {
    Ready(Arc<Driver>),
    Failed(String),
}

/// The plugin directory as it is watched: another one at the same path is another directory.
struct Root {
    watch: WatchId,
    identity: (u64, u64),
}

struct Prober {
    drivers: Arc<Drivers>,
    only: Option<BTreeSet<DriverName>>,
    watcher: Watcher,
    root: Option<Root>,
    table: Table,
    known: BTreeMap<DriverName, Told>,
    trouble: String,
    send: Sender<(DriverName, Look)>,
    looked: Receiver<(DriverName, Look)>,
    tell: Tell,
}

impl Prober {
    fn run(&mut self, over: &AtomicBool) {
        let mut listed = self.list();
        while !over.load(Ordering::Relaxed) {
            // Looks that have ended are taken first: what their `init` changed is then among the events read.
            let looks: Vec<_> = self.looked.try_iter().collect();
            let mut missed = false;
            match self.watcher.read() {
                Ok(events) => events.iter().for_each(|event| missed |= self.hear(event)),
                Err(error) => {
                    self.complain(error.into());
                    thread::sleep(RETRY);
                    missed = true;
                }
            }
            for (name, look) in looks {
                self.learn(&name, look);
            }
            let pause = if self.root.is_some() { RESCAN } else { RETRY };
            if missed || listed.elapsed() >= pause {
                listed = self.list();
            }
            let now = Instant::now();
            for (name, ask) in self.table.due(now) {
                self.look(name, ask);
            }
            let next = self.table.next().map_or(listed + pause, |next| next.min(listed + pause));
            if let Err(error) = self.watcher.wait(Some(next.saturating_duration_since(now))) {
                self.complain(error.into());
                thread::sleep(RETRY);
            }
        }
    }

    /// Takes one event in; true if only a listing can tell what happened.
    fn hear(&mut self, event: &Event) -> bool {
        let root = self.root.as_ref().map(|root| root.watch);
        let (dir, entry, change) = match event {
            Event::Missed => return true,
            Event::Gone(dir) if Some(*dir) == root => {
                self.root = None;
                return true;
            }
            // One that was moved within the plugin directory may have been watched anew, by the watch that has just ended.
            Event::Gone(_) => return true,
            Event::Entry { dir, name, change } => (*dir, name.to_str().unwrap_or_default(), *change),
        };
        if entry.is_empty() || entry.starts_with('.') {
            return false;
        }
        if Some(dir) == root {
            let Ok(name) = DriverName::from_dir(entry) else { return false };
            if !self.concerns(&name) {
                return false;
            }
            if change == Change::Appeared {
                self.watch(&name);
            }
            self.table.changed(&name, Changed::Program, Instant::now());
            return false;
        }
        let folder = self.watcher.path(dir).and_then(Path::file_name).and_then(|name| name.to_str());
        let Some(Ok(name)) = folder.map(DriverName::from_dir) else { return false };
        let what = match change {
            _ if entry == name.executable() => Changed::Program,
            Change::Appeared | Change::Vanished | Change::Attributes => Changed::Beside,
            Change::Written => Changed::Content,
        };
        self.table.changed(&name, what, Instant::now());
        false
    }

    /// Watches the plugin directory, then lists it: whatever comes later is told by events. Gives the time of the listing.
    fn list(&mut self) -> Instant {
        let now = Instant::now();
        match self.watch_root().and_then(|()| self.drivers.names()) {
            Ok(names) => {
                let names: Vec<_> = names.into_iter().filter(|name| self.concerns(name)).collect();
                names.iter().for_each(|name| self.watch(name));
                let all: BTreeSet<_> = names.into_iter().chain(self.table.names()).collect();
                all.iter().for_each(|name| self.table.changed(name, Changed::Program, now));
            }
            Err(error) => {
                self.unwatch_root();
                self.table.names().iter().for_each(|name| self.table.changed(name, Changed::Program, now));
                self.complain(error);
            }
        }
        now
    }

    fn concerns(&self, name: &DriverName) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(name))
    }

    fn watch_root(&mut self) -> Result<()> {
        let drivers = self.drivers.clone();
        let dir = drivers.dir();
        let fail = |what: &str, error| {
            Error::new(Kind::System, format!("cannot {what} the plugin directory {}", dir.display()))
                .because(error)
                .hint("if it lies on a read-only file system, choose another with --plugin-dir or FLEXVOL_PLUGIN_DIR")
        };
        DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(|e| fail("create", e))?;
        let meta = fs::metadata(dir).map_err(|e| fail("look at", e))?;
        let identity = (meta.dev(), meta.ino());
        if self.root.as_ref().is_some_and(|root| root.identity == identity) {
            return Ok(());
        }
        self.unwatch_root();
        let watch = self.watcher.add(dir, true)?;
        self.root = Some(Root { watch, identity });
        self.trouble.clear();
        Ok(())
    }

    fn unwatch_root(&mut self) {
        if let Some(old) = self.root.take() {
            self.watcher.remove(old.watch);
        }
    }

    /// Watches a driver's own directory. One that is no directory, or gone again, has nothing to tell.
    fn watch(&mut self, name: &DriverName) {
        match self.watcher.add(&self.drivers.dir().join(name.dir()), false) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {}
            Err(error) => self.complain(error.into()),
        }
    }

    fn look(&self, name: DriverName, ask: Ask) {
        let (drivers, send, tell, bell) =
            (self.drivers.clone(), self.send.clone(), self.tell.clone(), self.watcher.bell());
        let of = name.clone();
        let look = move || {
            let look = drivers.look(&of, ask, &|note| tell(Seen::Note(note)));
            // Nobody hears it any more where the watch is over.
            let _ = send.send((of, look));
            bell.ring();
        };
        if let Err(cause) = thread::Builder::new().name("driver".into()).spawn(look) {
            let what = format!("cannot start a thread to look at driver {name}");
            let error = Error::new(Kind::System, what).because(cause);
            let _ = self.send.send((name, Look::Failed { error, again: Instant::now() + RETRY, serving: None }));
            self.watcher.bell().ring();
        }
    }

    /// Takes in what a look came to, and tells it if it is news.
    fn learn(&mut self, name: &DriverName, look: Look) {
        let (outcome, news) = match look {
            Look::Ready(driver) => {
                let old = matches!(self.known.get(name), Some(Told::Ready(known)) if Arc::ptr_eq(known, &driver));
                self.known.insert(name.clone(), Told::Ready(driver.clone()));
                (Outcome::Ready, (!old).then_some(Seen::Ready(driver)))
            }
            Look::Failed { error, again, .. } => {
                let story = error.story();
                let old = matches!(self.known.get(name), Some(Told::Failed(known)) if *known == story);
                self.known.insert(name.clone(), Told::Failed(story));
                (Outcome::Failed(again), (!old).then(|| Seen::Failed { name: name.clone(), error }))
            }
            Look::Gone(_) => (Outcome::Gone, self.known.remove(name).map(|_| Seen::Gone(name.clone()))),
        };
        self.table.looked(name, outcome, Instant::now());
        if let Some(news) = news {
            (self.tell)(news);
        }
    }

    fn complain(&mut self, error: Error) {
        let story = error.story();
        if self.trouble != story {
            self.trouble = story;
            (self.tell)(Seen::Trouble(error));
        }
    }
}
