//! Takes secrets out of text before anybody sees it, in every spelling a driver is likely to print them in.

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::secret::Secrets;

/// Replaces secrets in text by `[redacted]`.
///
/// Redact first and bound the text after: a secret that lost its beginning is no longer found. One that lost its end is, if
/// the text ends there too. A secret of one to three bytes would be found in any text, so then [`Redactor::text`] withholds the
/// whole of it.
#[derive(Default)]
pub struct Redactor {
    needles: Vec<Zeroizing<Vec<u8>>>,
    /// Needles by their first four bytes.
    by_head: HashMap<[u8; HEAD], Vec<usize>>,
    /// What stands in the place of every text, if none can be cleaned.
    withheld: Option<&'static str>,
}

/// The shortest needle.
const HEAD: usize = 4;
/// The shortest line of a secret that is a needle by itself.
const LONG_LINE: usize = 8;
/// The shortest end of broken base64 that is a needle by itself: six bytes of the secret.
const LONG_END: usize = 8;
/// An answer is JSON, its message often JSON that quotes JSON, and what is quoted there was escaped before.
const LAYERS: usize = 4;
const REDACTED: &str = "[redacted]";
const TOO_SHORT: &str = "[withheld: a secret is too short to redact]";
const NOT_AT_HAND: &str = "[withheld: the volume's secret is not at hand, so it cannot be taken out]";

/// Text with layers of quoting taken off, and where each of its bytes came from.
struct View {
    bytes: Zeroizing<Vec<u8>>,
    /// Byte `i` came from `from[i]..from[i + 1]` of the original.
    from: Vec<usize>,
}

impl Redactor {
    /// Learns the secrets: each raw, as programs show it that hold text only, trimmed and by its long lines; each of these
    /// plain, quoted for a shell, as base64 (both alphabets, also inside of a longer text) and as hex. Percent and backslash
    /// escapes are seen through.
    pub fn new(secrets: &Secrets) -> Self {
        let mut redactor = Self::default();
        for (_, secret) in secrets.iter() {
            for shown in as_shown(secret.expose()).iter() {
                if [shown, shown.trim_ascii()].iter().any(|text| (1..HEAD).contains(&text.len())) {
                    redactor.withheld = Some(TOO_SHORT);
                }
                redactor.learn(shown);
                redactor.learn(shown.trim_ascii());
                let lines = shown.split(|b| matches!(b, b'\n' | b'\r' | 0)).map(<[u8]>::trim_ascii);
                lines.filter(|line| line.len() >= LONG_LINE).for_each(|line| redactor.learn(line));
            }
        }
        redactor
    }

    /// For a volume whose secrets nobody gave us this time, though its driver may know them from before: every text is
    /// withheld.
    pub fn blind() -> Self {
        Self { withheld: Some(NOT_AT_HAND), ..Self::default() }
    }

    /// True for one made by [`Redactor::blind`].
    pub fn is_blind(&self) -> bool {
        self.withheld == Some(NOT_AT_HAND)
    }

    /// True when some secret cannot be told from other text, so that a driver's text is withheld wholly.
    pub fn withhold(&self) -> bool {
        self.withheld.is_some()
    }

    /// `text` without secrets.
    pub fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    /// `text` without secrets.
    pub fn bytes(&self, text: &[u8]) -> Vec<u8> {
        if let (Some(withheld), false) = (self.withheld, text.is_empty()) {
            return withheld.as_bytes().to_vec();
        }
        if self.needles.is_empty() {
            return text.to_vec();
        }
        let mut hidden = Vec::new();
        let plain = View::plain(text);
        self.find(&plain, &mut hidden);
        if text.contains(&b'%') {
            self.find(&plain.unescaped(percent), &mut hidden);
        }
        let mut view = plain;
        for _ in 0..LAYERS {
            if !view.bytes.contains(&b'\\') {
                break;
            }
            view = view.unescaped(backslash);
            self.find(&view, &mut hidden);
        }
        hidden.sort_unstable();
        let mut out = Vec::with_capacity(text.len());
        let mut shown_to = 0;
        for (start, end) in hidden {
            let joins_the_last = !out.is_empty() && start <= shown_to;
            if !joins_the_last {
                out.extend_from_slice(&text[shown_to..start]);
                out.extend_from_slice(REDACTED.as_bytes());
            }
            shown_to = shown_to.max(end);
        }
        out.extend_from_slice(&text[shown_to..]);
        out
    }

