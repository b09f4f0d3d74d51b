//! Btrfs: the old UUID stays that of the metadata, and the superblock alone carries the new one.
//!
//! No transaction is made, so a log tree that was not replayed yet still fits and is replayed at the next mount.

use super::{
    claimed::{Claimed, Uuid, at, cannot, damaged, put},
    crc32c,
};
use crate::{
    Result,
    fs::{device::Device, kind::FsType},
};

/// The superblock and its copies, and how long each is.
const PLACES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
const LENGTH: u64 = 4096;

/// Places within it, in bytes.
const SUMMED: usize = 32;
const FSID: usize = 32;
const OWN_PLACE: usize = 48;
const FLAGS: usize = 56;
const DEVICES: usize = 136;
const INCOMPAT: usize = 188;
const CHECKSUM_TYPE: usize = 196;
const DEVICE_SIZE: usize = 209;
const METADATA_UUID: usize = 571;

const HAS_METADATA_UUID: u64 = 1 << 10;
const ZONED: u64 = 1 << 12;
/// A change of the UUID by btrfstune has not finished, of either kind.
const CHANGING: u64 = 1 << 35 | 1 << 36;

pub(super) fn renew(device: &Device, wanted: &Uuid) -> Result<()> {
    let claimed = Claimed::new(device)?;
    let mut primary = Super(claimed.read(PLACES[0], LENGTH)?);
    primary.can_be_renewed(device)?;
    if primary.fsid() != *wanted {
        primary.rename(wanted);
        claimed.write(PLACES[0], &primary.0)?;
        claimed.flush()?;
    }
    // Always, for the last call may have been cut off here.
    let end = device.size().min(primary.number(DEVICE_SIZE));
    for place in PLACES.into_iter().skip(1).filter(|place| place + LENGTH <= end) {
        claimed.write(place, &primary.copy_at(place))?;
    }
    claimed.flush()
}

struct Super(Vec<u8>);

impl Super {
    fn number(&self, place: usize) -> u64 {
        u64::from_le_bytes(at(&self.0, place))
    }

    fn fsid(&self) -> Uuid {
        at(&self.0, FSID)
    }

    fn can_be_renewed(&self, device: &Device) -> Result<()> {
        let unlike = |why: &str| Err(cannot(device, FsType::Btrfs, why));
        if u16::from_le_bytes(at(&self.0, CHECKSUM_TYPE)) != 0 {
            return unlike("its checksums are of another kind than crc32c");
        }
        if u32::from_le_bytes(at(&self.0, 0)) != crc32c::whole(&self.0[SUMMED..]) {
            return Err(damaged(device, FsType::Btrfs, "the checksum of its superblock is wrong"));
        }
        if self.number(DEVICES) != 1 {
            return unlike("it spans more than one device");
        }
        if self.number(INCOMPAT) & ZONED != 0 {
            return unlike("it is on a zoned device");
        }
        if self.number(FLAGS) & CHANGING != 0 {
            return Err(damaged(device, FsType::Btrfs, "a btrfstune that changed it was cut off"));
        }
        Ok(())
    }

    fn rename(&mut self, wanted: &Uuid) {
        let features = self.number(INCOMPAT);
        if features & HAS_METADATA_UUID == 0 {
            let old = self.fsid();
            put(&mut self.0, METADATA_UUID, &old);
            put(&mut self.0, INCOMPAT, &(features | HAS_METADATA_UUID).to_le_bytes());
        }
        put(&mut self.0, FSID, wanted);
        sum(&mut self.0);
    }

    fn copy_at(&self, place: u64) -> Vec<u8> {
        let mut copy = self.0.clone();
        put(&mut copy, OWN_PLACE, &place.to_le_bytes());
        sum(&mut copy);
        copy
    }
}

fn sum(bytes: &mut [u8]) {
    let checksum = crc32c::whole(&bytes[SUMMED..]);
    put(bytes, 0, &checksum.to_le_bytes());
}
