//! `/metrics` and `/healthz` over HTTP, for Prometheus and for whoever restarts what does not answer.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use flexvolume_host::{
    Host,
    ledger::{Tally, Teller},
};
use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
};

use super::board::Board;
use crate::socket::meter::Meter;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is told there.
#[derive(Clone)]
pub(crate) struct Told {
    counted: Arc<Registry>,
    ledger: Arc<Teller>,
    /// Lines that standard error had no room for.
    lost: Arc<AtomicU64>,
    board: Board,
    /// Whoever asks waits for who asked before: a driver that hangs holds one thread of ours, however often we are asked.
    turn: Arc<Mutex<()>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Volumes {
    driver: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Driver {
    driver: String,
}

impl Told {
    pub(crate) fn new(meter: &Meter, host: &Host, board: Board, lost: Arc<AtomicU64>) -> Self {
        let mut registry = Registry::default();
        meter.register(&mut registry);
        let ledger = Arc::new(Teller::of(host.ground().ledger.path()));
        Self { counted: Arc::new(registry), ledger, lost, board, turn: Arc::default() }
    }

    /// What `question` gives, asked on a thread of its own. `None` if it broke.
    async fn ask<T: Send + 'static>(self, question: impl FnOnce(&Self) -> T + Send + 'static) -> Option<T> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            question(&self)
        });
        asked.await.ok()
    }

    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.counted)?;
        let mut registry = Registry::default();
        let ready: Family<Driver, Gauge> = Family::default();
        for (driver, is_ready) in self.board.ready() {
            ready.get_or_create(&Driver { driver: driver.to_string() }).set(i64::from(is_ready));
        }
        registry.register(
            "flexvolume_driver_ready",
            "Whether a driver that is served is there and has answered init",
            ready,
        );
        let lost = Counter::<u64>::default();
        lost.inc_by(self.lost.load(Ordering::Relaxed));
        registry.register("flexvolume_log_lines_lost", "Lines that nobody took from standard error in time", lost);
        encode_registry(&mut text, &registry)?;
        // Where the ledger cannot be read there are no figures: that is not nothing.
        if let Ok(tallies) = self.ledger.tell() {
            let mut registry = Registry::default();
            let volumes: Family<Volumes, Gauge> = Family::default();
            for (driver, Tally { known, held, published, failing }) in tallies {
                for (state, count) in [("known", known), ("held", held), ("published", published), ("failing", failing)]
                {
                    volumes.get_or_create(&Volumes { driver: driver.clone(), state }).set(count);
                }
            }
            registry.register(
                "flexvolume_volumes",
                "Volumes on this node by the ledger, of a driver: known (all), held (staged for whoever uses them), published (places beneath the root that are ready, so none where a client has what is held), failing (at the last try)",
                volumes,
            );
            encode_registry(&mut text, &registry)?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }
}

/// Answers at the address until `stop` says true.
pub(crate) async fn serve(listener: TcpListener, told: Told, mut stop: watch::Receiver<bool>) {
    let routes = Router::new().route("/metrics", get(metrics)).route("/healthz", get(healthz)).with_state(told);
    let until = async move { drop(stop.wait_for(|stop| *stop).await) };
    let served = axum::serve(listener, routes);
    // A client that keeps its connection open does not keep us.
    tokio::select! {
        _ = served => {}
        () = until => {}
    }
}

/// Listens there.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

async fn metrics(State(told): State<Told>) -> Response {
    match told.ask(Told::text).await {
        Some(Ok(text)) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Some(Err(_)) | None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Who restarts what does not answer asks here. That a driver is broken or gone no restart mends: its volumes would only be left alone
/// meanwhile. Probe and the metrics tell of that.
async fn healthz() -> &'static str {
    "ok\n"
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use flexvolume_protocol::DriverName;
    use flexvolume_testkit::Sandbox;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::timeout,
    };

    use super::*;
    use crate::run::client;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(30), client.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn what_is_counted_is_told_and_so_is_what_is_wrong() {
        let sandbox = Sandbox::new().unwrap();
        client::install(&sandbox, "a/one");
        let (meter, board, host) = (Meter::default(), Board::default(), Arc::new(client::host(&sandbox)));
        client::hold(&host, "a/two");
        let driver = DriverName::parse("a/one").unwrap();
        let rules = client::rules();
        let serving = rules.serving(driver.clone(), rules.name(&driver).unwrap());
        let settings = &host.ground().settings;
        let targets = flexvolume_host::target::Targets::beneath(
            sandbox.path(),
            &settings.config.trust(),
            settings.worker.clone(),
        );
        let plugin =
            crate::plugin::Plugin::new(serving, Arc::clone(&host), Arc::new(targets.unwrap()), Arc::new(|_| ()));
        board.put(driver.clone(), Arc::clone(&plugin));
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let told = Told::new(&meter, &host, board.clone(), Arc::new(AtomicU64::new(7)));
        let telling = tokio::spawn(serve(listener, told, stopped.clone()));

        let socket = sandbox.path().join("csi.sock");
        let (unix, _named) = crate::socket::listen::listen(&socket).unwrap();
        let parts = crate::socket::serve::Parts { controller: false, node: false };
        tokio::spawn(crate::socket::serve::serve(plugin, parts, meter, unix, stopped));
        assert_eq!(client::who(&socket).await.unwrap(), "a/one");
        assert!(get(address, "/healthz").await.ends_with("\r\n\r\nok\n"));
        fs::remove_dir_all(sandbox.plugins().join("a~one")).unwrap();
        let probe = client::call::<_, crate::wire::csi::ProbeResponse>(
            &socket,
            "/csi.v1.Identity/Probe",
            crate::wire::csi::ProbeRequest {},
        );
        assert!(probe.await.is_err());
        assert!(get(address, "/healthz").await.ends_with("\r\n\r\nok\n"), "no restart brings it back");

        let text = get(address, "/metrics").await;
        for line in [
            r#"flexvolume_csi_calls_total{driver="a/one",method="GetPluginInfo",code="OK"} 1"#,
            r#"flexvolume_csi_call_seconds_count{driver="a/one",method="GetPluginInfo"} 1"#,
            r#"flexvolume_csi_calls_under_way{driver="a/one"} 0"#,
            r#"flexvolume_driver_ready{driver="a/one"} 0"#,
            "flexvolume_log_lines_lost_total 7",
            r#"flexvolume_volumes{driver="a/two",state="known"} 1"#,
            r#"flexvolume_volumes{driver="a/two",state="published"} 0"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|have| have == line), "no {line} in:\n{text}");
        }
        assert!(text.contains(r#"method="Probe",code=""#) && !text.contains(r#"method="Probe",code="OK""#), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1, "{text}");
        stop.send_replace(true);
        telling.await.unwrap();
    }
}
