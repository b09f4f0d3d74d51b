//! Every string of a few hostile symbols, for whatever takes a name or a path.
//!
//! ```
//! use flexvolume_testkit::hostile;
//! assert!(hostile::texts(3).any(|text| text == "../"));
//! assert!(hostile::strings(2).any(|bytes| bytes == b"/\xff"));
//! ```

use std::ffi::OsString;
use std::fs;

/// What leads elsewhere, ends a string, is taken for something else, or is quite harmless.
pub const SYMBOLS: [&[u8]; 14] =
    [b".", b"..", b"/", b"~", b"\0", b"\n", b" ", b"%", b"\\", b":", b"-", b"a", "\u{2215}".as_bytes(), b"\xff"];

/// All strings of at most so many symbols, the empty one first.
pub fn strings(longest: u32) -> impl Iterator<Item = Vec<u8>> {
    spelt(SYMBOLS.len(), longest)
}

/// Those that are text.
pub fn texts(longest: u32) -> impl Iterator<Item = String> {
    // The last symbol is the one that is no text.
    spelt(SYMBOLS.len() - 1, longest).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Those of one symbol, and about `count` of the longer ones, the same in each run.
pub fn sample(longest: u32, count: usize) -> Vec<Vec<u8>> {
    let (short, long): (Vec<_>, Vec<_>) = strings(longest).enumerate().partition(|(n, _)| *n <= SYMBOLS.len());
    // A step that shares no factor with the number of symbols meets each of them in each place.
    let step = (long.len() / count.max(1)).max(1) | 1;
    let step = if step.is_multiple_of(7) { step + 2 } else { step };
    short.into_iter().chain(long.into_iter().step_by(step)).map(|(_, bytes)| bytes).collect()
}

/// Whether a name is made of the symbols alone, so that it must be one of ours.
#[must_use]
pub fn is_hostile(name: &[u8]) -> bool {
    name.iter().all(|byte| SYMBOLS.iter().any(|symbol| symbol.contains(byte)))
}

/// What is in `/` and has such a name: where a path ends up that was to be relative. Others may come and go there.
///
/// # Panics
/// `/` cannot be read.
#[must_use]
pub fn at_the_root() -> Vec<OsString> {
    let names = fs::read_dir("/").expect("the root can be read").flatten().map(|entry| entry.file_name());
    names.filter(|name| is_hostile(name.as_encoded_bytes())).collect()
}

fn spelt(symbols: usize, longest: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..=longest).flat_map(move |length| {
        (0..symbols.pow(length)).map(move |number| {
            let digits = (0..length).map(|place| number / symbols.pow(place) % symbols);
            digits.flat_map(|digit| SYMBOLS[digit].iter().copied()).collect()
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_are_there() {
        let count = |symbols: usize| (0..=4).map(|length| symbols.pow(length)).sum::<usize>();
        assert_eq!((strings(4).count(), texts(4).count()), (count(14), count(13)));
        let all: BTreeSet<_> = strings(4).collect();
        for one in [&b""[..], b"../../", b"/../a", b"a\0..", b"\xff/..", b"~/a", b"..%/", "\u{2215}..".as_bytes()] {
            assert!(all.contains(one), "{}", one.escape_ascii());
        }
    }

    #[test]
    fn names_of_ours_are_known() {
        assert!(strings(3).all(|one| is_hostile(&one)));
        assert!(!is_hostile(b"tmp") && at_the_root().is_empty());
    }

    #[test]
    fn a_sample_meets_every_symbol_in_every_place() {
        let sample = sample(4, 60);
        assert!((60..100).contains(&sample.len()), "{}", sample.len());
        for symbol in SYMBOLS {
            let shown = symbol.escape_ascii();
            assert!(sample.iter().any(|one| one == symbol), "{shown}");
            assert!(sample.iter().any(|one| one.len() > 3 && one.starts_with(symbol)), "{shown} before others");
            assert!(sample.iter().any(|one| one.len() > 3 && one.ends_with(symbol)), "{shown} behind others");
        }
    }
}
