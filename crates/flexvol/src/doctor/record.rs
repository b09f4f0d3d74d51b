//! One recorded volume as plain values: what of its record can be held against the kernel.

use std::{collections::BTreeSet, path::PathBuf};

use flexvolume_host::{
    Ident, Layout, inhabitant,
    volume::{
        record::Record,
        rest::{Lost, lost},
        state::{Op, Rung, Trouble},
    },
};
use serde::{Deserialize, Serialize};

use crate::command::words;

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Volume {
    pub(crate) key: String,
    pub(crate) driver: String,
    /// The pods that want it, or from which it could not be taken yet.
    pub(crate) pods: Vec<String>,
    pub(crate) trouble: Vec<Failed>,
    pub(crate) doing: Option<Doing>,
    /// Ids of calls that nobody acknowledged and whose daemons may live.
    pub(crate) leftovers: Vec<String>,
    /// Whose mounts were recorded and are not there any more.
    pub(crate) lost: Vec<Whose>,
    /// Nobody wants it, and it is not gone.
    pub(crate) idle: bool,
    /// A client of the bridge has it.
    pub(crate) is_clients: bool,
    /// Nothing of it is on this node: only its record is left to go.
    pub(crate) rebuilt: bool,
    pub(crate) has_secret: bool,
    pub(crate) own_machine: bool,
    /// Recorded in this boot.
    pub(crate) own_boot: bool,
    /// Recorded in another mount namespace: a process that lives there.
    pub(crate) elsewhere: Option<u32>,
    /// The device as its driver named it.
    pub(crate) device: String,
    /// Where its mounts lie or may lie, absolute.
    pub(crate) paths: Vec<PathBuf>,
}

/// Whom something concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Whose {
    /// The volume as a whole, and so every pod of it.
    Node,
    /// This pod alone, as `down` knows it.
    Pod(String),
}

/// What failed, and with what words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) op: String,
    pub(crate) whose: Whose,
    pub(crate) words: String,
}

/// What is under way, and the id of its call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Doing {
    pub(crate) op: String,
    pub(crate) whose: Whose,
    pub(crate) call: String,
}

/// What the record says, held against this machine.
pub(crate) fn read(layout: &Layout, record: &Record) -> Volume {
    let ident = Ident::read(None).ok();
    let own_machine = match (&record.machine, ident.as_ref().and_then(|ident| ident.machine.as_ref())) {
        (Some(theirs), Some(ours)) => theirs == ours,
        (Some(_) | None, None) | (None, Some(_)) => true,
    };
    let own_boot = ident.as_ref().is_some_and(|ident| record.boot == ident.boot);
    let own_namespace = ident.as_ref().is_some_and(|ident| record.namespace == ident.namespace);
    let elsewhere = if own_machine && own_boot && !own_namespace { inhabitant(&record.namespace) } else { None };
    let whose =
        |uid: &String| record.users.get(uid).map_or(uid.clone(), |user| words::whose(&user.namespace, &user.pod, uid));
    // What an op under way is about to mount, or a boot before had mounted, is not lost.
    let at_rest = own_machine && own_boot && own_namespace && record.state.doing.is_none();
    let lost = if at_rest { lost(layout, record) } else { Lost::default() };
    let mut lost_of: Vec<_> = lost.places.iter().map(|uid| Whose::Pod(whose(uid))).collect();
    if lost.stage {
        lost_of.push(Whose::Node);
    }
    // What could not be unpublished is wanted by nobody, and its pod has it still.
    let pods: BTreeSet<_> = record.users.keys().chain(&record.state.want.places).collect();
    let places = record.users.keys().chain(record.state.places.keys()).chain(record.places.keys());
    let mut paths: Vec<_> = places.map(|uid| layout.place(uid, &record.driver, &record.name)).collect();
    paths.push(layout.global(&record.driver, &record.name));
    paths.sort();
    paths.dedup();
    let concerns = |op: &Op| op.place().map_or(Whose::Node, |uid| Whose::Pod(whose(uid)));
    let trouble = |(op, trouble): (&Op, &Trouble)| Failed {
        op: op.to_string(),
        whose: concerns(op),
        words: trouble.last.clone(),
    };
    Volume {
        key: record.key.clone(),
        driver: record.driver.to_string(),
        pods: pods.into_iter().map(whose).collect(),
        trouble: record.state.trouble.iter().map(trouble).collect(),
        doing: record.state.doing.as_ref().map(|op| Doing {
            op: op.to_string(),
            whose: concerns(op),
            call: record.call.as_ref().map_or(String::new(), |call| call.id.clone()),
        }),
        leftovers: record.leftovers.keys().cloned().collect(),
        lost: lost_of,
        idle: !record.state.is_wanted() && !record.state.is_over(),
        is_clients: words::is_clients(record),
        rebuilt: record.rebuilt,
        has_secret: record.spec.secret.is_some(),
        own_machine,
        own_boot,
        elsewhere,
        device: match &record.state.rung {
            Rung::Unsure | Rung::Absent => String::new(),
            Rung::Attached(device) | Rung::Half(device) | Rung::Staged(device) => device.clone(),
        },
        paths: paths.into_iter().map(|path| layout.root().join(path)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use flexvolume_host::volume::{
        record::{Kind, Spec, User},
        state::{At, Level},
    };
    use flexvolume_protocol::{DriverName, UserOptions, VolumeName};

    use super::*;

    #[test]
    fn who_has_a_volume_still_is_a_pod_of_it_though_nobody_wants_it() {
        let (driver, name) = (DriverName::parse("v/d").unwrap(), VolumeName::parse("one").unwrap());
        let spec = Spec {
            fs_type: String::new(),
            options: UserOptions::default(),
            secret: None,
            block: false,
            mount_options: Vec::new(),
        };
        let mut record = Record::new(driver, name, Kind::Direct, "u1", spec, &Ident::read(None).unwrap());
        record.users.insert(
            "u1".into(),
            User {
                pod: "web".into(),
                namespace: "default".into(),
                uid: "u1".into(),
                service_account: String::new(),
                fs_group: None,
                fs_group_on_mismatch: false,
                read_only: false,
                volume: "one".into(),
                mounts: Vec::new(),
            },
        );
        record.state.places.insert("u1".into(), At::Mounted);
        record.state.trouble.insert(Op::Unpublish("u1".into()), Trouble { last: "busy".into(), held: false });
        let volume = read(&Layout::new("/r"), &record);
        assert_eq!(volume.pods, ["default/web"]);
        assert!(volume.idle);
        let whose = Whose::Pod("default/web".into());
        assert_eq!(volume.trouble, [Failed { op: "unpublish".into(), whose, words: "busy".into() }]);
        record.state.want.places.extend(["u1".to_owned(), "u2".to_owned()]);
        assert_eq!(read(&Layout::new("/r"), &record).pods, ["default/web", "u2"], "each once");
        let is_clients = |record: &Record| read(&Layout::new("/r"), record).is_clients;
        assert!(!is_clients(&record));
        let (mut held, mut published) = (record.clone(), record);
        (held.state.floor, held.state.want.hold) = (Level::Absent, Level::Staged);
        // Named after its target, and told of a pod with a uid of its own.
        published.users.insert("place".into(), published.users["u1"].clone());
        assert!(is_clients(&held) && is_clients(&published));
    }
}