    fn learn(&mut self, secret: &[u8]) {
        if secret.len() < HEAD {
            return;
        }
        self.needle(secret.to_vec());
        self.needle(replaced(secret, b' ', b"+"));
        self.needle(replaced(secret, b'\'', b"'\\''"));
        self.needle(replaced(secret, b'\'', b"'\"'\"'"));
        for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
            let hex = |b: &u8| [digits[usize::from(b >> 4)], digits[usize::from(b & 15)]];
            self.needle(secret.iter().flat_map(hex).collect());
        }
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = Zeroizing::new(engine.encode(secret).into_bytes());
            for width in [64, 76] {
                // The lines that the usual tools break it into.
                let lines = encoded.chunks(width).filter(|line| line.len() >= LONG_END);
                lines.for_each(|line| self.needle(line.to_vec()));
            }
            let mut padded = encoded.to_vec();
            padded.resize(encoded.len().next_multiple_of(4), b'=');
            self.needle(padded);
            self.needle(encoded.to_vec());
            for before in 0..3 {
                // What stands before shifts the bits; only the characters that hold nothing but the secret are sure.
                let mut shifted = Zeroizing::new(vec![0; before]);
                shifted.extend_from_slice(secret);
                let encoded = Zeroizing::new(engine.encode(&*shifted).into_bytes());
                let sure = (before * 8).div_ceil(6)..(shifted.len() * 8) / 6;
                self.needle(encoded[sure].to_vec());
            }
        }
    }

    fn needle(&mut self, needle: Vec<u8>) {
        let needle = Zeroizing::new(needle);
        let Some(head) = needle.first_chunk::<HEAD>() else { return };
        let same_head = self.by_head.entry(*head).or_default();
        if same_head.iter().all(|index| self.needles[*index] != needle) {
            same_head.push(self.needles.len());
            self.needles.push(needle);
        }
    }

    /// Adds the ranges of the original in which a needle stands, overlapping ones joined.
    fn find(&self, view: &View, hidden: &mut Vec<(usize, usize)>) {
        let mut last: Option<(usize, usize)> = None;
        for (at, head) in view.bytes.windows(HEAD).enumerate() {
            let Some(candidates) = head.first_chunk().and_then(|head| self.by_head.get(head)) else { continue };
            let rest = &view.bytes[at..];
            let needles = candidates.iter().map(|index| &self.needles[*index]);
            // Where the text ends in the middle of a secret, its writer was killed or had no room for more.
            let found = needles.filter(|needle| rest.starts_with(needle) || needle.starts_with(rest));
            let Some(length) = found.map(|needle| needle.len().min(rest.len())).max() else { continue };
            let (start, end) = (view.from[at], view.from[at + length]);
            last = match last {
                Some((first, until)) if start <= until => Some((first, until.max(end))),
                other => {
                    hidden.extend(other);
                    Some((start, end))
                }
            };
        }
        hidden.extend(last);
    }
}

impl View {
    fn plain(text: &[u8]) -> Self {
        Self { bytes: Zeroizing::new(text.to_vec()), from: (0..=text.len()).collect() }
    }

    /// This view with one more layer taken off.
    fn unescaped(&self, escape: fn(&[u8]) -> Option<Escape>) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.bytes.len()));
        let mut from = Vec::with_capacity(self.from.len());
        let mut at = 0;
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            if is_cut(rest, escape) {
                // Whoever was cut off within an escape was cut off before the byte it stands for.
                at = self.bytes.len();
                break;
            }
            let escape = escape(rest).unwrap_or(Escape::byte(rest[0], 1));
            for byte in &escape.meant[..escape.count] {
                bytes.push(*byte);
                from.push(self.from[at]);
            }
            at += escape.length;
        }
        from.push(self.from[at]);
        Self { bytes, from }
    }
}

/// What one escape stands for (`count` bytes of `meant`), and how long it is.
struct Escape {
    meant: [u8; 4],
    count: usize,
    length: usize,
}

impl Escape {
    fn byte(byte: u8, length: usize) -> Self {
        Self { meant: [byte, 0, 0, 0], count: 1, length }
    }

