//! The maps of CSI and the options of the contract: a storage class's parameters, a volume's context, what was published, secrets.
//!
//! Two calls about one volume make the same options. So what Kubernetes tells of a pod is taken out and kept apart, and what its sidecars
//! write for themselves is dropped.

use std::collections::{BTreeMap, BTreeSet};

use flexvolume_protocol::{
    Created, Device, Id, Namespace, PodName, PodUid, Secret, Secrets, UserOptions, excerpt, keys,
};
use tonic::Status;

use super::limits;
use crate::status::{self, Rpc};

/// What Kubernetes itself writes into maps: of the pod, of the claim, for its sidecars.
const KUBERNETES: &str = "csi.storage.k8s.io/";
/// The type of the file system, as a storage class names it.
const FS_TYPE: &str = "fstype";
/// Which provisioner made a volume, as that one writes it into the context.
const PROVISIONER: &str = "storage.kubernetes.io/csiProvisionerIdentity";
/// The namespace of the host's own keys.
const OURS: &str = "flexvol/";
/// The one key of a publish context.
const DEVICE: &str = "device";

/// What a volume shall be made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// For the driver, as the storage class has them.
    pub(crate) options: UserOptions,
    /// The type of the file system, if the class names one; that of a capability goes before it.
    pub(crate) fs_type: Option<String>,
}

/// Reads the parameters of a storage class.
///
/// # Errors
/// `INVALID_ARGUMENT`: a key is the host's, or they are too large.
pub(crate) fn parameters(field: &str, given: &BTreeMap<String, String>) -> Result<Parameters, Status> {
    limits::map(field, given)?;
    Ok(Parameters { options: options(field, kept(given))?, fs_type: fs_type(given) })
}

/// Reads what a volume shall have that can be changed later. Each key is a name that a list of names can hold.
///
/// # Errors
/// `INVALID_ARGUMENT`: a key is the host's, or no name; it is the type of the file system; or they are too large.
pub(crate) fn mutable(given: &BTreeMap<String, String>) -> Result<UserOptions, Status> {
    const FIELD: &str = "mutable_parameters";
    limits::map(FIELD, given)?;
    if fs_type(given).is_some() {
        return Err(status::invalid(format!("{FIELD}: the type of a file system cannot be changed later")));
    }
    let kept = kept(given);
    if let Some(key) = kept.keys().find(|key| key.is_empty() || key.contains(',')) {
        let key = excerpt(key, 80);
        return Err(status::invalid(format!("{FIELD}: {key:?} is no name: it is empty, or has a comma")));
    }
    options(FIELD, kept)
}

/// A volume's context, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// For the driver: what it said when it made the volume, or what a person wrote of it; and its id.
    pub(crate) options: UserOptions,
    /// The type of its file system, if the storage class named one; that of a capability goes before it.
    pub(crate) fs_type: Option<String>,
    /// The pod it is for, if Kubernetes says.
    pub(crate) pod: Option<Pod>,
    /// It is written in the pod itself, and lives and dies with it.
    pub(crate) is_inline: bool,
}

/// The pod that a volume is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    /// Its name.
    pub(crate) name: PodName,
    /// Its namespace.
    pub(crate) namespace: Namespace,
    /// Its uid.
    pub(crate) uid: PodUid,
    /// Its service account; may be empty.
    pub(crate) service_account: String,
}

/// Whether pods may write down volumes themselves, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inline {
    /// They may not: whoever may make a pod could name any storage that the driver reaches.
    #[default]
    Off,
    /// They may, with options of these keys.
    Allowed(BTreeSet<String>),
}

/// Reads the context of a volume. The pod's tokens, which are secrets, go no further.
///
/// # Errors
/// `INVALID_ARGUMENT`: a key is the host's, the pod makes no sense, or it is too large.
pub(crate) fn of(id: &Id, given: &BTreeMap<String, String>) -> Result<Context, Status> {
    const FIELD: &str = "volume_context";
    let kept = kept(given);
    // What Kubernetes adds of its own does not count: tokens can be longer than all that a volume may say.
    limits::map(FIELD, &kept)?;
    let is_inline = told(given, "ephemeral") == "true";
    let mut options: BTreeMap<String, String> = options(FIELD, kept)?.into();
    if !is_inline {
        // The id that Kubernetes makes up for an inline volume is nothing that a driver could know.
        options.insert(keys::ID.to_owned(), id.to_string());
    }
    let options = UserOptions::parse(options).map_err(|reserved| status::invalid(reserved.to_string()))?;
    Ok(Context { options, fs_type: fs_type(given), pod: Pod::of(given)?, is_inline })
}

/// Whether a volume of these options is one that is written in a pod: only its driver could know an id of it, and does not.
pub(crate) fn is_inline(options: &UserOptions) -> bool {
    options.get(keys::ID).is_none()
}

