//! What a volume is known by wherever it is shown, as the kernel numbers things.
//!
//! Who finds a mount at somebody's path asks by these whose it is: also when the mount that it was bound from is gone. They mean
//! something in one boot only.

use std::{fs, os::unix::fs::FileTypeExt, path::Path};

use flexvolume_linux::mount::{Mounted, Part};
use serde::{Deserialize, Serialize};

/// One thing that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trace {
    /// A part of a file system.
    Part(Part),
    /// A block device, given away as it is: major and minor number.
    Device(u32, u32),
}

impl Trace {
    /// What a mount shows. Nothing that could hang is asked.
    pub fn of(mounted: &Mounted) -> Self {
        let device = if is_of_nodes(mounted) { Self::device(&mounted.point) } else { None };
        device.unwrap_or_else(|| Self::Part(mounted.part()))
    }

    /// The block device whose node lies there, on a file system of such nodes.
    pub fn device(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let device = fs::metadata(path).ok().filter(|meta| meta.file_type().is_block_device())?.rdev();
        Some(Self::Device(rustix::fs::major(device), rustix::fs::minor(device)))
    }

    /// Whether it is a part of a file system that lies on a device. btrfs hides its own.
    pub fn is_on_device(&self) -> bool {
        match self {
            Self::Part(part) => part.is_on_device(),
            Self::Device(..) => false,
        }
    }

    /// Whether `other` is the same, or a part of it.
    pub fn holds(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Part(own), Self::Part(other)) => own.holds(other),
            (Self::Device(..), Self::Device(..)) => self == other,
            (Self::Part(_), Self::Device(..)) | (Self::Device(..), Self::Part(_)) => false,
        }
    }
}

/// Whether a mount is of a file system that device nodes lie on, and that always answers.
pub(crate) fn is_of_nodes(mounted: &Mounted) -> bool {
    matches!(mounted.fs_type.as_str(), "devtmpfs" | "tmpfs")
}
