//! The kubelet, played: it asks, takes and refuses.

use super::*;
use crate::run::client::{call, until, warnings};

async fn info(socket: &Path) -> Option<PluginInfo> {
    call(socket, "/pluginregistration.Registration/GetInfo", InfoRequest {}).await.ok()
}

async fn notify(socket: &Path, plugin_registered: bool, error: &str) {
    let status = RegistrationStatus { plugin_registered, error: error.to_owned() };
    let method = "/pluginregistration.Registration/NotifyRegistrationStatus";
    call::<_, RegistrationStatusResponse>(socket, method, status).await.unwrap();
}

/// A driver that is told of in this folder.
fn announced(folder: &Path) -> Announced {
    Announced {
        name: CsiName::given(&flexvolume_protocol::DriverName::parse("a/one").unwrap(), "one.a").unwrap(),
        endpoint: "/plugins/one.a/csi.sock".into(),
        folder: Folder { path: folder.to_owned(), is_waited_for: false },
    }
}

#[tokio::test]
async fn one_that_is_refused_goes_and_comes_again() {
    let tmp = tempfile::tempdir().unwrap();
    let socket = tmp.path().join("one.a-reg.sock");
    // What a run that was killed has left.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let ((teller, told), (stop, stopped)) = (warnings(), watch::channel(false));
    let keeping = tokio::spawn(keep(announced(tmp.path()), teller, stopped));
    until("it answers", async || info(&socket).await.is_some()).await;
    assert_eq!(
        info(&socket).await.unwrap(),
        PluginInfo {
            r#type: "CSIPlugin".into(),
            name: "one.a".into(),
            endpoint: "/plugins/one.a/csi.sock".into(),
            supported_versions: vec!["1.0.0".into()],
        }
    );
    notify(&socket, true, "").await;
    assert!(socket.exists());
    notify(&socket, false, "it does not answer NodeGetInfo").await;
    until("it is taken away", async || !socket.exists()).await;
    until("it is put there again", async || info(&socket).await.is_some()).await;
    let told = told.lock().unwrap().clone();
    // A driver that another test starts may have held what was killed open for a moment, and that was told as well.
    let refused = told.iter().filter(|warning| warning.contains("one.a") && warning.contains("NodeGetInfo"));
    assert_eq!(refused.count(), 1, "{told:?}");
    drop(stop);
    keeping.await.unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn where_another_is_registered_it_says_what_helps() {
    let tmp = tempfile::tempdir().unwrap();
    let _other = std::os::unix::net::UnixListener::bind(tmp.path().join("one.a-reg.sock")).unwrap();
    let ((teller, told), (stop, stopped)) = (warnings(), watch::channel(false));
    let keeping = tokio::spawn(keep(announced(tmp.path()), teller, stopped));
    until("it is told of", async || !told.lock().unwrap().is_empty()).await;
    drop(stop);
    keeping.await.unwrap();
    let told = told.lock().unwrap().join("\n");
    assert!(["somebody else", "--name DRIVER=NAME", "--no-register"].iter().all(|word| told.contains(word)), "{told}");
    assert!(!told.contains("--endpoint"), "{told}");
}

#[test]
fn it_waits_longer_each_time_but_not_for_ever() {
    let seconds: Vec<_> = (1..=10).map(|failures| pause(failures).as_secs()).collect();
    assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 128, 128]);
    assert_eq!(pause(u32::MAX).as_secs(), 128);
}

#[tokio::test]
async fn a_kubelet_that_comes_later_is_waited_for() {
    let tmp = tempfile::tempdir().unwrap();
    let folders = [Registering::Never, Registering::WithAKubelet, Registering::Always];
    let [never, with, always] = folders.map(|registering| registering.folder(tmp.path()));
    assert_eq!((never, always.unwrap().is_waited_for), (None, false));
    let folder = with.unwrap();
    let path = folder.path.clone();
    let announced = Announced {
        name: CsiName::given(&flexvolume_protocol::DriverName::parse("a/one").unwrap(), "one.a").unwrap(),
        endpoint: "/plugins/one.a/csi.sock".into(),
        folder,
    };
    let ((teller, told), (stop, stopped)) = (warnings(), watch::channel(false));
    let keeping = tokio::spawn(keep(announced, teller, stopped));
    tokio::task::yield_now().await;
    assert!(!path.exists(), "where no kubelet is nothing is made");
    std::fs::create_dir(&path).unwrap();
    let socket = path.join("one.a-reg.sock");
    until("it answers", async || info(&socket).await.is_some()).await;
    assert_eq!(*told.lock().unwrap(), Vec::<String>::new());
    drop(stop);
    keeping.await.unwrap();
}
