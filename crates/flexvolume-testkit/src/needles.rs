//! Looks for a secret in bytes, in whatever spelling a program gave it: "it is nowhere" is one question, with one answer that is itself tested.
//!
//! ```
//! use flexvolume_testkit::needles::Needles;
//! let needles = Needles::of(b"correct horse battery");
//! assert!(needles.find(b"Authorization: Basic dTpjb3JyZWN0IGhvcnNlIGJhdHRlcnk=").is_some());
//! assert!(needles.find(b"+ mount -o pass=[redacted]").is_none());
//! ```
//!
//! A long secret need not be there whole: [`PIECE`] bytes in a row of any spelling are a sighting, so one that was cut, wrapped
//! or half redacted is seen. A secret of one or two bytes is in every text; of those nothing can be said.

mod spell;

use std::collections::HashMap;

pub use spell::{Spelling, spellings};

/// So many bytes in a row of a spelling are enough; a shorter spelling counts whole.
pub const PIECE: usize = 16;

/// The shortest spelling that is looked for. The raw secret may have one byte less.
const SHORTEST: usize = BEGIN + 1;

/// As many bytes decide whether to look closer.
const BEGIN: usize = 3;

/// The shortest line of a secret that is a secret by itself.
const LONG_LINE: usize = 8;

/// A piece of so few different bytes (blanks, marks of what is no text) says nothing.
const VARIED: usize = 5;

/// What is looked for.
pub struct Needles {
    pieces: HashMap<[u8; PIECE], &'static str>,
    whole: Vec<(Vec<u8>, &'static str)>,
    /// Which beginnings occur at all, by a number of their first three bytes: most positions are done with this.
    begins: Vec<bool>,
}

/// Where a secret was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The spelling.
    pub spelling: &'static str,
    /// Where it begins.
    pub at: usize,
    /// What is there and around, for a person.
    pub shown: String,
}

impl Needles {
    /// The secret raw, trimmed and by its long lines, each in all [`spellings`].
    #[must_use]
    pub fn of(secret: &[u8]) -> Needles {
        let mut needles = Needles { pieces: HashMap::new(), whole: Vec::new(), begins: vec![false; 1 << 22] };
        for part in parts(secret) {
            for spelling in spellings(part) {
                let least = if spelling.name == spell::RAW { SHORTEST - 1 } else { SHORTEST };
                needles.learn(spelling.sure(), spelling.name, least);
            }
        }
        needles
    }

    fn learn(&mut self, text: &[u8], name: &'static str, least: usize) {
        if (least..PIECE).contains(&text.len()) {
            self.begins[number(text)] = true;
            self.whole.push((text.to_vec(), name));
        }
        for piece in text.windows(PIECE).filter(|piece| is_varied(piece)) {
            if let Some(piece) = piece.first_chunk() {
                self.begins[number(piece)] = true;
                self.pieces.entry(*piece).or_insert(name);
            }
        }
    }

    /// The first sighting.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> Option<Sighting> {
        for (at, begin) in text.windows(BEGIN).enumerate() {
            if self.begins[number(begin)] {
                let rest = &text[at..];
                let piece = rest.first_chunk().and_then(|piece| self.pieces.get(piece)).copied();
                let whole = || self.whole.iter().find(|(whole, _)| rest.starts_with(whole)).map(|(_, name)| *name);
                if let Some(spelling) = piece.or_else(whole) {
                    return Some(Sighting { spelling, at, shown: shown(text, at) });
                }
            }
        }
        None
    }
}

/// The secret itself, without blanks at its ends, and each of its long lines.
fn parts(secret: &[u8]) -> Vec<&[u8]> {
    let lines = secret.split(|b| *b == b'\n').filter(|line| line.len() >= LONG_LINE);
    let mut parts: Vec<&[u8]> = [secret, secret.trim_ascii()].into_iter().chain(lines).collect();
    parts.sort_unstable();
    parts.dedup();
    parts
}

fn is_varied(piece: &[u8]) -> bool {
    let mut seen = [0; VARIED];
    let mut count = 0;
    for byte in piece {
        if !seen[..count].contains(byte) {
            seen[count] = *byte;
            count += 1;
            if count == VARIED {
                return true;
            }
        }
    }
    false
}

