//! How a volume shall be used: CSI's `VolumeCapability` as a type that cannot hold a bad one, and whether a driver can serve it.

use flexvolume_protocol::{Extension, excerpt};
use tonic::Status;

use super::{capability::Offer, flags::Flags, limits};
use crate::{
    status,
    wire::csi::{VolumeCapability, volume_capability as csi},
};

/// How a volume shall be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// As what.
    pub(crate) kind: Kind,
    /// By whom.
    pub(crate) mode: Mode,
}

/// As what a volume shall be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As a device.
    Block,
    /// As a directory.
    Mount {
        /// Type of the file system; empty leaves it to the driver, or to us.
        fs_type: String,
        /// How it is mounted.
        flags: Flags,
    },
}

/// By whom a volume shall be used at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One node, which writes. How many there do is not said.
    SingleNodeWriter,
    /// One node, which only reads.
    SingleNodeReader,
    /// Many nodes, which only read.
    MultiNodeReader,
    /// Many nodes, of which one writes.
    MultiNodeSingleWriter,
    /// Many nodes, which all write.
    MultiNodeMultiWriter,
    /// One user on one node, which writes.
    SingleNodeSingleWriter,
    /// Many users on one node, which write.
    SingleNodeMultiWriter,
}

/// The type of file system that all uses name, if they name one and the same.
pub(crate) fn one_fs_type(uses: &[Access]) -> Option<&str> {
    let mut named = uses.iter().map(|access| match &access.kind {
        Kind::Block => "",
        Kind::Mount { fs_type, .. } => fs_type.as_str(),
    });
    let first = named.next().filter(|fs_type| !fs_type.is_empty())?;
    named.all(|other| other == first).then_some(first)
}

impl Access {
    /// Reads what a request asks for.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: something is missing, unknown, or not ours to serve.
    pub(crate) fn of(capability: Option<&VolumeCapability>) -> Result<Self, Status> {
        let capability = capability.ok_or_else(|| status::missing("volume_capability"))?;
        let mode = capability.access_mode.ok_or_else(|| status::missing("access_mode"))?.mode;
        let mode = csi::access_mode::Mode::try_from(mode).map_err(|_| unknown_mode())?;
        let kind = match capability.access_type.as_ref() {
            None => return Err(status::missing("access_type")),
            Some(csi::AccessType::Block(csi::BlockVolume {})) => Kind::Block,
            Some(csi::AccessType::Mount(mount)) => Kind::of(mount)?,
        };
        Ok(Self { kind, mode: Mode::of(mode)? })
    }

    /// Reads all that a request asks for; it must be something.
    ///
    /// # Errors
    /// As [`Access::of`].
    pub(crate) fn all(capabilities: &[VolumeCapability]) -> Result<Vec<Self>, Status> {
        if capabilities.is_empty() {
            return Err(status::missing("volume_capabilities"));
        }
        capabilities.iter().map(|capability| Self::of(Some(capability))).collect()
    }

    /// Nobody writes.
    pub(crate) fn is_read_only(&self) -> bool {
        let by_flag = match &self.kind {
            Kind::Block => false,
            Kind::Mount { flags, .. } => flags.read_only,
        };
        by_flag || self.mode.is_read_only()
    }

    /// Whether a volume that is staged as a device, or with its file system mounted, can be used so: what is mounted may not be written
    /// to beneath its file system, and what is a device has no directory.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION`.
    pub(crate) fn must_be(&self, staged_as_device: bool) -> Result<(), Status> {
        match (&self.kind, staged_as_device) {
            (Kind::Block, true) | (Kind::Mount { .. }, false) => Ok(()),
            (Kind::Block, false) => {
                Err(status::refused("the volume is staged with its file system, and cannot be used as a device"))
            }
            (Kind::Mount { .. }, true) => {
                Err(status::refused("the volume is staged as a device, and cannot be used as a directory"))
            }
        }
    }

    /// Why no volume of this driver can be used so, if so.
    pub(crate) fn is_beyond(&self, offer: &Offer) -> Option<&'static str> {
        let has = |extension| offer.extensions.contains(&extension);
        match &self.kind {
            Kind::Block if !has(Extension::Block) => {
                return Some("the driver does not announce block, so its volumes cannot be used as devices");
            }
            // A file system on a device bears no second node while one of them writes: each would overwrite what the other wrote.
            Kind::Mount { .. } if has(Extension::Block) && self.mode.is_multi_node() && !self.mode.is_read_only() => {
                return Some(
                    "the driver's volumes are devices: a file system on one is for one node, or for reading alone",
                );
            }
            Kind::Block | Kind::Mount { .. } => {}
        }
        match self.mode.is_multi_node() && has(Extension::Local) {
            true => Some("the driver's volumes live on one node each, and cannot be used on several"),
            false => None,
        }
    }
}

impl Kind {
    fn of(mount: &csi::MountVolume) -> Result<Self, Status> {
        let csi::MountVolume { fs_type, mount_flags, volume_mount_group } = mount;
        if !volume_mount_group.is_empty() {
            return Err(status::invalid("volume_mount_group is not among our capabilities"));
        }
        self::fs_type(fs_type)?;
        Ok(Self::Mount { fs_type: fs_type.clone(), flags: Flags::of(mount_flags)? })
    }
}

/// Whether that can be the type of a file system; empty leaves it open. It becomes part of a program's name (mkfs.ext4).
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(crate) fn fs_type(text: &str) -> Result<(), Status> {
    limits::string("fs_type", text)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match !text.chars().all(is_plain) || text.starts_with(['.', '-']) {
        true => Err(status::invalid(format!("{:?} is no type of a file system", excerpt(text, 80)))),
        false => Ok(()),
    }
}

fn unknown_mode() -> Status {
    status::invalid("the access_mode is none that we know")
}

impl Mode {
    fn of(mode: csi::access_mode::Mode) -> Result<Self, Status> {
        use csi::access_mode::Mode as Csi;
        Ok(match mode {
            Csi::Unknown => return Err(unknown_mode()),
            Csi::SingleNodeWriter => Self::SingleNodeWriter,
            Csi::SingleNodeReaderOnly => Self::SingleNodeReader,
            Csi::MultiNodeReaderOnly => Self::MultiNodeReader,
            Csi::MultiNodeSingleWriter => Self::MultiNodeSingleWriter,
            Csi::MultiNodeMultiWriter => Self::MultiNodeMultiWriter,
            Csi::SingleNodeSingleWriter => Self::SingleNodeSingleWriter,
            Csi::SingleNodeMultiWriter => Self::SingleNodeMultiWriter,
        })
    }

    /// Nobody writes.
    pub(crate) fn is_read_only(self) -> bool {
        match self {
            Self::SingleNodeReader | Self::MultiNodeReader => true,
            Self::SingleNodeWriter
            | Self::MultiNodeSingleWriter
            | Self::MultiNodeMultiWriter
            | Self::SingleNodeSingleWriter
            | Self::SingleNodeMultiWriter => false,
        }
    }

    /// Several nodes have it at the same time.
    pub(crate) fn is_multi_node(self) -> bool {
        match self {
            Self::MultiNodeReader | Self::MultiNodeSingleWriter | Self::MultiNodeMultiWriter => true,
            Self::SingleNodeWriter
            | Self::SingleNodeReader
            | Self::SingleNodeSingleWriter
            | Self::SingleNodeMultiWriter => false,
        }
    }

    /// One user alone has it, so a second target on the node is refused.
    pub(crate) fn is_exclusive(self) -> bool {
        self == Self::SingleNodeSingleWriter
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
