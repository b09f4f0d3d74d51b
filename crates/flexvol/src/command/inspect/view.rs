//! What `inspect` shows, as values: the record in plain words, beside what the kernel says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use flexvolume_host::{
    Host,
    ledger::{Entry, Retry},
    standing,
    volume::{
        record::{Kind, OpenCall, Record, User},
        state::{Level, Op},
    },
};
use flexvolume_linux::fs::{Intents, Phase};
use flexvolume_protocol::excerpt;
use serde::Serialize;

use super::{
    super::{
        ground::Done,
        words::{self, Again},
    },
    kernel::{Device, Mount, Process, devices, elsewhere, mounts},
};

/// One volume.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    pub(super) key: String,
    pub(super) volume: String,
    pub(super) driver: String,
    pub(super) kind: &'static str,
    pub(super) state: String,
    pub(super) rebuilt: bool,
    pub(super) generation: i64,
    pub(super) spec: Spec,
    pub(super) wanted: Wanted,
    pub(super) pods: Vec<Pod>,
    pub(super) devices: Vec<Device>,
    pub(super) mounts: Vec<Mount>,
    pub(super) elsewhere: Vec<PathBuf>,
    pub(super) under_way: Option<UnderWay>,
    pub(super) lock: Option<String>,
    pub(super) format: Option<Format>,
    pub(super) trouble: Vec<Trouble>,
    pub(super) retries: Vec<Again>,
    pub(super) history: Vec<Call>,
}

/// What the manifest said. A Secret is named, never shown.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) fs_type: String,
    pub(super) options: BTreeMap<String, String>,
    pub(super) secret_ref: Option<String>,
    pub(super) read_only: bool,
    pub(super) block: bool,
    pub(super) capacity_bytes: u64,
    pub(super) capacity_wanted_bytes: u64,
}

/// What is wanted of it.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wanted {
    hold: &'static str,
    #[serde(skip)]
    is_held: bool,
    /// Uids.
    pods: BTreeSet<String>,
}

/// A pod that uses it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) volume: String,
    pub(super) state: String,
    pub(super) read_only: bool,
    pub(super) fs_group: Option<u32>,
}

/// The op under way.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UnderWay {
    op: String,
    uid: Option<String>,
    verb: Option<&'static str>,
    call: String,
    since: Option<String>,
    /// The command that began it.
    command: Option<Process>,
    /// What lives of it.
    pub(super) processes: Vec<Process>,
}

/// The record of a format.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Format {
    phase: &'static str,
    fs_type: String,
    uuid: String,
    device_bytes: u64,
    error: Option<String>,
}

/// Why an op failed last.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trouble {
    op: String,
    uid: Option<String>,
    error: String,
}

/// One call of the past.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Call {
    pub(super) at: String,
    pub(super) op: String,
    uid: Option<String>,
    pub(super) verb: Option<&'static str>,
    milliseconds: Option<f64>,
    pub(super) verdict: String,
    pid: Option<u32>,
    call: String,
}

impl View {
    pub(super) fn of_record(host: &Host, record: &Record, retries: &[&Retry]) -> Done<Self> {
        let mounts = mounts(host, record);
        let trouble = |(op, trouble): (&Op, &flexvolume_host::volume::state::Trouble)| Trouble {
            op: op.to_string(),
            uid: op.place().cloned(),
            error: trouble.last.clone(),
        };
        Ok(Self {
            key: record.key.clone(),
            volume: record.name.to_string(),
            driver: record.driver.to_string(),
            kind: words::kind(record.kind),
            state: words::state(host, record, whose(record)),
            rebuilt: record.rebuilt,
            generation: record.generation,
            spec: Spec::of(record),
            wanted: Wanted {
                hold: level(record.state.want.hold),
                is_held: record.state.is_held(),
                pods: record.state.want.places.clone(),
            },
            pods: record.users.iter().map(|(uid, user)| Pod::of(host, record, uid, user)).collect(),
            devices: devices(record),
            elsewhere: elsewhere(&mounts),
            mounts,
            under_way: record.state.doing.as_ref().map(|op| UnderWay::of(host, record, op)),
            lock: host.ground().lock_holder(&record.key),
            format: Format::of(host, record),
            trouble: record.state.trouble.iter().map(trouble).collect(),
            retries: retries.iter().map(|retry| Again::new(retry)).collect(),
            history: host.ground().ledger.history(&record.key)?.iter().map(Call::of).collect(),
        })
    }

    /// A volume of which nothing is recorded yet.
    pub(super) fn of_retry(retry: &Retry) -> Self {
        Self {
            volume: retry.volume.clone(),
            driver: retry.driver.clone(),
            kind: "unknown",
            state: "not begun".to_owned(),
            wanted: Wanted { hold: level(Level::Absent), is_held: false, pods: BTreeSet::from([retry.uid.clone()]) },
            retries: vec![Again::new(retry)],
            ..Self::default()
        }
    }
}

