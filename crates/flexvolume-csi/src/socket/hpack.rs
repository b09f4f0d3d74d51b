//! The value of `:authority` in a block of headers made one that servers take, without a byte more or less.
//!
//! What is compressed (HPACK, RFC 7541) depends on all that went before, and both ends keep a table of it. But a value is put into that
//! table where it is written out, and counts there by its length: one of the same length in its place leaves every later block what
//! it means. So no table is kept here. In a value that is squeezed (Huffman), `.` has as many bits as `/`, and `-` as many as `%`.

/// The name as it is written out, plain and squeezed.
const PLAIN: &[u8] = b":authority";
const SQUEEZED: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];
/// The name as it is numbered in the table that never changes.
const NUMBER: usize = 1;

/// How many symbols have a code of 5 bits, of 6 and so on (RFC 7541, appendix B): codes of one length are consecutive numbers, so that
/// this is all it takes to see where each ends.
const CODES: [u32; 26] = [10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4];
const SHORTEST: usize = 5;
/// The codes of `/` and `.`, of `%` and `-`.
const SQUEEZED_SWAPS: [(u32, u32); 2] = [(0b01_1000, 0b01_0111), (0b01_0101, 0b01_0110)];
const SWAP: usize = 6;

/// Mends every `:authority` that is written out in a whole block. What breaks the rules is left to whoever reads it in earnest.
pub(crate) fn mend(block: &mut [u8]) {
    let mut block = Block { bytes: block, at: 0 };
    while block.field().is_some() {}
}

struct Block<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Block<'_> {
    /// Goes past one field; `None` at the end, or where it makes no sense.
    fn field(&mut self) -> Option<()> {
        let first = *self.bytes.get(self.at)?;
        // Section 6: indexed; literal and to be remembered; the size of the table; literal.
        match first.leading_zeros() {
            0 => return self.integer(7).map(drop),
            2 => return self.integer(5).map(drop),
            _ => {}
        }
        let is_authority = match self.integer(if first & 0x40 == 0 { 4 } else { 6 })? {
            0 => {
                let (name, squeezed) = self.string()?;
                *name == *(if squeezed { SQUEEZED } else { PLAIN })
            }
            number => number == NUMBER,
        };
        let (value, squeezed) = self.string()?;
        match (is_authority, squeezed) {
            (true, true) => mend_squeezed(value),
            (true, false) => mend_plain(value),
            (false, _) => {}
        }
        Some(())
    }

    /// A number whose first so many bits end the byte (section 5.1).
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let most = (1 << bits) - 1;
        let mut number = usize::from(*self.bytes.get(self.at)?) & most;
        self.at += 1;
        if number < most {
            return Some(number);
        }
        for shift in [0, 7, 14, 21] {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A text, and whether it is squeezed (section 5.2).
    fn string(&mut self) -> Option<(&mut [u8], bool)> {
        let squeezed = *self.bytes.get(self.at)? & 0x80 != 0;
        let length = self.integer(7)?;
        let begin = self.at;
        self.at = begin.checked_add(length)?;
        Some((self.bytes.get_mut(begin..self.at)?, squeezed))
    }
}

fn mend_plain(value: &mut [u8]) {
    for byte in value {
        match *byte {
            b'/' => *byte = b'.',
            b'%' => *byte = b'-',
            _ => {}
        }
    }
}

fn mend_squeezed(value: &mut [u8]) {
    let mut at = 0;
    while let Some((code, length)) = code(value, at) {
        if let Some((_, new)) = SQUEEZED_SWAPS.iter().find(|(old, _)| (length, *old) == (SWAP, code)) {
            (0..SWAP).for_each(|bit| set(value, at + bit, new >> (SWAP - 1 - bit) & 1));
        }
        at += length;
    }
}

/// The code that begins there and its length; `None` where only the padding is left.
fn code(value: &[u8], at: usize) -> Option<(u32, usize)> {
    let (mut code, mut first) = (0, 0);
    for length in 1..SHORTEST + CODES.len() {
        code = code << 1 | get(value, at + length - 1)?;
        first <<= 1;
        let count = length.checked_sub(SHORTEST).map_or(0, |nth| CODES[nth]);
        if code - first < count {
            return Some((code, length));
        }
        first += count;
    }
    None
}

fn get(value: &[u8], bit: usize) -> Option<u32> {
    value.get(bit / 8).map(|byte| u32::from(byte >> (7 - bit % 8) & 1))
}

fn set(value: &mut [u8], bit: usize, to: u32) {
    let mask = 0x80 >> (bit % 8);
    match to {
        0 => value[bit / 8] &= !mask,
        _ => value[bit / 8] |= mask,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(&two.iter().collect::<String>(), 16).unwrap()).collect()
    }

    #[test]
    fn the_codes_are_complete() {
        let room: u64 = CODES.iter().zip(SHORTEST..).map(|(count, length)| u64::from(*count) << (30 - length)).sum();
        assert_eq!((CODES.iter().sum::<u32>(), room), (257, 1 << 30));
    }

    #[test]
    fn paths_become_names_of_the_same_length() {
        for (what, block, wanted) in [
            // As encoders write them: the name by number or written out, the value plain or squeezed.
            ("plain, by number", "41 0d 2f72756e2f6373692e736f636b", "41 0d 2e72756e2e6373692e736f636b"),
            ("not to be remembered", "01 04 2f612f62", "01 04 2e612e62"),
            ("never to be remembered", "11 04 2f612f62", "11 04 2e612e62"),
            ("name written out", "40 0a 3a617574686f72697479 03 2532 46", "40 0a 3a617574686f72697479 03 2d32 46"),
            ("name squeezed", "40 88 b83b5339ec327d7f 02 2f61", "40 88 b83b5339ec327d7f 02 2e61"),
            ("squeezed", "41 8a 62cb6a608832e8393aff", "41 8a 5ecb6a5c8832e8393aff"),
            ("squeezed, %2F", "41 8d 54586cb6a545848832e8393aff", "41 8d 58586cb6a585848832e8393aff"),
            // After other fields: an indexed one, a size of the table of several bytes, a path that stays.
            ("after others", "86 3fe11f 44 02 2f61 41 02 2f61", "86 3fe11f 44 02 2f61 41 02 2e61"),
            ("long number", "41 7f 01 ", "41 7f 01"),
            ("another name", "42 02 2f61 40 01 61 02 2f61", "42 02 2f61 40 01 61 02 2f61"),
            ("one that is right", "41 09 6c6f63616c686f7374", "41 09 6c6f63616c686f7374"),
            ("cut off", "41 0d 2f72", "41 0d 2f72"),
            ("no end of a number", "41 7f ffffffffffffffff", "41 7f ffffffffffffffff"),
        ] {
            let (mut mended, wanted) = (bytes(block), bytes(wanted));
            mend(&mut mended);
            assert_eq!(mended, wanted, "{what}");
        }
    }

    proptest! {
        #[test]
        fn nothing_else_changes_and_nothing_breaks(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut mended = block.clone();
            mend(&mut mended);
            let mut again = mended.clone();
            mend(&mut again);
            prop_assert_eq!(again, mended);
        }
    }
}
