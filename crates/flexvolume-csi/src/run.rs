//! The whole bridge in one process: drivers, each at a socket of its own, until a signal ends it.

use std::{path::PathBuf, sync::Arc};

use flexvolume_host::{Error, Host, target::Targets};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use crate::{
    plugin::{Plugin, Serving, Teller},
    serve::{Parts, serve},
    socket::{SocketTrouble, listen},
};

/// What is served, and where.
#[derive(Clone, Debug)]
pub struct Served {
    /// The driver, and how.
    pub serving: Serving,
    /// The path of its socket.
    pub endpoint: PathBuf,
}

/// What the bridge is told.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// The folder that target and staging paths are beneath.
    pub kubelet_dir: PathBuf,
    /// Which services each driver has.
    pub parts: Parts,
    /// The drivers.
    pub drivers: Vec<Served>,
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
    /// The system says no.
    #[error("the bridge cannot run: {0}")]
    System(#[from] std::io::Error),
    /// A server ended by itself.
    #[error("a server ended: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// So many calls work at once, of all drivers together; more wait.
const THREADS: usize = 512;

/// Serves until SIGTERM or SIGINT; calls under way then are ended first, and what is mounted stays.
///
/// # Errors
/// [`BridgeTrouble`].
pub fn run(host: Host, bridge: Bridge, teller: &Teller) -> Result<(), BridgeTrouble> {
    let settings = &host.ground().settings;
    let targets = Targets::beneath(&bridge.kubelet_dir, &settings.config.trust(), settings.worker.clone())?;
    let (host, targets) = (Arc::new(host), Arc::new(targets));
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(THREADS).build()?;
    runtime.block_on(async {
        let (tell_stop, stop) = watch::channel(false);
        let mut servers = JoinSet::new();
        for Served { serving, endpoint } in bridge.drivers {
            let listener = listen(&endpoint)?;
            tracing::info!(target: "flexvol::csi", driver = %serving.driver, name = %serving.name, endpoint = %endpoint.display(), "serving");
            let plugin = Plugin::new(serving, Arc::clone(&host), Arc::clone(&targets), Arc::clone(teller));
            servers.spawn(serve(plugin, bridge.parts, listener, stop.clone()));
        }
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            ended = servers.join_next() => {
                if let Some(Ok(Err(error))) = ended {
                    return Err(error.into());
                }
            }
        }
        tell_stop.send_replace(true);
        while servers.join_next().await.is_some() {}
        Ok(())
    })
}
