//! For tests: a client of a socket, and the bridge over a sandbox.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use flexvolume_host::{
    Host, Note, Settings,
    ledger::Durability,
    settings::Config,
    volume::record::{Kind, Record, Spec},
};
use flexvolume_protocol::{DriverName, VolumeName};
use flexvolume_testkit::{
    Sandbox,
    scripted::{Answer, Script},
};
use prost::Message;
use tonic::{Request, Status, transport::Endpoint};

use crate::{
    plugin::{Rules, Teller},
    request::{capability::AttachBy, context::Inline},
    wire::csi::{GetPluginInfoRequest, GetPluginInfoResponse},
};

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(30);

/// Calls a method at a socket.
pub(crate) async fn call<Q, A>(socket: &Path, method: &str, request: Q) -> Result<A, Status>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let lost = |error: tonic::transport::Error| Status::unavailable(error.to_string());
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).map_err(lost)?;
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.map_err(lost)?);
    client.ready().await.map_err(lost)?;
    let path = method.parse().unwrap();
    let codec = tonic_prost::ProstCodec::default();
    Ok(client.unary(Request::new(request), path, codec).await?.into_inner())
}

/// The driver that answers at a socket.
pub(crate) async fn who(socket: &Path) -> Result<String, Status> {
    let info: GetPluginInfoResponse = call(socket, "/csi.v1.Identity/GetPluginInfo", GetPluginInfoRequest {}).await?;
    Ok(info.manifest.get("flexvolume.driver").cloned().unwrap_or_default())
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < LONG, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A host over a sandbox.
pub(crate) fn host(sandbox: &Sandbox) -> Host {
    let settings = Settings {
        root: sandbox.root(),
        plugin_dir: sandbox.plugins(),
        run: sandbox.path().join("run"),
        worker: PathBuf::from("/proc/self/exe"),
        patience: LONG,
        config: Config::default(),
    };
    Host::open(settings, &|_| ()).unwrap()
}

/// Puts a driver there that can do nothing but answer.
pub(crate) fn install(sandbox: &Sandbox, name: &str) {
    let init = Answer::text(r#"{"status":"Success","capabilities":{"attach":false}}"#);
    Script::sh().on("init", init).install(&sandbox.plugins(), name).unwrap();
}

/// Names and attaches as usual.
pub(crate) fn rules() -> Rules {
    Rules { names: [].into(), attach_by: AttachBy::Node, inline: Inline::Off }
}

/// What was warned of.
pub(crate) fn warnings() -> (Teller, Arc<Mutex<Vec<String>>>) {
    let told = Arc::<Mutex<Vec<String>>>::default();
    let into = Arc::clone(&told);
    let teller = move |note| {
        if let Note::Warning { text, .. } = note {
            into.lock().unwrap().push(text);
        }
    };
    (Arc::new(teller), told)
}

/// As if a volume of the driver were here.
pub(crate) fn hold(host: &Host, driver: &str) -> String {
    let spec = Spec {
        fs_type: String::new(),
        options: Default::default(),
        secret: None,
        block: false,
        mount_options: Vec::new(),
    };
    let (driver, name) = (DriverName::parse(driver).unwrap(), VolumeName::parse("v").unwrap());
    let mut record = Record::new(driver, name, Kind::Direct, "uid", spec, &host.ground().ident);
    host.ground().ledger.put(&mut record, Durability::Process, false).unwrap();
    record.key
}
