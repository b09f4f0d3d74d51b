//! The drivers that are served now, each at a socket of its own: begun, ended, and kept as the plugin directory has them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use flexvolume_host::{Host, Note, drivers::watch::Seen, target::Targets};
use flexvolume_protocol::DriverName;
use tokio::{sync::watch, task::JoinSet};

use super::{
    board::Board,
    register::{self, Announced, Folder},
    roll::Known,
};
use crate::{
    plugin::{Plugin, Rules, Serving, Teller},
    request::name::CsiName,
    socket::{
        listen::{Named, SocketTrouble, listen},
        meter::Meter,
        serve::{Parts, serve},
    },
};

/// One driver, where it is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// The driver, and how.
    pub serving: Serving,
    /// The path of its socket.
    pub endpoint: PathBuf,
    /// The same path as the kubelet sees it, if that is another one.
    pub registered_endpoint: Option<PathBuf>,
}

impl Served {
    /// At the socket where the kubelet's users look for it.
    pub fn usual(serving: Serving, kubelet_dir: &Path) -> Self {
        let endpoint = kubelet_dir.join("plugins").join(serving.name.as_str()).join("csi.sock");
        Self { serving, endpoint, registered_endpoint: None }
    }
}

/// What all of them share.
pub(crate) struct Common {
    pub(crate) host: Arc<Host>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) teller: Teller,
    pub(crate) meter: Meter,
    pub(crate) board: Board,
    pub(crate) parts: Parts,
    pub(crate) kubelet_dir: PathBuf,
    /// Where the kubelet looks for new drivers, if it is to find them.
    pub(crate) registry: Option<Folder>,
}

/// Those that are served.
pub(crate) struct Fleet {
    common: Common,
    served: BTreeMap<DriverName, Running>,
    /// Their servers, and those that are ending.
    servers: JoinSet<Result<(), tonic::transport::Error>>,
    known: Known,
    /// What was last warned of, so that it is not said twice.
    warned: BTreeMap<DriverName, String>,
}

/// Dropped, it ends: what is under way is ended first, and nobody new is let in.
struct Running {
    name: CsiName,
    _stop: watch::Sender<bool>,
    _socket: Named,
}

impl Fleet {
    pub(crate) fn new(common: Common) -> Self {
        let (served, servers) = (BTreeMap::new(), JoinSet::new());
        Self { common, served, servers, known: Known::default(), warned: BTreeMap::new() }
    }

    /// Serves a driver from now on.
    pub(crate) fn begin(&mut self, wanted: Served) -> Result<(), SocketTrouble> {
        let Served { serving, endpoint, registered_endpoint } = wanted;
        let (listener, socket) = listen(&endpoint)?;
        let common = &self.common;
        (common.teller)(serves(&serving, &endpoint, common.registry.as_ref()));
        let (driver, name) = (serving.driver.clone(), serving.name.clone());
        let teller = Arc::clone(&common.teller);
        let plugin = Plugin::new(serving, Arc::clone(&common.host), Arc::clone(&common.targets), Arc::clone(&teller));
        common.board.put(driver.clone(), Arc::clone(&plugin));
        let (stop, told) = watch::channel(false);
        self.servers.spawn(serve(plugin, common.parts, common.meter.clone(), listener, told.clone()));
        if let Some(folder) = common.registry.clone() {
            let endpoint = registered_endpoint.unwrap_or(endpoint);
            let announced = Announced { name: name.clone(), endpoint, folder };
            self.servers.spawn(async move {
                register::keep(announced, teller, told).await;
                Ok(())
            });
        }
        self.served.insert(driver, Running { name, _stop: stop, _socket: socket });
        Ok(())
    }

    /// Serves a driver no more; calls under way go on.
    fn retire(&mut self, driver: &DriverName) {
        self.common.board.take(driver);
        if self.served.remove(driver).is_some() {
            let text = format!("driver {driver} is not served any more");
            (self.common.teller)(Note::News { text, fields: vec![("driver", driver.to_string())] });
        }
    }

