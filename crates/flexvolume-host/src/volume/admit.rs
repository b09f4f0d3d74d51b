//! Who may publish what: names that never meet, specs that do not change beneath a pod, one writer where one was asked for.

use std::collections::BTreeSet;

use flexvolume_protocol::{DriverName, PodUid, VolumeName};

use super::{
    record::{Record, Spec, User},
    state::{At, Rung, State},
};
use crate::{
    digest,
    error::{Error, Kind, Result},
};

/// A pod's wish for one volume.
#[derive(Clone, Debug)]
pub struct Request {
    /// The driver.
    pub driver: DriverName,
    /// The name by manifest: of the PersistentVolume, or of the inline volume.
    pub name: VolumeName,
    /// It is a PersistentVolume: its name is its own, and another spec under it is a change, not another volume.
    pub persistent: bool,
    /// Only one pod may have it (ReadWriteOncePod).
    pub exclusive: bool,
    /// The size the PersistentVolume states, in bytes: a volume that is smaller is grown.
    pub capacity: Option<u64>,
    /// The pod's uid.
    pub uid: PodUid,
    /// The volume.
    pub spec: Spec,
    /// The pod.
    pub user: User,
}

impl Request {
    /// The names to try, in order. An inline volume of the same name with other options must never share with the first.
    pub fn names(&self) -> Vec<VolumeName> {
        let suffixed = || {
            let spec = serde_json::to_vec(&self.spec.proper()).ok()?;
            VolumeName::parse(&format!("{}-{}", self.name, digest::hex(&spec, 6))).ok()
        };
        std::iter::once(self.name.clone()).chain((!self.persistent).then(suffixed).flatten()).collect()
    }

    /// Whether `record` is this pod's own attempt with other settings, which never came up: it is undone, not refused.
    pub fn supersedes(&self, record: &Record) -> bool {
        let alone = record.users.keys().all(|uid| uid == self.uid.as_str());
        let is_theirs = alone && !record.state.is_held();
        !record.spec.is_same(&self.spec) && !record.rebuilt && is_theirs && record.state.places.is_empty()
    }

    /// Whether `record`, of one of [`Request::names`], is another volume than the one wished for.
    pub fn is_other(&self, record: &Record) -> bool {
        !self.persistent && !record.spec.is_same(&self.spec) && !record.users.contains_key(self.uid.as_str())
    }
}

/// Writes the wish into the record, or says why not. Nothing is written when it is refused.
pub fn admit(record: &mut Record, request: &Request) -> Result<()> {
    let place = request.uid.as_str();
    if record.rebuilt {
        return Err(pieced_together(record));
    }
    let idle = record.users.is_empty() && is_unused(&record.state);
    if idle {
        let known = std::mem::replace(&mut record.spec, request.spec.clone());
        record.spec.remember_callers(&known);
        record.read_only = request.user.read_only;
    }
    if !record.spec.is_same(&request.spec) {
        return Err(otherwise_up(&record.key, &record.spec, &request.spec)
            .hint("take it down first (flexvol down), then bring it up with the new settings"));
    }
    if let Some(old) = record.users.get(place)
        && record.state.places.contains_key(place)
    {
        let same = |user: &User| (user.read_only, user.fs_group);
        if same(old) != same(&request.user) {
            return Err(Error::new(
                Kind::Refused,
                match old.pod.as_str() {
                    "" => format!("volume {} is mounted there with another readOnly", record.key),
                    pod => format!("pod {pod} has volume {} with another readOnly or fsGroup", record.key),
                },
            )
            .otherwise()
            .hint("take the pod down first (flexvol down), then bring it up with the new settings"));
        }
    }
    let others: BTreeSet<&str> =
        record.users.iter().filter(|(uid, _)| *uid != place).map(|(_, user)| user.pod.as_str()).collect();
    if (request.exclusive || record.alone) && !others.is_empty() {
        let others = others.iter().copied().filter(|pod| !pod.is_empty()).collect::<Vec<_>>().join(", ");
        let whom = if others.is_empty() { "another".to_owned() } else { format!("pod {others}") };
        let what = match request.exclusive {
            true => format!("volume {} is ReadWriteOncePod and in use by {whom}", record.key),
            false => format!("volume {} is in use by {whom}, as ReadWriteOncePod: by nobody else", record.key),
        };
        return Err(Error::new(Kind::Refused, what).hint("take that pod down first"));
    }
    let is_beside_clients = record.state.is_held() && request.user.uid == place;
    if is_beside_clients && (request.exclusive || record.alone) {
        // Whom it is shown to stands in no record.
        let what = match request.exclusive {
            true => format!("volume {} is ReadWriteOncePod and held for clients of flexvol csi", record.key),
            false => format!("volume {} is held for one user alone, a client of flexvol csi", record.key),
        };
        return Err(Error::new(Kind::Refused, what).hint("have it unstaged first (NodeUnstageVolume)"));
    }
    if record.read_only && !request.user.read_only {
        if record.users.keys().all(|uid| uid == place) && is_unused(&record.state) {
            record.read_only = false;
        } else {
            return Err(only_read(record, &others));
        }
    }
    record.spec.remember_callers(&request.spec);
    record.users.insert(place.to_owned(), request.user.clone());
    if !is_beside_clients {
        record.alone = request.exclusive;
    }
    // The newest word counts: a size that cannot be had is not asked for for ever. Nothing is shrunk.
    record.capacity_wanted = request.capacity.unwrap_or(record.capacity_wanted);
    if record.is_small() && !request.user.read_only {
        // The place is finished once more: growing is a part of that.
        record.state.places.entry(place.to_owned()).and_modify(|at| {
            if *at == At::Ready {
                *at = At::Growing;
            }
        });
    }
    Ok(())
}

