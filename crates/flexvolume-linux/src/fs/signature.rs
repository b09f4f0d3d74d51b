//! Our own reading of superblocks, from bytes alone: the in-process half of the two probes that a format needs.

/// What some bytes at a known place say the device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    /// The name that blkid uses for it, where it has one.
    pub(super) name: &'static str,
    /// Lower-case UUID, empty if this probe reads none of it.
    pub(super) uuid: String,
    /// A file system whose mkfs has not finished.
    pub(super) in_progress: bool,
    /// A file system (as against a partition table, a container or swap).
    pub(super) filesystem: bool,
}

/// A window on a device: some bytes and where they lie.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) at: u64,
    pub(super) bytes: &'a [u8],
}

impl<'a> Window<'a> {
    /// `len` bytes at device offset `at`, if the window covers them.
    fn get(&self, at: u64, len: usize) -> Option<&'a [u8]> {
        let from = usize::try_from(at.checked_sub(self.at)?).ok()?;
        self.bytes.get(from..from.checked_add(len)?)
    }

    fn u32_le(&self, at: u64) -> Option<u32> {
        self.get(at, 4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn is(&self, at: u64, magic: &[u8]) -> bool {
        self.get(at, magic.len()) == Some(magic)
    }
}

/// Magics at a fixed offset from the start: offset, bytes, name, is it a file system.
const FIXED: &[(u64, &[u8], &str, bool)] = &[
    (0, b"LUKS\xba\xbe", "crypto_LUKS", false),
    (0x4000, b"SKUL\xba\xbe", "crypto_LUKS", false),
    (0x8000, b"SKUL\xba\xbe", "crypto_LUKS", false),
    (3, b"-FVE-FS-", "BitLocker", false),
    (3, b"NTFS    ", "ntfs", true),
    (3, b"EXFAT   ", "exfat", true),
    (54, b"FAT12   ", "vfat", true),
    (54, b"FAT16   ", "vfat", true),
    (82, b"FAT32   ", "vfat", true),
    (0, b"hsqs", "squashfs", true),
    (1024, b"\x10\x20\xf5\xf2", "f2fs", true),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs", true),
    (32769, b"CD001", "iso9660", true),
    (32768, b"JFS1", "jfs", true),
    (65536 + 52, b"ReIsEr", "reiserfs", true),
    (4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "bcache", false),
    (4096 + 24, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", "bcachefs", true),
    (0, b"\xfc\x4e\x2b\xa9", "linux_raid_member", false),
    (4096, b"\xfc\x4e\x2b\xa9", "linux_raid_member", false),
    (512, b"EFI PART", "gpt", false),
    (4096, b"EFI PART", "gpt", false),
];

/// Every signature that the first bytes (`head`, from offset 0) and the last bytes (`tail`) of a device of `size`
/// bytes hold. Never panics, whatever the bytes are.
pub(super) fn signatures(head: Window<'_>, tail: Window<'_>, size: u64) -> Vec<Signature> {
    let mut found = Vec::new();
    found.extend(ext(&head));
    found.extend(xfs(&head));
    found.extend(btrfs(&head));
    for &(at, magic, name, filesystem) in FIXED {
        if head.is(at, magic) {
            found.push(Signature { name, uuid: String::new(), in_progress: false, filesystem });
        }
    }
    if (0..4).any(|sector| head.is(sector * 512, b"LABELONE") && head.is(sector * 512 + 24, b"LVM2 001")) {
        found.push(other("LVM2_member"));
    }
    if swap(&head) {
        found.push(other("swap"));
    }
    if backup_gpt(&tail, size) {
        found.push(other("gpt"));
    }
    if raid_at_end(&tail, size) {
        found.push(other("linux_raid_member"));
    }
    // A boot sector's mark alone proves no partition table: FAT, NTFS and boot loaders carry it too.
    if found.is_empty() && dos_table(&head) {
        found.push(other("dos"));
    }
    found.dedup_by(|a, b| a.name == b.name && !a.filesystem);
    found
}

fn other(name: &'static str) -> Signature {
    Signature { name, uuid: String::new(), in_progress: false, filesystem: false }
}

fn filesystem(name: &'static str, uuid: &[u8], in_progress: bool) -> Signature {
    Signature { name, uuid: uuid_text(uuid), in_progress, filesystem: true }
}

/// The usual spelling of sixteen bytes of UUID.
pub(super) fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (n, byte) in bytes.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

/// ext2, ext3, ext4 and their external journals share a magic; the features tell them apart, as the kernel does.
fn ext(head: &Window<'_>) -> Option<Signature> {
    const SB: u64 = 1024;
    if !head.is(SB + 0x38, &[0x53, 0xef]) {
        return None;
    }
    let compat = head.u32_le(SB + 0x5c)?;
    let incompat = head.u32_le(SB + 0x60)?;
    let ro_compat = head.u32_le(SB + 0x64)?;
    let uuid = head.get(SB + 0x68, 16)?;
    let has_journal = compat & 0x4 != 0;
    let beyond_ext3 = incompat & !0x16 != 0 || ro_compat & !0x7 != 0;
    Some(if incompat & 0x8 != 0 {
        Signature { filesystem: false, ..filesystem("jbd", uuid, false) }
    } else if beyond_ext3 {
        filesystem("ext4", uuid, false)
    } else if has_journal {
        filesystem("ext3", uuid, false)
    } else {
        filesystem("ext2", uuid, false)
    })
}

/// mkfs.xfs writes the superblock first and clears `sb_inprogress` last.
fn xfs(head: &Window<'_>) -> Option<Signature> {
    if !head.is(0, b"XFSB") {
        return None;
    }
    let in_progress = *head.get(126, 1)?.first()? != 0;
    Some(filesystem("xfs", head.get(32, 16)?, in_progress))
}

/// mkfs.btrfs works under a temporary magic and writes the true one last.
fn btrfs(head: &Window<'_>) -> Option<Signature> {
    const SB: u64 = 65536;
    let magic = head.get(SB + 64, 8)?;
    let in_progress = match magic {
        b"_BHRfS_M" => false,
        b"!BHRfS_M" => true,
        _ => return None,
    };
    Some(filesystem("btrfs", head.get(SB + 32, 16)?, in_progress))
}

/// Swap and hibernation images end their first page with a mark; the page's size depends on the machine.
fn swap(head: &Window<'_>) -> bool {
    const MARKS: [&[u8; 10]; 4] = [b"SWAPSPACE2", b"SWAP-SPACE", b"S1SUSPEND\0", b"ULSUSPEND\0"];
    [4096, 8192, 16384, 32768, 65536].into_iter().any(|page| MARKS.iter().any(|mark| head.is(page - 10, *mark)))
}

/// A partition table keeps a copy in the last sector.
fn backup_gpt(tail: &Window<'_>, size: u64) -> bool {
    [512, 4096].into_iter().any(|sector| size.checked_sub(sector).is_some_and(|at| tail.is(at, b"EFI PART")))
}

/// RAID members of the formats 0.90 and 1.0 look like their content from the front; mounting one splits the mirror.
fn raid_at_end(tail: &Window<'_>, size: u64) -> bool {
    const MAGIC: &[u8] = b"\xfc\x4e\x2b\xa9";
    let old = (size & !0xffff).checked_sub(0x10000);
    let new = (size / 512).checked_sub(16).map(|sector| (sector & !7) * 512);
    [old, new].into_iter().flatten().any(|at| tail.is(at, MAGIC))
}

/// A DOS partition table: the mark, legal boot flags and at least one entry.
fn dos_table(head: &Window<'_>) -> bool {
    let Some(entries) = head.get(446, 64) else { return false };
    head.is(510, &[0x55, 0xaa])
        && entries.chunks_exact(16).all(|entry| matches!(entry.first(), Some(0 | 0x80)))
        && entries.chunks_exact(16).any(|entry| entry.get(4).is_some_and(|kind| *kind != 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(head: &[u8], tail: &[u8], size: u64) -> Vec<Signature> {
        let at = size.saturating_sub(tail.len() as u64);
        signatures(Window { at: 0, bytes: head }, Window { at, bytes: tail }, size)
    }

    #[test]
    fn silence_about_nothing() {
        assert_eq!(of(&[], &[], 0), vec![]);
        assert_eq!(of(&vec![0; 1 << 20], &vec![0; 1 << 20], 1 << 30), vec![]);
    }

    #[test]
    fn states_of_an_unfinished_mkfs() {
        let mut head = vec![0; 1 << 17];
        head[..4].copy_from_slice(b"XFSB");
        head[126] = 1;
        let found = of(&head, &[], 1 << 30);
        assert_eq!((found.len(), found[0].name, found[0].in_progress), (1, "xfs", true));
        head[126] = 0;
        assert!(!of(&head, &[], 1 << 30)[0].in_progress);

        let mut head = vec![0; 1 << 17];
        head[65536 + 64..65536 + 72].copy_from_slice(b"!BHRfS_M");
        head[65536 + 32] = 0xab;
        let found = of(&head, &[], 1 << 30);
        assert!(found[0].in_progress);
        assert_eq!(found[0].uuid, "ab000000-0000-0000-0000-000000000000");
    }

    #[test]
    fn the_ends_of_a_device_count() {
        let size = 64 << 20;
        let mut tail = vec![0; 1 << 18];
        let last = tail.len() - 512;
        tail[last..last + 8].copy_from_slice(b"EFI PART");
        assert_eq!(of(&[], &tail, size)[0].name, "gpt");
        let mut tail = vec![0; 1 << 18];
        let sb = tail.len() - 0x10000;
        tail[sb..sb + 4].copy_from_slice(b"\xfc\x4e\x2b\xa9");
        assert_eq!(of(&[], &tail, size)[0].name, "linux_raid_member");
    }

    /// Bytes that are mostly nothing, with magics thrown at places where they mean something or nearly so.
    fn devices() -> impl Strategy<Value = Vec<u8>> {
        let magics = FIXED.iter().map(|row| (row.0, row.1.to_vec())).chain([
            (1024 + 0x38, vec![0x53, 0xef]),
            (0, b"XFSB".to_vec()),
            (65536 + 64, b"!BHRfS_M".to_vec()),
            (4086, b"SWAPSPACE2".to_vec()),
            (512, b"LABELONE".to_vec()),
            (510, vec![0x55, 0xaa]),
        ]);
        let magics: Vec<_> = magics.collect();
        (0_usize..140_000, prop::collection::vec((prop::sample::select(magics), -2_i64..3), 0..4), any::<u8>())
            .prop_map(|(len, writes, fill)| {
                let mut bytes = vec![if fill < 200 { 0 } else { fill }; len];
                for ((at, magic), shift) in writes {
                    for (n, byte) in magic.iter().enumerate() {
                        let place = usize::try_from(at.cast_signed() + shift).unwrap_or(0) + n;
                        if let Some(slot) = bytes.get_mut(place) {
                            *slot = *byte;
                        }
                    }
                }
                bytes
            })
    }

    proptest! {
        #[test]
        fn never_panics(head in devices(), tail in prop::collection::vec(any::<u8>(), 0..4096), size in any::<u64>()) {
            let _ = of(&head, &tail, size);
            let _ = of(&head, &head, head.len() as u64);
        }

        #[test]
        fn never_panics_on_noise(head in prop::collection::vec(any::<u8>(), 0..70_000), size in any::<u64>(), at in any::<u64>()) {
            let window = Window { at, bytes: &head };
            let _ = signatures(Window { at: 0, bytes: &head }, window, size);
            let _ = signatures(window, window, size);
        }
    }
}