    /// Why a server has ended that nobody ended.
    pub(crate) async fn lost(&mut self) -> String {
        loop {
            match self.servers.join_next().await {
                Some(Ok(Err(error))) => return error.to_string(),
                Some(Err(error)) => return error.to_string(),
                // It was told to.
                Some(Ok(Ok(()))) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Ends all of them, and comes back when the last call has ended.
    pub(crate) async fn end(mut self) {
        self.served.clear();
        while self.servers.join_next().await.is_some() {}
    }

    /// Takes in what discovery tells.
    pub(crate) fn hear(&mut self, seen: Seen) {
        match seen {
            Seen::Ready(driver) => {
                self.warned.remove(&driver.name);
                self.known.answered(driver.name.clone());
            }
            Seen::Failed { name, error } => {
                self.warn(&name, format!("driver {name} cannot be used: {}", error.story()));
                self.known.failed(name);
            }
            Seen::Gone(name) => {
                self.known.gone(&name);
                self.warned.remove(&name);
            }
            Seen::Trouble(error) => {
                (self.common.teller)(Note::Warning { volume: String::new(), text: error.story() });
            }
            Seen::Note(note) => (self.common.teller)(note),
        }
    }

    /// Brings about what discovery and the ledger say. True if time may change it, so that it is to be looked at again.
    pub(crate) async fn settle(&mut self, rules: &Rules) -> bool {
        self.look().await;
        let names = self.served.iter().map(|(driver, running)| (driver.clone(), running.name.clone())).collect();
        let orders = self.known.orders(&names, |driver| rules.name(driver));
        orders.retire.iter().for_each(|driver| self.retire(driver));
        let mut again = !orders.refuse.is_empty();
        for (driver, name) in orders.serve {
            let served = Served::usual(rules.serving(driver.clone(), name), &self.common.kubelet_dir);
            match self.begin(served) {
                Ok(()) => drop(self.warned.remove(&driver)),
                Err(trouble) => {
                    again = true;
                    self.warn(&driver, format!("driver {driver} is not served: {trouble}"));
                }
            }
        }
        for (driver, trouble) in orders.refuse {
            self.warn(&driver, format!("driver {driver} is not served: {trouble} (--name DRIVER=NAME)"));
        }
        let absent: Vec<_> = self.served.keys().filter(|driver| !self.known.is_there(driver)).cloned().collect();
        // Those that are listed are there, and will be heard of.
        for driver in &absent {
            if self.known.listed.contains(driver) {
                continue;
            }
            let text = format!("driver {driver} is gone; it is served until its last volume on this node is gone, too");
            self.warn(driver, text);
        }
        again || !absent.is_empty()
    }

    /// Who has a program, and who has volumes.
    async fn look(&mut self) {
        let host = Arc::clone(&self.common.host);
        let looked = tokio::task::spawn_blocking(move || {
            let drivers = &host.ground().drivers;
            let program = |name: &DriverName| drivers.dir().join(name.dir()).join(name.executable());
            let is_there = |name: &DriverName| program(name).try_exists().unwrap_or(true);
            let listed = drivers.names().unwrap_or_default().into_iter().filter(is_there).collect();
            (listed, host.holders().ok())
        });
        if let Ok((listed, holders)) = looked.await {
            (self.known.listed, self.known.holders) = (listed, holders);
        }
    }

    fn warn(&mut self, driver: &DriverName, text: String) {
        if self.warned.get(driver) != Some(&text) {
            (self.common.teller)(Note::Warning { volume: String::new(), text: text.clone() });
            self.warned.insert(driver.clone(), text);
        }
    }
}

/// Who is served where, and whether the kubelet is to know of it.
fn serves(serving: &Serving, endpoint: &Path, registry: Option<&Folder>) -> Note {
    let Serving { driver, name, .. } = serving;
    let known = match registry {
        Some(folder) if folder.is_missing() => {
            format!("to be registered with the kubelet when there is one ({})", folder.path().display())
        }
        Some(folder) => format!("to be registered with the kubelet, in {}", folder.path().display()),
        None => "not registered with a kubelet".to_owned(),
    };
    let endpoint = format!("unix://{}", endpoint.display());
    let text = format!("driver {driver} is served as {name} at {endpoint}; {known}");
    let mut fields = vec![("driver", driver.to_string()), ("name", name.to_string()), ("endpoint", endpoint)];
    fields.extend(registry.map(|folder| ("registry", folder.path().display().to_string())));
    Note::News { text, fields }
}
