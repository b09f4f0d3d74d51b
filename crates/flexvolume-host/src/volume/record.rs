//! The ledger's row for one volume: the machine's state, and what is needed to act on it after we were killed.

use std::{collections::BTreeMap, path::PathBuf};

use flexvolume_linux::{
    mount::MountId,
    process::{self, ProcessId},
};
use flexvolume_protocol::{DriverName, UserOptions, VerbName, VolumeName};
use serde::{Deserialize, Serialize};

use super::{
    state::{Level, Op, Place, State},
    trace::Trace,
};
use crate::{
    digest,
    error::{Error, Kind as ErrorKind, Result},
    wall::Wall,
};

/// How a driver's volumes are handled; it follows from the answer to `init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// `capabilities.attach` is true: attach, waitforattach, mountdevice, mount.
    Attachable,
    /// Announces `staged`: as attachable, but the host binds for each pod itself and never calls mount or unmount.
    Staged,
    /// `capabilities.attach` is false: mount and unmount per pod, nothing else.
    Direct,
}

impl Kind {
    /// Where the ladder begins.
    pub fn floor(self) -> Level {
        match self {
            Self::Attachable | Self::Staged => Level::Absent,
            Self::Direct => Level::Staged,
        }
    }
}

/// Where a Secret lies; the secret itself is never recorded. With neither namespace nor name it is one that the caller
/// brings with each call: what such calls bring may change, and is no part of what a volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
}

impl SecretRef {
    /// The mark of a volume whose callers bring secrets with their calls.
    pub fn callers() -> Self {
        Self { namespace: String::new(), name: String::new() }
    }

    /// Whether it is that mark.
    pub fn is_callers(&self) -> bool {
        self.namespace.is_empty() && self.name.is_empty()
    }
}

/// What a manifest says of the volume itself, the same for every pod that uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// File system type, empty for the driver's or our default.
    pub fs_type: String,
    /// The `options` of the source.
    pub options: UserOptions,
    /// The Secret it names.
    pub secret: Option<SecretRef>,
    /// It is given as a raw device: nothing is mounted.
    // Left out where it is false: specs are digested, and those of older records must stay what they were.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub block: bool,
    /// Options for the file system, as `mount -o` takes them, where the host mounts it itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_options: Vec<String>,
}

impl Spec {
    /// The same without what is no part of the volume.
    pub fn proper(&self) -> Self {
        Self { secret: self.named_secret().cloned(), ..self.clone() }
    }

    /// The Secret that it names.
    pub fn named_secret(&self) -> Option<&SecretRef> {
        self.secret.as_ref().filter(|secret| !secret.is_callers())
    }

    /// Whether both speak of the same volume.
    pub fn is_same(&self, other: &Self) -> bool {
        self.proper() == other.proper()
    }

    /// Notes that the callers of `other` bring secrets; that is never forgotten, for the driver may know them from before.
    pub fn remember_callers(&mut self, other: &Self) {
        let brought = other.secret.as_ref().filter(|secret| secret.is_callers());
        if self.secret.is_none() {
            self.secret = brought.cloned();
        }
    }
}

/// One mount of a volume in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerMount {
    /// Name of the container.
    pub container: String,
    /// Where the volume lies in it.
    pub path: PathBuf,
    /// The part of the volume that lies there; all of it if absent.
    pub sub_path: Option<PathBuf>,
    /// Read-only in this container.
    pub read_only: bool,
}

/// A pod that uses the volume, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Name of the pod.
    pub pod: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Uid of the pod.
    pub uid: String,
    /// Its service account.
    pub service_account: String,
    /// `securityContext.fsGroup`.
    pub fs_group: Option<u32>,
    /// Whether ownership is left alone when the root directory already has it (`OnRootMismatch`).
    pub fs_group_on_mismatch: bool,
    /// Read-only for this pod.
    pub read_only: bool,
    /// The pod's own name of the volume.
    pub volume: String,
    /// Where its containers want it.
    pub mounts: Vec<ContainerMount>,
}

/// What lies at a directory of ours after a successful call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Made {
    /// This mount.
    Mount(MountId),
    /// No mount, as this driver has it: a filled directory or a symlink.
    NoMount,
}

/// A call or worker that was begun and whose outcome is not recorded yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCall {
    /// The id that every process of the call carries in its environment.
    pub id: String,
    /// The session it was begun in: what stays there is at work, what leaves it is a daemon.
    pub session: Option<u32>,
    /// The driver's process, once it was born.
    pub process: Option<ProcessId>,
    /// What that process was asked.
    pub verb: Option<VerbName>,
    /// The command that began it and watches it.
    #[serde(default)]
    pub by: Option<ProcessId>,
    /// When it was begun.
    #[serde(default)]
    pub began: Option<Wall>,
    /// The process of it that was told to end and did not: nobody watches it any more.
    #[serde(default)]
    pub stuck: Option<ProcessId>,
}

