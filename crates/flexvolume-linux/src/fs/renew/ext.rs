//! ext3 and ext4: with checksums of metadata, which are sown with the UUID, the old seed is kept in the superblock.

use super::{
    claimed::{Claimed, Uuid, at, cannot, damaged, put},
    crc32c,
};
use crate::{
    Error, ErrorKind, Result,
    fs::{
        check::{self, Depth},
        device::Device,
        kind::FsType,
        signature::uuid_text,
        tool::{E2FSCK, TUNE2FS},
    },
};

/// Where the superblock begins and how long it is.
const PLACE: u64 = 1024;
const LENGTH: u64 = 1024;

/// Places within it, in bytes.
const FIRST_BLOCK: usize = 0x14;
const BLOCK_SIZE: usize = 0x18;
const GROUP_BLOCKS: usize = 0x20;
const MAGIC: usize = 0x38;
const GROUP: usize = 0x5a;
const COMPAT: usize = 0x5c;
const INCOMPAT: usize = 0x60;
const RO_COMPAT: usize = 0x64;
const UUID: usize = 0x68;
const JOURNAL_INODE: usize = 0xe0;
const BLOCKS_HIGH: usize = 0x150;
const CHECKSUM_TYPE: usize = 0x175;
const BACKUP_GROUPS: usize = 0x24c;
const SEED: usize = 0x270;
const CHECKSUM: usize = 0x3fc;

const HAS_JOURNAL: u32 = 0x4;
const SPARSE_SUPER2: u32 = 0x200;
/// Files are encrypted under keys that are made of the UUID.
const STABLE_INODES: u32 = 0x800;
const NEEDS_RECOVERY: u32 = 0x4;
const HAS_SEED: u32 = 0x2000;
const SPARSE_SUPER: u32 = 0x1;
/// The older checksums, of group descriptors alone.
const GROUP_CHECKSUM: u32 = 0x10;
const METADATA_CHECKSUM: u32 = 0x400;

pub(super) fn renew(device: &Device, fs_type: FsType, wanted: &Uuid) -> Result<Vec<String>> {
    let unlike = |why: &str| cannot(device, fs_type, why);
    let mut notes = Vec::new();
    let found = Super(device.read(PLACE, LENGTH)?);
    if found.uuid() != *wanted {
        if found.has(COMPAT, STABLE_INODES) {
            return Err(unlike("its encrypted files cannot be read under another"));
        }
        if found.has(COMPAT, HAS_JOURNAL) && found.number(JOURNAL_INODE) == 0 {
            return Err(unlike("its journal is on another device"));
        }
        // The journal holds older superblocks, which a replay would bring back.
        E2FSCK.find(&format!("renew the UUID on {}", device.path().display()))?;
        notes = check::repair(device, fs_type, Depth::Needed)?;
    }
    let claimed = Claimed::new(device)?;
    let mut primary = Super(claimed.read(PLACE, LENGTH)?);
    if !primary.is_whole() {
        return Err(damaged(device, fs_type, "the checksum of its superblock is wrong"));
    }
    if primary.uuid() != *wanted {
        if primary.has(INCOMPAT, NEEDS_RECOVERY) {
            return Err(damaged(device, fs_type, "its journal was not replayed"));
        }
        if primary.has(RO_COMPAT, GROUP_CHECKSUM) && !primary.has(RO_COMPAT, METADATA_CHECKSUM) {
            drop(claimed);
            return by_tune2fs(device, fs_type, wanted).map(|()| notes);
        }
        primary.sow(primary.seed(), wanted);
        claimed.write(PLACE, &primary.0)?;
        claimed.flush()?;
    }
    // A copy that differs would make the next check read the whole file system. The last call may have been cut off here.
    for (group, place) in primary.copies() {
        let mut copy = Super(claimed.read(place, LENGTH)?);
        if copy.0.len() == primary.0.len() && copy.is_copy(group) {
            copy.sow(primary.seed(), wanted);
            claimed.write(place, &copy.0)?;
        }
    }
    claimed.flush()?;
    Ok(notes)
}

/// Here every group descriptor changes with the UUID. Cut off, it leaves what the check before it puts in order: the
/// descriptors can be computed anew. (With checksums of all metadata it is another matter: those e2fsck does not mend
/// unasked.)
fn by_tune2fs(device: &Device, fs_type: FsType, wanted: &Uuid) -> Result<()> {
    let path = device.path().to_string_lossy();
    let purpose = format!("renew the UUID of {fs_type} on {path}");
    TUNE2FS.succeed(&purpose, &["-U", &uuid_text(wanted), &path], Some(device))?;
    device.sync()?;
    if Super(device.read(PLACE, LENGTH)?).uuid() == *wanted {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Io, format!("cannot {purpose}: tune2fs reported success, but it is the old one")))
}

/// A superblock or a copy of it.
struct Super(Vec<u8>);

impl Super {
    fn number(&self, place: usize) -> u32 {
        u32::from_le_bytes(at(&self.0, place))
    }

    fn has(&self, features: usize, one: u32) -> bool {
        self.number(features) & one != 0
    }

    fn uuid(&self) -> Uuid {
        at(&self.0, UUID)
    }

    fn checksum(&self) -> u32 {
        crc32c::bare(!0, &self.0[..CHECKSUM])
    }

    fn is_whole(&self) -> bool {
        let unsigned = !self.has(RO_COMPAT, METADATA_CHECKSUM);
        unsigned || self.0[CHECKSUM_TYPE] == 1 && self.number(CHECKSUM) == self.checksum()
    }

