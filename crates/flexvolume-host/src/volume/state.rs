//! What the ledger says of one volume: what is wanted, what is so, what is under way, and what went wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// How far up the ladder a volume is, or should be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Not on this node.
    Absent,
    /// The device is on this node.
    Attached,
    /// The device is mounted at the global directory.
    Staged,
}

/// The rung a volume stands on. The text is the device as the driver named it: opaque, possibly empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rung {
    /// An attach or detach failed or was interrupted, or nobody wrote down what was before: a detach is owed.
    Unsure,
    /// Nothing of it is on this node.
    Absent,
    /// The device is here, nothing of it is mounted globally.
    Attached(String),
    /// The device is here, and a mount that no successful call explains lies at the global directory.
    Half(String),
    /// The device is here and mounted at the global directory.
    Staged(String),
}

impl Rung {
    /// The device as the driver named it, if there is one.
    pub fn device(&self) -> &str {
        match self {
            Self::Unsure | Self::Absent => "",
            Self::Attached(device) | Self::Half(device) | Self::Staged(device) => device,
        }
    }
}

/// Who uses a volume: a pod's uid.
pub type Place = String;

/// How far one place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum At {
    /// A call that did not succeed left something there: it is undone before anything else.
    Half,
    /// Mounted; ownership is still to be set.
    Mounted,
    /// Ready for use at the size it has, and to be made larger.
    Growing,
    /// Ready for use.
    Ready,
}

/// What is wanted of a volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Want {
    /// The level to keep although no place wants it.
    pub hold: Level,
    /// The places that want it.
    pub places: BTreeSet<Place>,
}

/// One thing to do; at most one is under way for a volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Op {
    /// Bring the device to this node.
    Attach,
    /// Mount it at the global directory.
    Stage,
    /// Mount it at a place.
    Publish(Place),
    /// Set ownership at a place.
    Finish(Place),
    /// Take it from a place.
    Unpublish(Place),
    /// Take it from the global directory.
    Unstage,
    /// Let go of the device.
    Detach,
    /// Make it larger, through its mount at a place, or through the global one.
    Grow(Option<Place>),
}

impl Op {
    /// Whether this op takes something away: such ops are never refused for want of room or of a secret.
    pub fn goes_down(&self) -> bool {
        match self {
            Self::Unpublish(_) | Self::Unstage | Self::Detach => true,
            Self::Attach | Self::Stage | Self::Publish(_) | Self::Finish(_) | Self::Grow(_) => false,
        }
    }

    /// The op that takes away what this one made, or left half made.
    pub fn undoing(&self) -> Self {
        match self {
            Self::Attach | Self::Detach => Self::Detach,
            Self::Stage | Self::Unstage | Self::Grow(None) => Self::Unstage,
            Self::Publish(place) | Self::Finish(place) | Self::Unpublish(place) | Self::Grow(Some(place)) => {
                Self::Unpublish(place.clone())
            }
        }
    }

    /// Its name, without the place.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Stage => "stage",
            Self::Publish(_) => "publish",
            Self::Finish(_) => "finish",
            Self::Unpublish(_) => "unpublish",
            Self::Unstage => "unstage",
            Self::Detach => "detach",
            Self::Grow(_) => "grow",
        }
    }

    /// The place it acts on, if it acts on one.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Publish(place) | Self::Finish(place) | Self::Unpublish(place) | Self::Grow(Some(place)) => {
                Some(place)
            }
            Self::Attach | Self::Stage | Self::Unstage | Self::Detach | Self::Grow(None) => None,
        }
    }
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What the kernel shows after an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen {
    /// Nothing is mounted there.
    Nothing,
    /// Something is mounted there.
    Mounted,
    /// A process of the op still lives: nothing is known until it ends.
    Busy,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// Somebody wants something else, or the same once more: what failed may be tried again.
    Want(Want),
    /// The op under way ended with its answer (a device, or why not) and a look. A crash is a failure.
    Came(Result<String, String>, Seen),
    /// The wait after a failure is over.
    Again(Op),
    /// Somebody wants it larger, through its mount at a place or through the global one. It is tried once for each such wish.
    Grow(Option<Place>),
    /// A look at rest found mounts gone, dead or not ours.
    Lost {
        /// The device of a raw volume, which nothing is mounted from.
        device: bool,
        /// The global mount.
        stage: bool,
        /// The places.
        places: Vec<Place>,
    },
}

/// Why an op failed last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Trouble {
    /// The answer, redacted and bounded.
    pub last: String,
    /// Not to be tried again before somebody says so.
    pub held: bool,
}

/// The machine's whole state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct State {
    /// Where the ladder begins for this kind of driver.
    pub floor: Level,
    /// What is wanted.
    pub want: Want,
    /// What is so.
    pub rung: Rung,
    /// What is so at each place.
    pub places: BTreeMap<Place, At>,
    /// What is under way: written down before it is begun.
    pub doing: Option<Op>,
    /// What failed, by op.
    #[serde(with = "pairs")]
    pub trouble: BTreeMap<Op, Trouble>,
}

impl State {
    /// A volume that no record speaks of: at floor `Absent` that is *unsure*, since an attach may have been forgotten.
    pub fn unknown(floor: Level, given: String) -> Self {
        Self {
            floor,
            want: Want { hold: Level::Absent, places: BTreeSet::new() },
            rung: match floor {
                Level::Absent => Rung::Unsure,
                Level::Attached => Rung::Attached(given),
                Level::Staged => Rung::Staged(given),
            },
            places: BTreeMap::new(),
            doing: None,
            trouble: BTreeMap::new(),
        }
    }

    /// Whether it is to stay although no place wants it.
    pub fn is_held(&self) -> bool {
        self.want.hold > self.floor
    }

    /// Whether anybody wants it: a place, or who holds it.
    pub fn is_wanted(&self) -> bool {
        self.is_held() || !self.want.places.is_empty()
    }

    /// Whether it stands at the global directory, or needs no such thing.
    pub fn is_staged(&self) -> bool {
        match self.rung {
            Rung::Staged(_) => true,
            Rung::Unsure | Rung::Absent | Rung::Attached(_) | Rung::Half(_) => false,
        }
    }

    /// Whether nothing of it is left and nothing is wanted, so that the record can go.
    pub fn is_over(&self) -> bool {
        let down = match (self.floor, &self.rung) {
            (Level::Absent, Rung::Absent) | (Level::Attached, Rung::Attached(_)) | (Level::Staged, Rung::Staged(_)) => {
                true
            }
            (
                Level::Absent | Level::Attached | Level::Staged,
                Rung::Unsure | Rung::Absent | Rung::Attached(_) | Rung::Half(_) | Rung::Staged(_),
            ) => false,
        };
        down && self.doing.is_none() && self.places.is_empty() && !self.is_wanted()
    }
}

/// Troubles as a list: an op that names a place cannot be the key of a JSON object.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Op, Trouble};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<Op, Trouble>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Op, Trouble>, D::Error> {
        Ok(Vec::<(Op, Trouble)>::deserialize(from)?.into_iter().collect())
    }
}