/// The row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Driver and name; for a direct driver the pod's uid as well.
    pub key: String,
    /// Counts the writes: order, without a clock.
    pub generation: i64,
    /// The driver.
    pub driver: DriverName,
    /// The name that drivers and paths see.
    pub name: VolumeName,
    /// How its driver is handled.
    pub kind: Kind,
    /// What the manifest said.
    pub spec: Spec,
    /// The size it was last known to have, in bytes; 0 if nobody knows.
    pub capacity: u64,
    /// The size it should have at least, in bytes; 0 if nobody said.
    pub capacity_wanted: u64,
    /// Mounted globally without write access, since every pod asked for that when it was staged.
    pub read_only: bool,
    /// Other nodes may write to it at the same time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// It is for one user alone, whoever that is; so was said by the one who has it, or had it last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// The pods that use it, by place.
    pub users: BTreeMap<Place, User>,
    /// The machine.
    pub state: State,
    /// What `attach` answered: given to `waitforattach`, whatever that made of it before.
    pub attached: String,
    /// The node it was attached to, by the name drivers were told.
    pub node: String,
    /// The call under way.
    pub call: Option<OpenCall>,
    /// Calls nobody acknowledged, and the op that undoes each: what they left running is ended after that.
    pub leftovers: BTreeMap<String, Op>,
    /// The worker that was to see whether a mount answers and has not come back: while it lives no second one is sent.
    #[serde(default)]
    pub probe: Option<ProcessId>,
    /// What lies at the global directory.
    pub stage: Option<Made>,
    /// What lies at the places.
    pub places: BTreeMap<Place, Made>,
    /// What the node's own was known by in this boot, wherever it is shown; the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<Trace>,
    /// What was known of each place in the same way, as long as it has one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub place_traces: BTreeMap<Place, Vec<Trace>>,
    /// What was mounted in those, which goes with them. It says of no mount elsewhere whose that is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inner: Vec<Trace>,
    /// The boot in which mounts, devices and processes above mean something.
    pub boot: String,
    /// The mount namespace that the mounts are in.
    pub namespace: String,
    /// The machine it belongs to, if that is known.
    pub machine: Option<String>,
    /// Pieced together from directories and mounts after the ledger was lost: it may only go down.
    pub rebuilt: bool,
}

impl OpenCall {
    /// A call that we begin, of which nothing was born yet.
    pub fn new(id: String) -> Self {
        Self {
            id,
            session: process::session(std::process::id()),
            process: None,
            verb: None,
            by: process::own(),
            began: Some(Wall::now()),
            stuck: None,
        }
    }
}

impl Record {
    /// A volume nobody wrote of before.
    pub fn new(
        driver: DriverName,
        name: VolumeName,
        kind: Kind,
        uid: &str,
        spec: Spec,
        ident: &crate::ident::Ident,
    ) -> Self {
        Self {
            key: key(&driver, &name, kind, uid),
            generation: 0,
            driver,
            name,
            kind,
            spec,
            capacity: 0,
            capacity_wanted: 0,
            read_only: false,
            shared: false,
            alone: false,
            users: BTreeMap::new(),
            state: State::unknown(kind.floor(), String::new()),
            attached: String::new(),
            node: ident.node.clone(),
            call: None,
            leftovers: BTreeMap::new(),
            probe: None,
            stage: None,
            places: BTreeMap::new(),
            traces: Vec::new(),
            place_traces: BTreeMap::new(),
            inner: Vec::new(),
            boot: ident.boot.clone(),
            namespace: ident.namespace.clone(),
            machine: ident.machine.clone(),
            rebuilt: false,
        }
    }

    /// What tells the storage itself from any other, as far as the host can know: the volume, and what it was asked for by.
    pub fn storage(&self) -> Result<String> {
        let spec = serde_json::to_vec(&self.spec.proper())
            .map_err(|e| Error::new(ErrorKind::Invalid, "cannot digest a volume's spec").because(e))?;
        Ok(format!("{} {}", self.key, digest::hex(&spec, 16)))
    }
}

/// So many are kept: each time that a volume is lost and made anew there may be one more.
const TRACES: usize = 16;
/// Of what is mounted inside: a driver may do that for each place.
const INNER: usize = 256;

fn note(known: &mut Vec<Trace>, trace: Trace, most: usize) {
    known.retain(|one| *one != trace);
    let over = (known.len() + 1).saturating_sub(most);
    known.drain(..over);
    known.push(trace);
}

impl Record {
    /// Notes what it is known by from now on: for the node, or as a place has it.
    pub fn remember(&mut self, place: Option<&str>, trace: Trace) {
        let known = match place {
            Some(place) => self.place_traces.entry(place.to_owned()).or_default(),
            None => &mut self.traces,
        };
        note(known, trace, TRACES);
    }

    /// Notes what is mounted in it.
    pub fn remember_inner(&mut self, trace: Trace) {
        note(&mut self.inner, trace, INNER);
    }

    /// All that it was known by, the node's own last and the newest of that at the end.
    pub fn known(&self) -> impl Iterator<Item = &Trace> {
        self.place_traces.values().flatten().chain(&self.traces)
    }

    /// Whether a place has it, wants it, or still has something of it.
    pub fn is_of(&self, place: &str) -> bool {
        self.users.contains_key(place)
            || self.state.want.places.contains(place)
            || self.state.places.contains_key(place)
    }

    /// Whether it is to be grown.
    pub fn is_small(&self) -> bool {
        self.capacity_wanted > self.capacity
    }
}

/// The ledger's key: volumes of direct drivers belong to one pod each, others to the node.
pub fn key(driver: &DriverName, name: &VolumeName, kind: Kind, uid: &str) -> String {
    match kind {
        Kind::Attachable | Kind::Staged => format!("{driver}/{name}"),
        // No name holds a colon, so no two keys meet.
        Kind::Direct => format!("{driver}/{uid}:{name}"),
    }
}
