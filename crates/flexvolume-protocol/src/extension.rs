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
    /// `createvolume` and `deletevolume` are served.
    Provision,
    /// `expandvolume` means it.
    Expand,
    // Still to come, with their verbs: block, snapshot, clone, capacity, list, health, modify.
}

impl Extension {
    /// Every extension this crate knows.
    pub const ALL: [Self; 5] = [Self::Staged, Self::Local, Self::Stdin, Self::Provision, Self::Expand];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Local => "local",
            Self::Stdin => "stdin",
            Self::Provision => "provision",
            Self::Expand => "expand",
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