/// What nobody recorded is not used further.
pub(super) fn pieced_together(record: &Record) -> Error {
    let users: Vec<_> = record.users.keys().map(String::as_str).collect();
    let what = if users.is_empty() { "--all".to_owned() } else { users.join(" ") };
    Error::new(
        Kind::Refused,
        format!("the record of volume {} was lost and pieced together from what is mounted", record.key),
    )
    .hint(format!("take it down first, then bring it up again: flexvol down {what}"))
}

fn only_read(record: &Record, others: &BTreeSet<&str>) -> Error {
    let others: Vec<_> = others.iter().copied().collect();
    let (whom, who) = match others.as_slice() {
        [] => ("whoever holds it".to_owned(), "let it be released"),
        pods => (format!("pod {}", pods.join(", ")), "take that pod down"),
    };
    Error::new(Kind::Refused, format!("volume {} is mounted read-only on this node, for {whom}", record.key))
        .otherwise()
        .hint(format!("{who} first, or ask for the volume read-only"))
}

fn is_unused(state: &State) -> bool {
    let below_stage = match &state.rung {
        Rung::Unsure | Rung::Absent | Rung::Attached(_) => true,
        Rung::Half(_) | Rung::Staged(_) => state.floor == super::state::Level::Staged,
    };
    below_stage && state.places.is_empty() && !state.is_held()
}

/// It is up, and in another way than is asked for now.
pub(crate) fn otherwise_up(key: &str, old: &Spec, new: &Spec) -> Error {
    let changes = differences(old, new);
    Error::new(Kind::Refused, format!("volume {key} is up with other settings: {changes}"))
        .otherwise()
        .hint("take it down first, then bring it up with the new settings")
}

/// What differs, in words; option values are shown, secrets are not part of a spec.
pub(super) fn differences(old: &Spec, new: &Spec) -> String {
    let mut changes = Vec::new();
    if old.fs_type != new.fs_type {
        changes.push(format!("fsType {:?}, asked for {:?}", old.fs_type, new.fs_type));
    }
    let keys: BTreeSet<&str> = old.options.iter().chain(new.options.iter()).map(|(key, _)| key).collect();
    for key in keys {
        let show = |value: Option<&str>| {
            value.map_or("absent".to_owned(), |value| format!("{:?}", flexvolume_protocol::excerpt(value, 60)))
        };
        if old.options.get(key) != new.options.get(key) {
            changes.push(format!(
                "option {key} {}, asked for {}",
                show(old.options.get(key)),
                show(new.options.get(key))
            ));
        }
    }
    if old.block != new.block {
        let show = |block| if block { "raw device" } else { "file system" };
        changes.push(format!("{}, asked for {}", show(old.block), show(new.block)));
    }
    if old.mount_options != new.mount_options {
        changes.push("other mount options".into());
    }
    if old.named_secret() != new.named_secret() {
        changes.push("another secretRef".into());
    }
    changes.join("; ")
}
