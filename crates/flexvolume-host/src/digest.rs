//! Digests, for names that must not meet and rows that must not change unseen.

use sha2::{Digest, Sha256};

/// The first `digits` hexadecimal digits of the SHA-256 of `bytes`.
pub(crate) fn hex(bytes: &[u8], digits: usize) -> String {
    Sha256::digest(bytes).iter().flat_map(|byte| [byte >> 4, byte & 15]).take(digits).map(digit).collect()
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_digest() {
        assert_eq!(super::hex(b"abc", 8), "ba7816bf");
    }
}