    fn char(c: char, length: usize) -> Self {
        let mut meant = [0; 4];
        let count = c.encode_utf8(&mut meant).len();
        Self { meant, count, length }
    }
}

/// The longest escape: two halves of a character in UTF-16.
const LONGEST_ESCAPE: usize = 12;

/// Whether the text ends within an escape: one that would be longer, had the text gone on.
fn is_cut(rest: &[u8], escape: fn(&[u8]) -> Option<Escape>) -> bool {
    let goes_on = |more: &[u8]| escape(&[rest, more].concat()).is_some_and(|escape| escape.length > rest.len());
    rest.len() < LONGEST_ESCAPE
        && matches!(rest[0], b'%' | b'\\')
        && [&b"00000000000"[..], b"}", b"\\udc00", b"udc00", b"dc00", b"c00"].iter().any(|more| goes_on(more))
}

/// `%41` at the start of `text`.
fn percent(text: &[u8]) -> Option<Escape> {
    let digits = text.strip_prefix(b"%")?.get(..2)?;
    Some(Escape::byte(u8::try_from(number(digits, 16)?).ok()?, 3))
}

/// An escape of JSON, a shell, C, Go or Rust at the start of `text`: `\n`, `\"`, `\x41`, `\u0041`, `\u{41}`, `\101`.
fn backslash(text: &[u8]) -> Option<Escape> {
    let rest = text.strip_prefix(b"\\")?;
    let kind = *rest.first()?;
    let short = |byte| Some(Escape::byte(byte, 2));
    match kind {
        b'a' => short(0x07),
        b'b' => short(0x08),
        b't' => short(b'\t'),
        b'n' => short(b'\n'),
        b'v' => short(0x0b),
        b'f' => short(0x0c),
        b'r' => short(b'\r'),
        b'x' => {
            let byte = rest.get(1..3).and_then(|digits| u8::try_from(number(digits, 16)?).ok());
            byte.map_or_else(|| short(kind), |byte| Some(Escape::byte(byte, 4)))
        }
        b'u' => unicode(rest).or_else(|| short(kind)),
        b'0'..=b'7' => {
            let byte = rest.get(..3).and_then(|digits| u8::try_from(number(digits, 8)?).ok());
            byte.map_or_else(|| short(if kind == b'0' { 0 } else { kind }), |byte| Some(Escape::byte(byte, 4)))
        }
        other => short(other),
    }
}

/// What follows the backslash of `\u0041`, `\ud83d\ude00` or `\u{1f600}`.
fn unicode(rest: &[u8]) -> Option<Escape> {
    if rest.get(1) == Some(&b'{') {
        let length = rest.iter().take(10).position(|b| *b == b'}')?;
        return Some(Escape::char(char::from_u32(number(&rest[2..length], 16)?)?, length + 2));
    }
    let first = number(rest.get(1..5)?, 16)?;
    if let Some(c) = char::from_u32(first) {
        return Some(Escape::char(c, 6));
    }
    let second = number(rest.get(5..11)?.strip_prefix(b"\\u")?, 16)?;
    let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    Some(Escape::char(char::decode_utf16(pair).next()?.ok()?, 12))
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let all_digits = digits.iter().all(|b| char::from(*b).is_digit(radix));
    u32::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| all_digits)?, radix).ok()
}

/// A secret and what it becomes in programs that hold text only: a shell drops NUL, most put a mark in the place of what is no
/// text, for each such byte or for each broken character.
fn as_shown(secret: &[u8]) -> Zeroizing<Vec<Vec<u8>>> {
    let without_nul = Zeroizing::new(replaced(secret, 0, b""));
    let mut all = BTreeSet::new();
    for bytes in [secret, &without_nul] {
        all.extend([bytes.to_vec(), String::from_utf8_lossy(bytes).into_owned().into_bytes(), marked(bytes)]);
    }
    Zeroizing::new(all.into_iter().collect())
}

/// With a mark for each byte that is no text.
fn marked(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        chunk.invalid().iter().for_each(|_| out.extend_from_slice("\u{fffd}".as_bytes()));
    }
    out
}

/// `text` with each `byte` replaced.
fn replaced(text: &[u8], byte: u8, by: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = text.split(|b| *b == byte).collect();
    parts.join(by)
}