fn number(begin: &[u8]) -> usize {
    let [a, b, c] = [0, 1, 2].map(|n| usize::from(begin[n]));
    (a << 14 ^ b << 7 ^ c) & ((1 << 22) - 1)
}

fn shown(text: &[u8], at: usize) -> String {
    let around = &text[at.saturating_sub(40)..(at + 60).min(text.len())];
    around.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const SECRET: &[u8] = b"Zq8 \"quoted\" \\back $HOME 'and' %41 <tag> & \xc3\xbcmlaut";

    fn seen(secret: &[u8], text: &[u8]) -> Option<&'static str> {
        Needles::of(secret).find(text).map(|sighting| sighting.spelling)
    }

    /// What other programs make of the secret, not we.
    fn by_tool(script: &str) -> Vec<u8> {
        let output =
            Command::new("bash").args(["-c", script]).arg("bash").arg(std::str::from_utf8(SECRET).unwrap()).output();
        let output = output.unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{script}: {output:?}");
        output.stdout
    }

    #[test]
    fn what_the_usual_tools_print_is_seen() {
        for script in [
            r#"printf '%s' "$1""#,
            r#"printf '%s' "$1" | base64 -w0"#,
            r#"printf '%s' "$1" | base64 -w64"#,
            r#"printf '%s\n' "$1" | base64"#,
            r#"printf 'u%s@host' "$1" | base64 -w0"#,
            r#"printf 'us%s' "$1" | base64 -w0 | tr '+/' '-_' | tr -d '='"#,
            r#"printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n'"#,
            r#"printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n' | tr a-f A-F"#,
            r#"printf '%s' "$1" | od -An -v -tx1 | tr -d '\n' | sed 's/ /%/g'"#,
            r#"printf '%s' "$1" | od -An -v -to1 | tr -d '\n' | sed 's/ /\\/g'"#,
            r#"printf '%q' "$1""#,
            r#"LC_ALL=C; printf '%q' "$1""#,
            r#"set -x; : "$1" 2>&1; echo pass="$1" >&2; echo "$1""#,
            r#"exec 2>&1; set -x; : "$1""#,
            r#"declare -p BASH_ARGV 2>/dev/null; x=$1; declare -p x"#,
        ] {
            assert!(seen(SECRET, &by_tool(script)).is_some(), "{script}");
        }
    }

    #[test]
    fn every_spelling_is_seen_and_so_is_its_half() {
        let long: Vec<u8> = (0..4096_u32).map(|n| b'!' + (n * n % 89) as u8).collect();
        for secret in
            [SECRET, &long, b"\x00\xff\xfebinary\x80 key\x01 of\xc3 bytes", b"first line of it\nsecond line of it\n"]
        {
            let needles = Needles::of(secret);
            for spelling in spellings(secret) {
                let text = [b"before ", &spelling.printed[..], b" after"].concat();
                assert!(needles.find(&text).is_some(), "{}", spelling.name);
                let half = &spelling.printed[..spelling.printed.len() / 2];
                assert!(half.len() < 2 * PIECE || needles.find(half).is_some(), "half of {}", spelling.name);
            }
        }
    }

    #[test]
    fn lines_and_blanks_at_the_ends_do_not_hide_it() {
        assert!(seen(b"  hunter22\n", b"got hunter22!").is_some());
        assert!(seen(b"line one of it\nline two of it\n", b"at: line two of it").is_some());
        assert_eq!(seen(b"q#7", b"the pin is q#7"), Some(spell::RAW));
        assert!(seen(b"q#7", b"the pin is cSM3").is_some());
    }

    #[test]
    fn other_text_is_none() {
        let needles = Needles::of(SECRET);
        let other = b"Zq8 [redacted] \\ $HOME 'and' %4 <tag> & umlaut; kubernetes.io/secret/password U0VDUkVU 5a71";
        assert_eq!(needles.find(other), None);
        assert_eq!(needles.find(b""), None);
        assert_eq!(seen(b"binary\xff\xff\xff\xff\xff\xff\xff\xff", "\u{fffd}".repeat(40).as_bytes()), None);
    }
}