impl Spec {
    fn of(record: &Record) -> Self {
        let options = record.spec.options.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            fs_type: record.spec.fs_type.clone(),
            options: options.collect(),
            secret_ref: record.spec.secret.as_ref().map(|secret| match secret.is_callers() {
                true => "given with each call".to_owned(),
                false => format!("{}/{}", secret.namespace, secret.name),
            }),
            read_only: record.read_only,
            block: record.spec.block,
            capacity_bytes: record.capacity,
            capacity_wanted_bytes: record.capacity_wanted,
        }
    }

    pub(super) fn words(&self) -> String {
        let one = |(key, value): (&String, &String)| format!("{key}={}", excerpt(value, 200));
        self.options.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn capacity(&self) -> String {
        match (self.capacity_bytes, self.capacity_wanted_bytes) {
            (0, 0) => String::new(),
            (now, wanted) if now >= wanted => format!("{now} bytes"),
            (now, wanted) => format!("{now} bytes, {wanted} wanted"),
        }
    }
}

impl Wanted {
    pub(super) fn words(&self) -> String {
        let held = if self.is_held { format!(", held {}", self.hold) } else { String::new() };
        match self.pods.len() {
            0 => format!("by no pod, held {}", self.hold),
            1 => format!("by 1 pod{held}"),
            n => format!("by {n} pods{held}"),
        }
    }
}

impl Pod {
    fn of(host: &Host, record: &Record, uid: &str, user: &User) -> Self {
        Self {
            namespace: user.namespace.clone(),
            pod: user.pod.clone(),
            uid: uid.to_owned(),
            volume: user.volume.clone(),
            state: words::state(host, record, uid),
            read_only: user.read_only,
            fs_group: user.fs_group,
        }
    }

    pub(super) fn whose(&self) -> String {
        words::whose(&self.namespace, &self.pod, &self.uid)
    }

    pub(super) fn asks(&self) -> String {
        let group = self.fs_group.map(|gid| format!("fsGroup {gid}"));
        let all: Vec<_> = self.read_only.then(|| "read-only".to_owned()).into_iter().chain(group).collect();
        all.join(", ")
    }
}

impl UnderWay {
    fn of(host: &Host, record: &Record, op: &Op) -> Self {
        let call = host.call_of(record);
        let call = call.as_ref();
        // Processes of another boot have nothing to do with it.
        let here = call.filter(|_| record.boot == host.ground().ident.boot);
        let stuck = here.and_then(|call| call.stuck);
        let processes = here.and_then(|call| standing::processes(call).ok()).unwrap_or_default();
        Self {
            op: op.to_string(),
            uid: op.place().cloned(),
            verb: call.and_then(|call| call.verb).map(|verb| verb.as_str()),
            call: call.map_or(String::new(), |call| call.id.clone()),
            since: call.and_then(|call| call.began).map(|at| at.to_string()),
            command: here.and_then(|call: &OpenCall| call.by).map(|by| Process::of(&by, None)),
            processes: processes.iter().map(|id| Process::of(id, stuck)).collect(),
        }
    }

    pub(super) fn words(&self) -> String {
        let verb = self.verb.map_or(String::new(), |verb| format!(", the driver at {verb}"));
        let since = self.since.as_ref().map_or(String::new(), |since| format!(", since {since}"));
        let by = match &self.command {
            Some(by) if by.alive => format!(", by pid {}", by.pid),
            Some(by) => format!(", by pid {}, which is gone", by.pid),
            None => String::new(),
        };
        let left = if self.processes.is_empty() { "; no process of it lives" } else { "; of it live:" };
        format!("{}{verb}{since}{by}{left}", self.op)
    }
}

impl Format {
    fn of(host: &Host, record: &Record) -> Option<Self> {
        let intents = Intents::new(host.ground().layout.intent(&record.storage().ok()?));
        match intents.read() {
            Ok(None) => None,
            Ok(Some(intent)) => Some(Self {
                phase: match intent.phase {
                    Phase::Proven => "proven",
                    Phase::Formatted => "formatted",
                },
                fs_type: intent.fs_type.to_string(),
                uuid: intent.uuid,
                device_bytes: intent.size,
                error: None,
            }),
            Err(error) => Some(Self {
                phase: "unreadable",
                fs_type: String::new(),
                uuid: String::new(),
                device_bytes: 0,
                error: Some(error.to_string()),
            }),
        }
    }

    pub(super) fn words(&self) -> String {
        match &self.error {
            Some(error) => error.clone(),
            None => format!("{}: {} {} on {} bytes", self.phase, self.fs_type, self.uuid, self.device_bytes),
        }
    }
}

impl Trouble {
    pub(super) fn words(&self) -> String {
        let of = self.uid.as_ref().map_or(String::new(), |uid| format!(" for pod {uid}"));
        format!("{}{of} failed: {}", self.op, self.error)
    }
}

impl Call {
    fn of(entry: &Entry) -> Self {
        Self {
            at: entry.at.to_string(),
            op: entry.op.to_string(),
            uid: entry.op.place().cloned(),
            verb: entry.verb.map(|verb| verb.as_str()),
            milliseconds: entry.micros.map(|micros| micros as f64 / 1e3),
            verdict: entry.verdict.clone(),
            pid: entry.pid,
            call: entry.call.clone(),
        }
    }

    pub(super) fn took(&self) -> String {
        self.milliseconds.map_or("-".to_owned(), |milliseconds| format!("{milliseconds:.1} ms"))
    }
}

/// For whom the volume as a whole is: the pod of a direct one, which is nothing on the node by itself; else nobody.
fn whose(record: &Record) -> &str {
    match record.kind {
        Kind::Direct => record.users.keys().next().map_or("", String::as_str),
        Kind::Attachable | Kind::Staged => "",
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Absent => "absent",
        Level::Attached => "attached",
        Level::Staged => "staged",
    }
}
