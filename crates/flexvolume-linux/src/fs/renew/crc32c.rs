//! The checksum of all three file systems' superblocks: CRC-32 with Castagnoli's polynomial, low bit first.

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut value = n as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[n] = value;
        n += 1;
    }
    table
};

/// Without the inversion at the end, as ext4 has it. What is hashed in parts gives the answer of one part as `start` of
/// the next.
pub(super) fn bare(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |value, byte| TABLE[usize::from(value as u8 ^ byte)] ^ value >> 8)
}

/// With it, as XFS and Btrfs have it.
pub(super) fn whole(bytes: &[u8]) -> u32 {
    !bare(!0, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(whole(b"123456789"), 0xe306_9283);
        assert_eq!(whole(&[0; 32]), 0x8a91_36aa);
        assert_eq!(whole(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(bare(bare(!0, b"1234"), b"56789"), !0xe306_9283);
    }
}
