//! What the calls of extensions answer, as types: volumes and snapshots, how much room there is, how a volume does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::timestamp::Timestamp;

/// What `expandvolume` came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The size now, in bytes, if the driver says.
    pub bytes: Option<u64>,
}

/// What `createvolume` made; in a list, what it answers again when it is asked for that volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// How the driver finds the volume again.
    pub id: Id,
    /// Its size in bytes, if the driver says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What is handed back in the options of every later call.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// A page of the driver's volumes, from `listvolumes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeList {
    /// The volumes, each once over all pages.
    pub volumes: Vec<Created>,
    /// The token that asks for the next page; `None` after the last one.
    pub next: Option<String>,
}

/// A snapshot, from `createsnapshot` and `listsnapshots`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// How the driver finds the snapshot again.
    pub snapshot: Id,
    /// The volume it was taken of. In a list each has it; `createsnapshot` may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// The size a volume made of it has at least, in bytes, if the driver says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What it holds is what the volume held then.
    pub created: Timestamp,
    /// Whether a volume can be made of it already.
    pub ready: bool,
}

/// A page of the driver's snapshots, from `listsnapshots`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotList {
    /// The snapshots, each once over all pages.
    pub snapshots: Vec<Snapshot>,
    /// The token that asks for the next page; `None` after the last one.
    pub next: Option<String>,
}

/// How much room there is for new volumes, from `getcapacity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes that volumes made with the same parameters can have together.
    pub available: u64,
    /// Bytes that the largest one of them can have, if the driver says.
    pub maximum: Option<u64>,
}

/// How a volume or the storage itself does, from `gethealth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// In a word.
    pub condition: Condition,
    /// In words, with what to do about it; may be empty. Text of a driver: redact before showing it.
    pub message: String,
}

/// How a volume or the storage itself does, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// Nothing is wrong.
    Ok,
    /// It can be used, and somebody should look after it: slow, without its spare, nearly full.
    Degraded,
    /// It cannot be used now; its data is believed to be there.
    Inaccessible,
    /// Data of it is lost.
    DataLoss,
}

impl Condition {
    /// Every condition, from best to worst.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Degraded, Self::Inaccessible, Self::DataLoss];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Inaccessible => "inaccessible",
            Self::DataLoss => "dataLoss",
        }
    }

    /// The condition of that word, compared exactly.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|condition| condition.as_str() == word)
    }
}
