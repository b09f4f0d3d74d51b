//! XFS: the old UUID stays that of the metadata. But each record of the log carries the new one, so there has to be a new
//! log, and making one cannot be done in one piece.
//!
//! The superblock decides what the log is worth. While it carries the old UUID, the log is the old one and is replayed, by
//! mounting it where nobody sees it. Once it carries the new one, everything that was in the log is in its place, and
//! whatever a call that was cut off left of the log may go.

use super::{
    claimed::{Claimed, Uuid, at, cannot, damaged, put},
    crc32c,
};
use crate::{
    Error, Result,
    fs::{
        device::Device,
        kind::FsType,
        signature::uuid_text,
        tool::{XFS_ADMIN, XFS_REPAIR},
    },
    mount::{Flags, FsMount, Tree},
};

/// Places within the superblock, in bytes; numbers have their high byte first.
const BLOCK_SIZE: usize = 4;
const UUID: usize = 32;
const LOG_START: usize = 48;
const GROUP_BLOCKS: usize = 84;
const GROUPS: usize = 88;
const VERSION: usize = 100;
const SECTOR: usize = 102;
const INCOMPAT: usize = 216;
const CHECKSUM: usize = 224;
const METADATA_UUID: usize = 248;

const HAS_METADATA_UUID: u32 = 1 << 2;
/// The first version with checksums, and with the UUID in the metadata.
const SUMMED: u16 = 5;

pub(super) fn renew(device: &Device, wanted: &Uuid) -> Result<()> {
    // Before anything is changed.
    let purpose = format!("renew the UUID of xfs on {}", device.path().display());
    XFS_ADMIN.find(&purpose)?;
    XFS_REPAIR.find(&purpose)?;
    let found = Super::read(device, 0)?;
    found.can_be_renewed(device)?;
    if found.uuid() != *wanted {
        replay(device)?;
        rename(device, wanted)?;
    }
    new_log(device, &purpose, wanted)?;
    device.sync()
}

/// Mounted and unmounted where nobody sees it.
fn replay(device: &Device) -> Result<()> {
    let source = device.path().to_string_lossy();
    let options = [("nouuid".to_owned(), None)];
    let flags = Flags { noexec: true, ..Flags::default() };
    drop(Tree::new(&FsMount { fs_type: "xfs", source: Some(&source), options: &options, flags })?);
    // It is gone as soon as the kernel has let go of it.
    Claimed::new(device).map(drop)
}

/// What the kernel says of a log that is not of this file system, or half made.
fn is_of_the_log(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EUCLEAN | libc::EINVAL))
}

/// The copies first: a repair goes by what most of them say.
fn rename(device: &Device, wanted: &Uuid) -> Result<()> {
    let claimed = Claimed::new(device)?;
    let mut primary = Super::read(device, 0)?;
    // A replay may have changed it.
    primary.can_be_renewed(device)?;
    let metadata = primary.metadata_uuid();
    for group in 1..u64::from(primary.number(GROUPS)) {
        let place = group * u64::from(primary.number(GROUP_BLOCKS)) * u64::from(primary.number(BLOCK_SIZE));
        let mut copy = Super::read(device, place)?;
        if copy.0.len() == primary.0.len() && copy.is_whole() {
            copy.rename(&metadata, wanted);
            claimed.write(place, &copy.0)?;
        }
    }
    claimed.flush()?;
    primary.rename(&metadata, wanted);
    claimed.write(0, &primary.0)?;
    claimed.flush()
}

/// `xfs_admin` makes one quickly if what is there can be read as a log, whose ever it is, and is not dirty. If it was cut
/// off in that, only a repair does. Nothing of value is in the log by now; what the kernel can still read is replayed all
/// the same.
fn new_log(device: &Device, purpose: &str, wanted: &Uuid) -> Result<()> {
    let path = device.path().to_string_lossy();
    let uuid = uuid_text(wanted);
    // It ends with status 0 also if it could not: what it says in the end tells.
    let quick = || -> Result<bool> {
        let ended = XFS_ADMIN.succeed(purpose, &["-U", &uuid, &path], Some(device))?;
        Ok(ended.stdout.contains(&format!("new UUID = {uuid}")))
    };
    if quick()? && replay(device).is_ok() {
        return Ok(());
    }
    match replay(device) {
        Ok(()) if quick()? => return replay(device),
        Ok(()) => {}
        Err(error) if is_of_the_log(&error) => {}
        Err(error) => return Err(error),
    }
    XFS_REPAIR.succeed(purpose, &["-L", &path], Some(device))?;
    if Super::read(device, 0)?.uuid() != *wanted {
        return Err(damaged(device, FsType::Xfs, "xfs_repair brought the old one back"));
    }
    replay(device)
}

/// A superblock or a copy of it.
struct Super(Vec<u8>);

impl Super {
    fn read(device: &Device, place: u64) -> Result<Self> {
        let head = device.read(place, 512)?;
        if head.len() < 512 || !head.starts_with(b"XFSB") {
            return Err(damaged(device, FsType::Xfs, &format!("no superblock is at byte {place}")));
        }
        let sector = u64::from(u16::from_be_bytes(at(&head, SECTOR)));
        if !sector.is_power_of_two() || !(512..=4096).contains(&sector) {
            return Err(cannot(device, FsType::Xfs, &format!("its sectors have {sector} bytes")));
        }
        Ok(Self(device.read(place, sector)?))
    }

    fn number(&self, place: usize) -> u32 {
        u32::from_be_bytes(at(&self.0, place))
    }

    fn uuid(&self) -> Uuid {
        at(&self.0, UUID)
    }

    fn is_summed(&self) -> bool {
        u16::from_be_bytes(at(&self.0, VERSION)) & 0xf >= SUMMED
    }

    fn is_whole(&self) -> bool {
        !self.is_summed() || u32::from_le_bytes(at(&self.0, CHECKSUM)) == self.checksum()
    }

    /// Over the sector as if the checksum were zero.
    fn checksum(&self) -> u32 {
        let mut bytes = self.0.clone();
        put(&mut bytes, CHECKSUM, &[0; 4]);
        crc32c::whole(&bytes)
    }

    fn can_be_renewed(&self, device: &Device) -> Result<()> {
        if !self.is_whole() {
            return Err(damaged(device, FsType::Xfs, "the checksum of its superblock is wrong"));
        }
        if u64::from_be_bytes(at(&self.0, LOG_START)) == 0 {
            return Err(cannot(device, FsType::Xfs, "its log is on another device"));
        }
        Ok(())
    }

    fn metadata_uuid(&self) -> Uuid {
        if self.number(INCOMPAT) & HAS_METADATA_UUID == 0 { self.uuid() } else { at(&self.0, METADATA_UUID) }
    }

    fn rename(&mut self, metadata: &Uuid, wanted: &Uuid) {
        put(&mut self.0, UUID, wanted);
        if self.is_summed() {
            let features = self.number(INCOMPAT) | HAS_METADATA_UUID;
            put(&mut self.0, INCOMPAT, &features.to_be_bytes());
            put(&mut self.0, METADATA_UUID, metadata);
            let checksum = self.checksum();
            put(&mut self.0, CHECKSUM, &checksum.to_le_bytes());
        }
    }
}
