//! The file systems we make and mount: a closed list, because a type named by a tenant must not pick a kernel driver.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// A file system we can make, check, mount and grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FsType {
    /// ext3, as asked for by old manifests; the kernel's ext4 driver serves it.
    Ext3,
    /// ext4, the default.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs on a single device.
    Btrfs,
}

impl FsType {
    /// Every type on the list.
    pub const ALL: [Self; 4] = [Self::Ext3, Self::Ext4, Self::Xfs, Self::Btrfs];

    /// Reads a type's name; nothing at all means ext4.
    ///
    /// # Errors
    /// `Unsupported` for a name that is not on the list.
    pub fn parse(name: &str) -> Result<Self> {
        if name.is_empty() {
            return Ok(Self::Ext4);
        }
        Self::ALL.into_iter().find(|one| one.as_str() == name).ok_or_else(|| {
            let shown: String = name.escape_debug().take(40).collect();
            Error::new(
                ErrorKind::Unsupported,
                format!("cannot use file system type \"{shown}\": it is not on the list"),
            )
            .with_hint("use one of ext4, ext3, xfs, btrfs, or leave fsType empty for ext4")
        })
    }

    /// The name that manifests, mkfs and mount use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

impl fmt::Display for FsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_ext4_and_strangers_are_refused() {
        assert_eq!(FsType::parse("").unwrap(), FsType::Ext4);
        for one in FsType::ALL {
            assert_eq!(FsType::parse(one.as_str()).unwrap(), one);
        }
        for bad in ["EXT4", "ext2", "vfat", "ext4 ", "../ext4", "fuse.x"] {
            assert_eq!(FsType::parse(bad).unwrap_err().kind(), ErrorKind::Unsupported, "{bad}");
        }
    }
}
