//! Sizes as the classic LVM driver's options spell them.

use std::{fmt, str::FromStr};

use flexvolume_protocol::{Bytes, Code};

use crate::Failure;

/// A size above zero, in bytes.
///
/// Written as LVM's tools take it: a whole number and one letter, large or small, `b` bytes, `s` sectors of 512 bytes,
/// `k`, `m`, `g`, `t`, `p`, `e` powers of 1024; `1000m` is 1000 MiB. **A number alone is MiB**, LVM's own default, and
/// not bytes. `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei` as in Kubernetes mean the same as their letter alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// A size was refused; says what it was and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; write a whole number and a unit, for example 500m or 10Gi (a number alone is MiB)")]
pub struct SizeError {
    why: &'static str,
}

const UNITS: [(char, u64); 8] = [
    ('b', 1),
    ('s', 512),
    ('k', 1 << 10),
    ('m', 1 << 20),
    ('g', 1 << 30),
    ('t', 1 << 40),
    ('p', 1 << 50),
    ('e', 1 << 60),
];

impl Size {
    /// A size of that many bytes; `None` for zero.
    pub fn from_bytes(bytes: u64) -> Option<Self> {
        (bytes > 0).then_some(Self(bytes))
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let refuse = |why| Err(SizeError { why });
        let text = text.trim();
        if text.is_empty() {
            return refuse("no size is given");
        }
        if text.starts_with('-') {
            return refuse("a size cannot be negative");
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return refuse("a size must begin with a number");
        }
        let mut letters = unit.chars();
        let letter = letters.next().unwrap_or('m').to_ascii_lowercase();
        let known = UNITS.iter().find(|(name, _)| *name == letter);
        let binary = matches!((letter, letters.as_str()), ('k' | 'm' | 'g' | 't' | 'p' | 'e', "i"));
        let Some((_, factor)) = known.filter(|_| letters.as_str().is_empty() || binary) else {
            return refuse("its unit is none of b, s, k, m, g, t, p, e, Ki, Mi, Gi, Ti, Pi, Ei");
        };
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor)) {
            // What a file, a device and the kernel's signed offsets can hold.
            Some(bytes) if i64::try_from(bytes).is_err() => refuse("the size is beyond 8 EiB"),
            Some(0) => refuse("a size cannot be zero"),
            Some(bytes) => Ok(Self(bytes)),
            None => refuse("the size is beyond 8 EiB"),
        }
    }
}

/// In the largest unit that divides it: `1000m`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (letter, factor) =
            UNITS.into_iter().rfind(|(_, factor)| self.0.is_multiple_of(*factor)).unwrap_or(('b', 1));
        write!(f, "{}{letter}", self.0 / factor)
    }
}

impl From<Size> for Bytes {
    fn from(size: Size) -> Self {
        Self(size.0)
    }
}

impl From<SizeError> for Failure {
    fn from(error: SizeError) -> Self {
        Self::new(Code::Invalid, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_lvm_reads() {
        let rows = [
            ("1000m", 1000 << 20),
            ("1000M", 1000 << 20),
            ("7", 7 << 20),
            ("1b", 1),
            ("3s", 1536),
            ("4k", 4096),
            ("2G", 2 << 30),
            ("1t", 1 << 40),
            ("1Ki", 1 << 10),
            ("10Gi", 10 << 30),
            (" 5mi ", 5 << 20),
            ("7e", 7 << 60),
        ];
        for (text, bytes) in rows {
            assert_eq!(text.parse::<Size>().unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn refuses_in_words() {
        let rows = [
            ("", "no size"),
            ("0", "zero"),
            ("0g", "zero"),
            ("-1m", "negative"),
            ("m", "begin with a number"),
            ("1.5g", "unit"),
            ("1x", "unit"),
            ("1bi", "unit"),
            ("1mb", "unit"),
            ("1 m", "unit"),
            ("8e", "8 EiB"),
            ("16e", "8 EiB"),
            ("99999999999999999999", "8 EiB"),
        ];
        for (text, word) in rows {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("500m"), "{text}: {error}");
        }
    }

    #[test]
    fn shows_the_largest_unit_that_divides() {
        for text in ["1000m", "3s", "1b", "1025k", "2g", "7e", "513b"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }
}
