//! A driver made known to the kubelet, which looks into a folder for sockets and asks whoever answers there who it is.
//!
//! The kubelet takes a driver off when its socket goes, and looks at a socket anew when it appears: so one that it refused is taken
//! away and put there again after a while.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume_host::Note;
use tokio::sync::watch;
use tonic::{Request, Response, Status, service::Routes};

use crate::{
    plugin::Teller,
    request::name::CsiName,
    socket::{
        listen::{SocketTrouble, listen},
        serve,
    },
    wire::registration::{
        InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
        registration_server::{Registration, RegistrationServer},
    },
};

/// The kubelet's folder, beneath its own.
const FOLDER: &str = "plugins_registry";

/// So often it is looked for while there is no kubelet.
const LOOK: Duration = Duration::from_secs(2);

/// The versions of CSI, as the kubelet wants them written: it looks at the first number only.
const VERSIONS: &str = "1.0.0";

/// Whether drivers are made known to the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registering {
    /// They are not.
    Never,
    /// They are as soon as there is a kubelet: its folder for that is there.
    WithAKubelet,
    /// They are, and the folder is made if it is missing.
    Always,
}

impl Registering {
    /// The folder to register in, if that is to be done.
    pub(crate) fn folder(self, kubelet_dir: &Path) -> Option<Folder> {
        let path = kubelet_dir.join(FOLDER);
        match self {
            Self::Never => None,
            Self::WithAKubelet => Some(Folder { path, is_waited_for: true }),
            Self::Always => Some(Folder { path, is_waited_for: false }),
        }
    }
}

/// The folder for registrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder {
    path: PathBuf,
    /// It is the kubelet that makes it, perhaps later than we begin.
    is_waited_for: bool,
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nobody has made it yet who will.
    pub(crate) fn is_missing(&self) -> bool {
        self.is_waited_for && !self.path.is_dir()
    }
}

/// What the kubelet is told of one driver.
#[derive(Clone, Debug)]
pub(crate) struct Announced {
    /// Its name.
    pub(crate) name: CsiName,
    /// Its socket, where the kubelet sees it.
    pub(crate) endpoint: PathBuf,
    /// Where it is announced.
    pub(crate) folder: Folder,
}

/// What came of it, as far as the kubelet has said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Registered,
    Refused(String),
}

struct Desk {
    announced: Announced,
    heard: watch::Sender<Heard>,
}

#[tonic::async_trait]
impl Registration for Desk {
    async fn get_info(&self, _request: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: self.announced.name.to_string(),
            endpoint: self.announced.endpoint.display().to_string(),
            supported_versions: vec![VERSIONS.to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus { plugin_registered, error } = request.into_inner();
        self.heard.send_replace(if plugin_registered { Heard::Registered } else { Heard::Refused(error) });
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

/// Keeps the driver known to the kubelet until `stop` says true.
pub(crate) async fn keep(announced: Announced, teller: Teller, mut stop: watch::Receiver<bool>) {
    let (mut failures, mut told) = (0, String::new());
    while announced.folder.is_missing() {
        if tokio::time::timeout(LOOK, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
    loop {
        let (why, was_registered) = once(&announced, &teller, stop.clone()).await;
        if *stop.borrow() || stop.has_changed().is_err() {
            return;
        }
        failures = if was_registered { 1 } else { failures + 1 };
        let text = format!("{} is not registered with the kubelet, which is tried again: {why}", announced.name);
        if told != text {
            teller(Note::Warning { volume: String::new(), text: text.clone() });
            told = text;
        }
        let over = tokio::time::timeout(pause(failures), stop.wait_for(|stop| *stop)).await;
        if over.is_ok() {
            return;
        }
    }
}

/// Puts the socket there and keeps it, until the kubelet does not want it or nobody else does. Tells why it ended, and whether it was
/// wanted first.
async fn once(announced: &Announced, teller: &Teller, mut stop: watch::Receiver<bool>) -> (String, bool) {
    let path = announced.folder.path.join(format!("{}-reg.sock", announced.name));
    let (listener, name) = match listen(&path) {
        Ok(listening) => listening,
        Err(trouble) => return (unlistened(&trouble), false),
    };
    let (heard, mut hears) = watch::channel(Heard::Nothing);
    let desk = Desk { announced: announced.clone(), heard };
    let (close, closed) = watch::channel(false);
    let served = serve::answer(Routes::new(RegistrationServer::new(desk)), listener, closed);
    let mut was_registered = false;
    let until = async {
        let why = loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break String::new(),
                changed = hears.changed() => match (changed, &*hears.borrow_and_update()) {
                    (Ok(()), Heard::Registered) => {
                        was_registered = true;
                        let text = format!("{} is registered with the kubelet", announced.name);
                        teller(Note::News { text, fields: vec![("name", announced.name.to_string())] });
                    }
                    (Ok(()), Heard::Refused(why)) => break why.clone(),
                    (Ok(()), Heard::Nothing) => {}
                    (Err(_), _) => break "its socket is lost".to_owned(),
                },
            }
        };
        drop(name);
        close.send_replace(true);
        why
    };
    let (served, why) = tokio::join!(served, until);
    (served.err().map_or(why, |error| error.to_string()), was_registered)
}

/// Why it cannot be announced; `--endpoint` is of another socket.
fn unlistened(trouble: &SocketTrouble) -> String {
    match trouble {
        SocketTrouble::Taken(path) => format!(
            "somebody else answers at {}; end that first, or give the driver another name (--name DRIVER=NAME), or leave it \
             unregistered (--no-register)",
            path.display()
        ),
        SocketTrouble::System { path, error } => {
            format!("cannot listen at {}: {error}; mend that, or leave it unregistered (--no-register)", path.display())
        }
        SocketTrouble::InTheWay(_) => trouble.to_string(),
    }
}

/// The wait after that many failures in a row.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(7))
}

#[cfg(test)]
#[path = "register_tests.rs"]
mod tests;
