//! The whole bridge in one process: drivers, each at a socket of its own, until a signal ends it.

mod board;
#[cfg(test)]
mod client;
mod fleet;
mod metrics;
mod register;
mod roll;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use flexvolume_host::{
    Error, Host, Note,
    drivers::watch::{Seen, Watch},
    target::Targets,
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use self::{
    board::Board,
    fleet::{Common, Fleet},
    metrics::Told,
};
pub use crate::socket::listen::SocketTrouble;
use crate::{
    plugin::{Rules, Teller},
    socket::{meter::Meter, serve::Parts},
};
pub use fleet::Served;
pub use register::Registering;

/// Which drivers are served.
#[derive(Clone, Debug)]
pub enum Which {
    /// These, all the time.
    Named(Vec<Served>),
    /// Every one in the plugin directory, as they come and go.
    All(Rules),
}

/// What the bridge is told.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// The folder that target and staging paths are beneath.
    pub kubelet_dir: PathBuf,
    /// Which services each driver has.
    pub parts: Parts,
    /// The drivers.
    pub which: Which,
    /// Whether the kubelet is told of them.
    pub registering: Registering,
    /// Where metrics are told, if they are.
    pub metrics: Option<SocketAddr>,
    /// How many lines of the log were lost: whoever writes it counts.
    pub lost: Arc<AtomicU64>,
}

/// Why the bridge cannot begin, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum BridgeTrouble {
    /// The host says so.
    #[error(transparent)]
    Host(#[from] Error),
    /// A socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketTrouble),
    /// Nor the address for metrics.
    #[error("metrics cannot be told at {address}: {error}; give another address or port with --metrics")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The system says no.
    #[error("the bridge cannot run: {0}")]
    System(#[from] std::io::Error),
    /// A server ended by itself.
    #[error("a server ended: {0}")]
    Server(String),
}

/// So many calls work at once, of all drivers together; more wait. That is 32 drivers with 64 calls and as many looks each, should all of
/// them hang: a thread that is not needed is not there.
const THREADS: usize = 4096;
/// Between two looks whether the last volume of a driver that vanished is gone, or a socket can be had by now.
const AGAIN: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT; calls under way then are ended first, and what is mounted stays.
///
/// # Errors
/// [`BridgeTrouble`].
pub fn run(host: Host, bridge: Bridge, teller: &Teller) -> Result<(), BridgeTrouble> {
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(THREADS).build()?;
    runtime.block_on(async {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let told = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        until(host, bridge, teller, AGAIN, told).await
    })
}

/// Serves until `told` is done.
pub(crate) async fn until(
    host: Host,
    bridge: Bridge,
    teller: &Teller,
    again: Duration,
    told: impl Future<Output = ()>,
) -> Result<(), BridgeTrouble> {
    let settings = &host.ground().settings;
    let targets = Arc::new(Targets::beneath(&bridge.kubelet_dir, &settings.config.trust(), settings.worker.clone())?);
    let (host, meter, board) = (Arc::new(host), Meter::default(), Board::default());
    let teller: Teller = {
        let (meter, teller) = (meter.clone(), Arc::clone(teller));
        Arc::new(move |note: Note| {
            meter.note(&note);
            teller(note);
        })
    };
    let (_stop, stopped) = watch::channel(false);
    if let Some(address) = bridge.metrics {
        let told = Told::new(&meter, &host, board.clone(), Arc::clone(&bridge.lost));
        let lost = |error| BridgeTrouble::Metrics { address, error };
        let listener = metrics::listen(address).await.map_err(lost)?;
        // The port may be one that the system chose.
        let at = format!("http://{}/metrics", listener.local_addr().map_err(lost)?);
        let text = format!("metrics are told at {at}");
        teller(Note::News { text, fields: vec![("metrics", at)] });
        tokio::spawn(metrics::serve(listener, told, stopped));
    }
    let registry = bridge.parts.node.then(|| bridge.registering.folder(&bridge.kubelet_dir)).flatten();
    let mut fleet = Fleet::new(Common {
        host: Arc::clone(&host),
        targets,
        teller,
        meter,
        board,
        parts: bridge.parts,
        kubelet_dir: bridge.kubelet_dir,
        registry,
    });
    let ended = match bridge.which {
        Which::Named(drivers) => stand(&mut fleet, drivers, told).await,
        Which::All(rules) => follow(&mut fleet, &host, &rules, again, told).await,
    };
    fleet.end().await;
    ended
}

/// Serves these drivers.
async fn stand(fleet: &mut Fleet, drivers: Vec<Served>, told: impl Future<Output = ()>) -> Result<(), BridgeTrouble> {
    for served in drivers {
        fleet.begin(served)?;
    }
    tokio::select! {
        () = told => Ok(()),
        error = fleet.lost() => Err(BridgeTrouble::Server(error)),
    }
}

/// Serves what there is, as it comes and goes.
async fn follow(
    fleet: &mut Fleet,
    host: &Host,
    rules: &Rules,
    again: Duration,
    told: impl Future<Output = ()>,
) -> Result<(), BridgeTrouble> {
    let (send, mut seen) = mpsc::unbounded_channel::<Seen>();
    let watch = Watch::start(Arc::clone(&host.ground().drivers), None, move |seen| drop(send.send(seen)))?;
    let mut told = std::pin::pin!(told);
    // What has volumes here is served before anything is heard of it.
    let mut unsettled = fleet.settle(rules).await;
    let ended = loop {
        let later = Instant::now() + again;
        tokio::select! {
            () = &mut told => break Ok(()),
            error = fleet.lost() => break Err(BridgeTrouble::Server(error)),
            Some(seen) = seen.recv() => fleet.hear(seen),
            () = sleep_until(later), if unsettled => {}
        }
        // A burst is settled at once.
        while let Ok(seen) = seen.try_recv() {
            fleet.hear(seen);
        }
        unsettled = fleet.settle(rules).await;
    };
    // It waits for the thread that watches.
    let _ = tokio::task::spawn_blocking(move || drop(watch)).await;
    ended
}

#[cfg(test)]
mod tests;
