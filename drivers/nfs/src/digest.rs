//! Names made short, and still told apart.

/// 128 bits of FNV-1a in hex: tells names apart, proves nothing. Whoever goes by it compares the names as well.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let step =
        |hash: u128, byte: &u8| (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    format!("{:032x}", bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, step))
}
