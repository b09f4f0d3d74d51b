//! One driver as CSI clients see it: what its three services share.

mod ask;
mod gate;
mod health;

pub(crate) use ask::{about, of, with_secrets};
pub(crate) use health::{reason, told};

use std::{collections::BTreeMap, sync::Arc};

use flexvolume_host::{Error, Host, Kind, Note, drivers::driver::Driver, target::Targets, volume::record::SecretRef};
use flexvolume_protocol::{DriverName, Extension, Secrets};
use prost::Message;
use tonic::{Response, Status};

use crate::{
    request::{
        capability::{AttachBy, Offer},
        context::Inline,
        limits,
        name::{CsiName, NameTrouble},
    },
    status::{self, Rpc},
    wire::csi,
};
use gate::{Call, Gate};

/// Where notes of the host go.
pub type Teller = Arc<dyn Fn(Note) + Send + Sync>;

/// How one driver is served.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The driver.
    pub driver: DriverName,
    /// Its name in CSI.
    pub name: CsiName,
    /// Who attaches.
    pub attach_by: AttachBy,
    /// Which volumes a pod may write down itself.
    pub inline: Inline,
}

/// By which rules drivers are served, whichever they are.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The names that were given to some.
    pub names: BTreeMap<DriverName, String>,
    /// Who attaches.
    pub attach_by: AttachBy,
    /// Which volumes a pod may write down itself.
    pub inline: Inline,
}

impl Rules {
    /// The name that the driver has: the one it was given, or else the usual one.
    ///
    /// # Errors
    /// [`NameTrouble::Unfit`].
    pub fn name(&self, driver: &DriverName) -> Result<CsiName, NameTrouble> {
        match self.names.get(driver) {
            Some(name) => CsiName::given(driver, name),
            None => CsiName::usual(driver),
        }
    }

    /// The driver under that name.
    pub fn serving(&self, driver: DriverName, name: CsiName) -> Serving {
        Serving { driver, name, attach_by: self.attach_by, inline: self.inline.clone() }
    }
}

/// So many calls of one driver work at once.
const AT_ONCE: usize = 64;

/// One driver, served.
pub(crate) struct Plugin {
    /// How.
    pub(crate) serving: Serving,
    /// The engine.
    pub(crate) host: Arc<Host>,
    /// Where volumes are shown.
    pub(crate) targets: Arc<Targets>,
    gate: Gate,
    teller: Teller,
}

impl Plugin {
    /// A driver that is served on this host; targets are where `targets` are.
    pub(crate) fn new(serving: Serving, host: Arc<Host>, targets: Arc<Targets>, teller: Teller) -> Arc<Self> {
        Arc::new(Self { serving, host, targets, gate: Gate::new(AT_ONCE), teller })
    }

    /// Tells a note of the host.
    pub(crate) fn tell(&self, note: Note) {
        (self.teller)(note);
    }

    /// The driver as it is now, asked `init` if it is new.
    ///
    /// # Errors
    /// `UNAVAILABLE`: it is not there or does not answer. Volumes of it may be there all the same.
    pub(crate) fn driver(&self) -> Result<Arc<Driver>, Trouble> {
        let found = self.host.ground().drivers.get(&self.serving.driver, &|note| self.tell(note));
        found.map_err(|error| cannot_now(&error))
    }

    /// Why a volume is not ready for use, after `undo` has taken back what was begun: clients that are told for good that it failed do
    /// not ask for that.
    pub(crate) fn given_up(&self, error: Error, rpc: Rpc, undo: impl FnOnce(&Self) -> Result<(), Trouble>) -> Trouble {
        let status = status::of(&error, rpc);
        if !status::is_final(&status) {
            return status.into();
        }
        match undo(self) {
            Ok(()) => status.into(),
            Err(trouble) => {
                let left = trouble.status(rpc);
                status::unavailable(format!(
                    "{}; and what was begun is not undone yet: {}",
                    status.message(),
                    left.message()
                ))
                .into()
            }
        }
    }