/// The context that is handed back with the volume: what the driver said, for every later call, and the type of the file system that
/// the class named, which not every client remembers.
///
/// # Errors
/// The driver's fault: a key is the host's, or it says too much.
pub(crate) fn made(rpc: Rpc, created: &Created, fs_type: Option<&str>) -> Result<BTreeMap<String, String>, Status> {
    if let Some(key) = created.options.keys().find(|key| is_the_hosts(key)) {
        let key = excerpt(key, 80);
        return Err(status::bad_answer(
            rpc,
            format!("the driver answers the option {key:?}, which is the host's to write"),
        ));
    }
    let mut options = created.options.clone();
    options.extend(fs_type.map(|fs_type| (format!("{KUBERNETES}{FS_TYPE}"), fs_type.to_owned())));
    limits::answers(rpc, "options", options)
}

/// What the controller hands to the node when it has attached.
pub(crate) fn attached(device: &Device) -> BTreeMap<String, String> {
    BTreeMap::from([(DEVICE.to_owned(), device.0.clone())])
}

/// The device that the controller handed over; `None` if no controller attached.
///
/// # Errors
/// `INVALID_ARGUMENT`: it is too long.
pub(crate) fn device(published: &BTreeMap<String, String>) -> Result<Option<Device>, Status> {
    limits::map("publish_context", published)?;
    Ok(published.get(DEVICE).map(|device| Device(device.clone())))
}

/// The secrets of a call, taken over without a copy. Tokens of the pod, which Kubernetes can put among them, go no further.
///
/// # Errors
/// `INVALID_ARGUMENT`: a key has other characters than letters, digits, `-`, `_` and `.`, or they are too large.
pub(crate) fn secrets(given: BTreeMap<String, String>) -> Result<Secrets, Status> {
    limits::secrets(&given)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let pass = |(key, value): (String, String)| {
        let secret = Secret::new(value.into_bytes());
        match key {
            key if is_dropped(&key) => None,
            key if key.is_empty() || !key.chars().all(plain) => Some(Err(status::invalid(format!(
                "the key {:?} among the secrets may hold letters, digits, `-`, `_` and `.` only",
                excerpt(&key, 80)
            )))),
            key => Some(Ok((key, secret))),
        }
    };
    given.into_iter().filter_map(pass).collect()
}

impl Inline {
    /// Whether a volume with that context may be published.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: it is written in a pod, and such volumes or one of its options are not allowed.
    pub(crate) fn admit(&self, context: &Context) -> Result<(), Status> {
        if !context.is_inline {
            return Ok(());
        }
        match self {
            Self::Off => Err(status::invalid(
                "volumes written in a pod are not allowed for this driver; --allow-inline OPTION,... allows them, with these options",
            )),
            Self::Allowed(allowed) => match context.options.iter().find(|(key, _)| !allowed.contains(*key)) {
                Some((key, _)) => {
                    let key = excerpt(key, 80);
                    Err(status::invalid(format!(
                        "a volume written in a pod may not have the option {key:?}; name it with --allow-inline, or leave it away"
                    )))
                }
                None => Ok(()),
            },
        }
    }
}

impl Pod {
    fn of(given: &BTreeMap<String, String>) -> Result<Option<Self>, Status> {
        let (name, namespace, uid) = (told(given, "pod.name"), told(given, "pod.namespace"), told(given, "pod.uid"));
        if [name, namespace, uid].iter().all(|text| text.is_empty()) {
            return Ok(None);
        }
        let bad = |error: flexvolume_protocol::NameError| status::invalid(error.to_string());
        let service_account = limits::string("the service account", told(given, "serviceAccount.name"))?.to_owned();
        Ok(Some(Self {
            name: PodName::parse(name).map_err(bad)?,
            namespace: Namespace::parse(namespace).map_err(bad)?,
            uid: PodUid::parse(uid).map_err(bad)?,
            service_account,
        }))
    }
}

/// What Kubernetes says under that key; empty if nothing.
fn told<'a>(given: &'a BTreeMap<String, String>, key: &str) -> &'a str {
    given.get(&format!("{KUBERNETES}{key}")).map_or("", String::as_str)
}

fn fs_type(given: &BTreeMap<String, String>) -> Option<String> {
    Some(told(given, FS_TYPE)).filter(|fs_type| !fs_type.is_empty()).map(str::to_owned)
}

/// What a person or a driver wrote, without what Kubernetes added.
fn kept(given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    given.iter().filter(|(key, _)| !is_dropped(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn options(field: &str, kept: BTreeMap<String, String>) -> Result<UserOptions, Status> {
    if let Some(key) = kept.keys().find(|key| is_ours(key)) {
        let key = excerpt(key, 80);
        return Err(status::invalid(format!(
            "{field}: keys below {OURS} are written by the host alone; rename {key:?}"
        )));
    }
    UserOptions::parse(kept).map_err(|reserved| status::invalid(format!("{field}: {reserved}")))
}

fn is_dropped(key: &str) -> bool {
    key.starts_with(KUBERNETES) || key == PROVISIONER
}

/// Whether no person writes it: the host does, or Kubernetes for itself.
pub fn is_the_hosts(key: &str) -> bool {
    is_ours(key) || is_dropped(key) || UserOptions::is_reserved(key)
}

fn is_ours(key: &str) -> bool {
    key.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
