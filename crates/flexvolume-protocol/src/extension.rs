//! What a driver can announce beyond the contract of Kubernetes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An extension that a driver announces in its answer to `init`. A name never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extension {
    /// The staged flow is run on the node although strangers are told `attach:false`.
    Staged,
    /// The volume lives on one node.
    Local,
    /// Options may come on standard input, with `-` in argv where the JSON stood.
    Stdin,
    /// The device that `waitforattach` answers may be given to a pod as it is; `mountdevice` is not called then.
    Block,
    /// `createvolume` and `deletevolume` are served.
    Provision,
    /// `expandvolume` means it.
    Expand,
    /// `createsnapshot`, `deletesnapshot` and `listsnapshots` are served.
    Snapshot,
    /// `createvolume` makes volumes of other volumes, and of snapshots if there are any. Needs `provision`.
    Clone,
    /// `getcapacity` is served.
    Capacity,
    /// `listvolumes` is served.
    List,
    /// `gethealth` is served.
    Health,
    /// `modifyvolume` is served, and `createvolume` tells parameters that can be changed later from those that cannot.
    Modify,
}

impl Extension {
    /// Every extension this crate knows.
    pub const ALL: [Self; 12] = [
        Self::Staged,
        Self::Local,
        Self::Stdin,
        Self::Block,
        Self::Provision,
        Self::Expand,
        Self::Snapshot,
        Self::Clone,
        Self::Capacity,
        Self::List,
        Self::Health,
        Self::Modify,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Local => "local",
            Self::Stdin => "stdin",
            Self::Block => "block",
            Self::Provision => "provision",
            Self::Expand => "expand",
            Self::Snapshot => "snapshot",
            Self::Clone => "clone",
            Self::Capacity => "capacity",
            Self::List => "list",
            Self::Health => "health",
            Self::Modify => "modify",
        }
    }

    /// The extension of that name, compared exactly; `None` for one this crate does not know.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.as_str() == name)
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
