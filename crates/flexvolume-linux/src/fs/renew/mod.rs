//! A new UUID for a file system whose twin, from which it was copied, may be mounted at this very moment.
//!
//! The programs made for it (`tune2fs -U`, `xfs_admin -U`, `btrfstune -M`) leave ruins if they are cut off, by a signal or
//! a power cut, that the same programs then refuse. So what decides is written here, in one piece: the superblock, which
//! is the UUID's only place in all three as soon as the old one goes on as the *seed* of checksums or the UUID *of the
//! metadata*, as each format provides for. Every step can be cut off and is taken up by the next call with the same UUID:
//!
//! ```text
//!  ext3, ext4   e2fsck -p ▶ superblock ▶ its copies
//!  xfs          replay the log ▶ copies ▶ superblock ▶ a new log
//!  btrfs        superblock ▶ its copies           (its log is replayed at the next mount, as ever)
//! ```

mod btrfs;
mod claimed;
mod crc32c;
mod ext;
mod xfs;

use std::path::Path;

use claimed::{Claimed, another};

use super::{
    device::Device,
    intent::{is_uuid, uuid_bytes},
    kind::FsType,
    probe::{Glance, glance},
};
use crate::{Error, ErrorKind, Result};

/// Gives the unmounted file system on `device` this UUID, whoever has its twin with the old one mounted. One that has it
/// already is left as it is, so a call that was cut off is made again, with the same UUID, until it succeeds. That has to
/// be before the first mount: a clone that was mounted under its new UUID must not come here again.
///
/// Answers with what a person should hear: what a check mended on the way.
///
/// # Errors
/// `Busy` if something uses the device or another call works on it. `Refused` if it does not hold one whole file system
/// of this type. `Corrupted` if it is damaged: nothing is renewed then. `Unsupported` for what cannot be renewed (more
/// than one device, a journal elsewhere, files encrypted under the UUID, Btrfs with other checksums than crc32c), or if a
/// program is not installed. `Invalid` if `uuid` is none.
pub fn renew_uuid(device: &Path, fs_type: FsType, uuid: &str) -> Result<Vec<String>> {
    let wanted = uuid_bytes(uuid).filter(|bytes| is_uuid(uuid) && *bytes != [0; 16]).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("cannot renew the UUID on {}: \"{uuid}\" is none", device.display()))
    })?;
    let device = Device::lock(device)?;
    drop(Claimed::new(&device)?);
    match glance(&device)? {
        Glance::Whole { name, .. } if name == fs_type.as_str() => {}
        Glance::Whole { name, .. } => return Err(another(&device, fs_type, name)),
        Glance::Nothing | Glance::Doubt => return Err(another(&device, fs_type, "nothing whole that is known")),
    }
    match fs_type {
        FsType::Ext3 | FsType::Ext4 => ext::renew(&device, fs_type, &wanted),
        FsType::Xfs => xfs::renew(&device, &wanted).map(|()| Vec::new()),
        FsType::Btrfs => btrfs::renew(&device, &wanted).map(|()| Vec::new()),
    }
}
