//! A volume group of this node, and the disks that each command about it is held to.

use serde::{Deserialize, Serialize};

use crate::names::{Uuid, VgName};

/// A volume group of this node, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// Its name.
    pub(crate) name: VgName,
    /// Its own for ever.
    pub(crate) uuid: Uuid,
    /// The devices of its disks, as LVM names them; at least one.
    pub(crate) devices: Vec<String>,
}
