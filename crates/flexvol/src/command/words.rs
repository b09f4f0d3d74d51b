//! How states read, the same in every list.

use std::{path::PathBuf, time::Duration};

use flexvolume_host::{
    Host, Wall,
    ledger::Retry,
    standing::Standing,
    volume::{
        record::{Kind, Record},
        state::{At, Op, Rung},
    },
};
use serde::Serialize;

/// How a driver's volumes are handled.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Attachable => "attachable",
        Kind::Staged => "staged",
        Kind::Direct => "direct",
    }
}

/// A pod as people name it; its uid where the rest is not known.
pub(crate) fn whose(namespace: &str, pod: &str, uid: &str) -> String {
    if namespace.is_empty() { uid.to_owned() } else { format!("{namespace}/{pod}") }
}

/// How far up a volume is on the node.
pub(super) fn rung(rung: &Rung) -> &'static str {
    match rung {
        Rung::Unsure => "unsure",
        Rung::Absent => "absent",
        Rung::Attached(_) => "attached",
        Rung::Half(_) => "half staged",
        Rung::Staged(_) => "staged",
    }
}

/// How far a volume is for one pod, or for nobody if `uid` is empty.
pub(super) fn state(host: &Host, record: &Record, uid: &str) -> String {
    let concerns = |op: &Op| uid.is_empty() || op.place().is_none_or(|place| place == uid);
    if let Some(words) = standing(&host.standing(record), concerns) {
        return words;
    }
    let wanted = record.state.want.places.contains(uid);
    let rung = rung(&record.state.rung);
    match (record.state.places.get(uid), wanted) {
        (Some(At::Ready | At::Growing), true) if host.is_mounted(record, uid) => "mounted".into(),
        (Some(At::Ready | At::Growing), true) => "lost: flexvol up makes it anew".into(),
        (Some(At::Half | At::Mounted | At::Growing | At::Ready), false) => "going".into(),
        (Some(At::Mounted), true) => "mounted, not finished".into(),
        (Some(At::Half), true) => "half mounted".into(),
        (None, true) => format!("waiting ({rung})"),
        (None, false) if record.state.is_held() => format!("held ({rung})"),
        (None, false) => rung.to_owned(),
    }
}

/// Whether clients of the bridge have it, staged or published: no pod of ours can be named that it goes with.
pub(crate) fn is_clients(record: &Record) -> bool {
    record.state.is_held() || record.users.iter().any(|(uid, user)| user.uid != *uid)
}

/// Where a volume that somebody holds is mounted for the node, if it is.
pub(super) fn global(host: &Host, record: &Record) -> Option<PathBuf> {
    let layout = &host.ground().layout;
    let is_there = record.state.is_held() && record.state.is_staged() && !record.spec.block;
    is_there.then(|| layout.root().join(layout.global(&record.driver, &record.name)))
}

/// How an op under way stands, if it concerns whom we ask for.
fn standing(standing: &Standing, concerns: impl Fn(&Op) -> bool) -> Option<String> {
    let (op, words) = match standing {
        Standing::Rest => return None,
        Standing::Working { op, .. } => (op, format!("{op} under way")),
        Standing::Stuck { op, process } => (op, format!("{op} hangs: pid {process} does not end")),
        Standing::Orphan { op, process } => (op, format!("{op} goes on as pid {process}, its command gone")),
        Standing::CutOff { op } => (op, format!("{op} was cut off")),
    };
    concerns(op).then_some(words)
}

/// What a living command will try again, and when.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Again {
    /// How often in vain so far.
    tries: u32,
    /// When next.
    next: String,
    /// What failed.
    operation: String,
    /// Why.
    error: String,
    /// The command that will.
    pid: u32,
    #[serde(skip)]
    after: Duration,
}

impl Again {
    pub(super) fn new(retry: &Retry) -> Self {
        Self {
            tries: retry.tries,
            next: retry.next.to_string(),
            operation: retry.operation.clone(),
            error: retry.last.clone(),
            pid: retry.process.pid,
            after: retry.next.since(Wall::now()),
        }
    }

    /// For the column of states.
    pub(super) fn short(&self) -> String {
        match self.after {
            Duration::ZERO => "tried again now".to_owned(),
            after => format!("retrying, next in {:.0} s", after.as_secs_f64().ceil()),
        }
    }

    /// A line of its own.
    pub(super) fn long(&self) -> String {
        let times = if self.tries == 1 { "once".to_owned() } else { format!("{} times", self.tries) };
        format!("{} failed {times}: {}", self.operation, self.error)
    }
}