    /// The driver, if it announces the extension that serves this call.
    ///
    /// # Errors
    /// `UNIMPLEMENTED`.
    pub(crate) fn able(&self, extension: Extension) -> Result<Arc<Driver>, Trouble> {
        let driver = self.driver()?;
        match driver.extensions.contains(&extension) {
            true => Ok(driver),
            false => Err(status::unimplemented(format!("driver {} does not announce {extension}", driver.name)).into()),
        }
    }

    /// Where its volumes can be reached, if not everywhere.
    pub(crate) fn accessible(&self, driver: &Driver, rpc: Rpc) -> Result<Option<csi::Topology>, Trouble> {
        if !driver.extensions.contains(&Extension::Local) {
            return Ok(None);
        }
        let node = &self.host.ground().ident.node;
        Ok(Some(limits::topology(&self.serving.name, node).map_err(|why| status::bad_answer(rpc, why))?))
    }

    /// What it offers now.
    pub(crate) fn offer(&self, driver: &Driver) -> Offer {
        Offer {
            capabilities: driver.capabilities,
            extensions: driver.extensions.clone(),
            attach_by: self.serving.attach_by,
        }
    }

    /// Has `work` done on a thread of its own, one at a time for `key`; the very same call is joined.
    pub(crate) async fn pass<R, T, W>(
        self: &Arc<Self>,
        key: &str,
        rpc: Rpc,
        request: R,
        work: W,
    ) -> Result<Response<T>, Status>
    where
        R: Message + 'static,
        T: Clone + Send + Sync + 'static,
        W: FnOnce(&Self, R) -> Result<T, Trouble> + Send + 'static,
    {
        let (call, work) = self.at_work(rpc, request, work);
        self.gate.pass(key, call, work).await.map(Response::new)
    }

    /// Has `work` that changes nothing done on a thread of its own, beside whatever else is done; the very same look is joined.
    pub(crate) async fn look<R, T, W>(self: &Arc<Self>, rpc: Rpc, request: R, work: W) -> Result<Response<T>, Status>
    where
        R: Message + 'static,
        T: Clone + Send + Sync + 'static,
        W: FnOnce(&Self, R) -> Result<T, Trouble> + Send + 'static,
    {
        let (call, work) = self.at_work(rpc, request, work);
        self.gate.look(call, work).await.map(Response::new)
    }

    /// The call and its work, as the gate takes them.
    fn at_work<R, T>(
        self: &Arc<Self>,
        rpc: Rpc,
        request: R,
        work: impl FnOnce(&Self, R) -> Result<T, Trouble> + Send + 'static,
    ) -> (Call, impl FnOnce() -> Result<T, Status> + Send + 'static)
    where
        R: Message + 'static,
        T: 'static,
    {
        let (plugin, call) = (Arc::clone(self), Call::of(rpc, &request));
        (call, move || work(&plugin, request).map_err(|trouble| trouble.status(rpc)))
    }
}

/// What calls of one volume take turns by. Volumes by their names, volumes by their ids and snapshots may be called alike.
pub(crate) fn by_id(id: &str) -> String {
    format!("volume {id}")
}

/// Why a call fails.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The host or the driver says so.
    Host(Error),
    /// The bridge itself does.
    Own(Status),
}

impl Trouble {
    fn status(self, rpc: Rpc) -> Status {
        match self {
            Self::Host(error) => status::of(&error, rpc),
            Self::Own(status) => status,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Self::Own(status)
    }
}

/// What is still there of a volume that was to be taken away. That its driver is gone does not make the volume unknown, for which some
/// clients would take it.
pub(crate) fn not_undone(error: Error) -> Trouble {
    match (error.kind(), error.code()) {
        (Kind::NotFound, None) => cannot_now(&error),
        (_, _) => error.into(),
    }
}

/// The driver is not to be had: that says nothing of the volume.
fn cannot_now(error: &Error) -> Trouble {
    status::unavailable(status::of(error, Rpc::About).message()).into()
}

/// The secrets of one call, for whoever asks in its name. A call that brings none for a volume of which others did cannot take them
/// out of what the driver says, which may know them from before.
pub(crate) fn keys(secrets: Secrets) -> impl Fn(&SecretRef) -> Result<Secrets, Error> + Sync {
    move |_| match secrets.is_empty() {
        true => Err(Error::new(Kind::NotFound, "this call brings no secrets")),
        false => Ok(secrets.clone()),
    }
}