    /// The field for its group is too small for large file systems: mke2fs writes the largest number then, others the low bits.
    fn is_copy(&self, group: u64) -> bool {
        let written = u64::from(u16::from_le_bytes(at(&self.0, GROUP)));
        self.0[MAGIC..MAGIC + 2] == [0x53, 0xef]
            && [group & 0xffff, group.min(0xffff)].contains(&written)
            && self.is_whole()
    }

    /// What the checksums of metadata begin with: kept, or made of the UUID.
    fn seed(&self) -> u32 {
        if self.has(INCOMPAT, HAS_SEED) { self.number(SEED) } else { crc32c::bare(!0, &self.uuid()) }
    }

    fn sow(&mut self, seed: u32, uuid: &Uuid) {
        put(&mut self.0, UUID, uuid);
        if self.has(RO_COMPAT, METADATA_CHECKSUM) {
            let features = self.number(INCOMPAT) | HAS_SEED;
            put(&mut self.0, INCOMPAT, &features.to_le_bytes());
            put(&mut self.0, SEED, &seed.to_le_bytes());
            let checksum = self.checksum();
            put(&mut self.0, CHECKSUM, &checksum.to_le_bytes());
        }
    }

    /// The groups that hold a copy, and where it lies, in bytes.
    fn copies(&self) -> Vec<(u64, u64)> {
        let first = u64::from(self.number(FIRST_BLOCK));
        let size = 1024_u64.checked_shl(self.number(BLOCK_SIZE)).unwrap_or(0);
        let in_group = u64::from(self.number(GROUP_BLOCKS)).max(1);
        let blocks = u64::from(self.number(4)) | u64::from(self.number(BLOCKS_HIGH)) << 32;
        let groups = blocks.saturating_sub(first).div_ceil(in_group);
        let powers = |base: u64| std::iter::successors(Some(base), move |last| last.checked_mul(base));
        let mut list: Vec<u64> = if self.has(COMPAT, SPARSE_SUPER2) {
            vec![self.number(BACKUP_GROUPS).into(), self.number(BACKUP_GROUPS + 4).into()]
        } else if self.has(RO_COMPAT, SPARSE_SUPER) {
            let within = |base| powers(base).take_while(move |group| *group < groups);
            std::iter::once(1).chain(within(3)).chain(within(5)).chain(within(7)).collect()
        } else {
            (1..groups).collect()
        };
        list.retain(|group| (1..groups).contains(group));
        let place = |group: u64| group.checked_mul(in_group)?.checked_add(first)?.checked_mul(size);
        list.into_iter().filter_map(|group| Some((group, place(group)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(numbers: &[(usize, u32)]) -> Super {
        let mut bytes = vec![0; 1024];
        for (place, number) in numbers {
            put(&mut bytes, *place, &number.to_le_bytes());
        }
        Super(bytes)
    }

    #[test]
    fn copies_are_where_each_layout_has_them() {
        let small = [(4, 8193 + 9 * 8192), (FIRST_BLOCK, 1), (GROUP_BLOCKS, 8192)];
        let of = |more: &[(usize, u32)]| {
            with(&[&small, more].concat()).copies().iter().map(|copy| copy.0).collect::<Vec<_>>()
        };
        assert_eq!(of(&[(RO_COMPAT, SPARSE_SUPER)]), [1, 3, 9, 5, 7]);
        assert_eq!(of(&[]), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(of(&[(COMPAT, SPARSE_SUPER2), (BACKUP_GROUPS, 1), (BACKUP_GROUPS + 4, 9)]), [1, 9]);
        assert_eq!(of(&[(COMPAT, SPARSE_SUPER2), (BACKUP_GROUPS, 0), (BACKUP_GROUPS + 4, 99)]), [0; 0]);
        assert_eq!(with(&[&small[..], &[(RO_COMPAT, SPARSE_SUPER)]].concat()).copies()[0], (1, 8193 * 1024));
        let large = [(4, 0), (BLOCKS_HIGH, 1), (BLOCK_SIZE, 2), (GROUP_BLOCKS, 32768), (RO_COMPAT, SPARSE_SUPER)];
        assert!(with(&large).copies().contains(&(7, 7 * 32768 * 4096)));
    }

    #[test]
    fn no_superblock_makes_it_panic() {
        let odd = [(4, !0), (BLOCKS_HIGH, !0), (BLOCK_SIZE, !0), (GROUP_BLOCKS, !0), (RO_COMPAT, SPARSE_SUPER)];
        with(&odd).copies();
        with(&[(4, 5)]).copies();
    }

    #[test]
    fn the_seed_of_the_first_uuid_stays() {
        let mut sb = with(&[(RO_COMPAT, METADATA_CHECKSUM)]);
        put(&mut sb.0, UUID, &[7; 16]);
        let seed = crc32c::bare(!0, &[7; 16]);
        for uuid in [[8; 16], [9; 16]] {
            sb.sow(sb.seed(), &uuid);
            assert_eq!((sb.uuid(), sb.seed(), sb.has(INCOMPAT, HAS_SEED)), (uuid, seed, true));
        }
        sb.0[CHECKSUM_TYPE] = 1;
        assert!(!sb.is_whole(), "the type belongs to what is summed");
        sb.sow(seed, &[9; 16]);
        assert!(sb.is_whole());
        let mut plain = with(&[]);
        plain.sow(seed, &[9; 16]);
        assert!(plain.is_whole() && !plain.has(INCOMPAT, HAS_SEED) && plain.number(SEED) == 0);
    }
}
