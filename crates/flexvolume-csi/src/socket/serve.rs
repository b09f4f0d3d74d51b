//! A driver served at a socket, until it is told to stop.

use std::{sync::Arc, time::Duration};

use tokio::{net::UnixListener, sync::watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{service::Routes, transport::Server};

use super::{authority::Client, listen, meter::Meter};
use crate::{
    controller::Controller,
    identity::Identity,
    node::Node,
    plugin::Plugin,
    wire::csi::{controller_server::ControllerServer, identity_server::IdentityServer, node_server::NodeServer},
};

/// Which services are served beside Identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The controller's.
    pub controller: bool,
    /// The node's.
    pub node: bool,
}

/// Requests are small; a larger one is somebody's mistake.
const LARGEST: usize = 4 << 20;
/// After a client could not be let in.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves the driver until `stop` says true; calls that are under way then are ended first.
///
/// # Errors
/// The socket is lost.
pub(crate) async fn serve(
    plugin: Arc<Plugin>,
    parts: Parts,
    meter: Meter,
    listener: UnixListener,
    stop: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let driver = plugin.serving.driver.clone();
    let mut routes = Routes::builder();
    routes.add_service(IdentityServer::new(Identity(Arc::clone(&plugin))).max_decoding_message_size(LARGEST));
    if parts.controller {
        routes.add_service(ControllerServer::new(Controller(Arc::clone(&plugin))).max_decoding_message_size(LARGEST));
    }
    if parts.node {
        routes.add_service(NodeServer::new(Node(plugin)).max_decoding_message_size(LARGEST));
    }
    let counted = meter.counting(routes.routes().into_axum_router(), &driver);
    answer(counted.into(), listener, stop).await
}

/// Answers clients at a socket until `stop` says true, or nobody is left to say it; what is under way then is ended first.
///
/// # Errors
/// The socket is lost.
pub(crate) async fn answer(
    routes: Routes,
    listener: UnixListener,
    mut stop: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let (sender, clients) = tokio::sync::mpsc::channel(16);
    let accepting = tokio::spawn(async move {
        loop {
            match listen::accept(&listener).await {
                Ok(client) => {
                    if sender.send(Ok::<_, std::io::Error>(Client::new(client))).await.is_err() {
                        return;
                    }
                }
                // Too many files are open, or the like: it passes.
                Err(error) => {
                    tracing::error!(target: "flexvol::csi", %error, "no client can be let in");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    });
    let told = async move {
        let _ = stop.wait_for(|stop| *stop).await;
        // From here on a client is refused, and does not wait for somebody who never comes.
        accepting.abort();
    };
    Server::builder().serve_with_incoming_shutdown(routes.prepare(), ReceiverStream::new(clients), told).await
}
