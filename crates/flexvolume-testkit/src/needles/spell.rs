//! The spellings themselves: what programs print when they mean a secret. Written apart from the product's own redaction, which
//! they put to the test.

use std::ops::Range;

/// The name of the secret as it is.
pub(super) const RAW: &str = "raw";

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// One way to print a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spelling {
    /// What it is called.
    pub name: &'static str,
    /// What a program prints.
    pub printed: Vec<u8>,
    sure: Range<usize>,
}

impl Spelling {
    /// The part of it that the text alone decides: what stands before or behind it in base64 changes the rest.
    #[must_use]
    pub fn sure(&self) -> &[u8] {
        &self.printed[self.sure.clone()]
    }
}

/// How programs print these bytes, each way once.
#[must_use]
pub fn spellings(text: &[u8]) -> Vec<Spelling> {
    let shown = String::from_utf8_lossy(text);
    let json = json(&shown);
    let mut all = vec![
        plain(RAW, text),
        plain("with marks for what is no text", shown.as_bytes()),
        plain("with a mark for each byte that is no text", marked(text)),
        plain("as a shell holds it, without NUL", text.iter().copied().filter(|b| *b != 0).collect::<Vec<_>>()),
        plain("hex", hex(text)),
        plain("HEX", hex(text).to_uppercase()),
        plain("percent, every byte", each(text, |b| format!("%{b:02x}"))),
        plain("Percent, every byte", each(text, |b| format!("%{b:02X}"))),
        plain("percent", spared(text, b"-_.~", |b| format!("%{b:02X}"))),
        plain("percent, of a path", spared(text, b"-_.~!$&'()*+,;=:@/", |b| format!("%{b:02X}"))),
        plain("form", spared(text, b"-_.", |b| if b == b' ' { "+".to_owned() } else { format!("%{b:02x}") })),
        plain("JSON", json.as_bytes()),
        plain("JSON of Go", json_of_go(&json)),
        plain("JSON with slashes", json.replace('/', "\\/")),
        plain("JSON, all escaped", shown.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>()),
        plain("JSON in JSON", self::json(&json)),
        plain("Rust", format!("{shown:?}")),
        plain("Rust, bytes", text.escape_ascii().to_string()),
        plain("C", each(text, |b| format!("\\x{b:02x}"))),
        plain("octal", each(text, |b| format!("\\{b:03o}"))),
        plain("shell", replaced(text, b"'\\''")),
        plain("shell, as Python quotes", replaced(text, b"'\"'\"'")),
        plain("shell, backslashes", backslashed(text)),
        plain("shell, dollar", format!("$'{}'", each_ansi(text))),
    ];
    for (name, alphabet, pad) in [
        ("base64", STANDARD, true),
        ("base64 without padding", STANDARD, false),
        ("base64url", URL, true),
        ("base64url without padding", URL, false),
    ] {
        for (before, after) in [("", ""), ("u", "@"), ("u:", "@h"), ("us:", "\n")] {
            let whole = [before.as_bytes(), text, after.as_bytes()].concat();
            let sure = (before.len() * 8).div_ceil(6)..(before.len() + text.len()) * 8 / 6;
            all.push(Spelling { name, printed: base64(&whole, alphabet, pad), sure });
        }
    }
    for (name, width) in [("base64 in lines of 64", 64), ("base64 in lines of 76", 76)] {
        let encoded = base64(text, STANDARD, true);
        let sure = 0..(text.len() * 8 / 6).min(width);
        all.push(Spelling { name, printed: encoded.chunks(width).collect::<Vec<_>>().join(&b'\n'), sure });
    }
    let mut kept: Vec<Spelling> = Vec::new();
    for spelling in all {
        if !kept.iter().any(|other| other.printed == spelling.printed) {
            kept.push(spelling);
        }
    }
    kept
}

fn plain(name: &'static str, printed: impl Into<Vec<u8>>) -> Spelling {
    let printed = printed.into();
    Spelling { name, sure: 0..printed.len(), printed }
}

fn each(text: &[u8], one: impl Fn(u8) -> String) -> String {
    text.iter().map(|b| one(*b)).collect()
}

fn hex(text: &[u8]) -> String {
    each(text, |b| format!("{b:02x}"))
}

/// Letters, digits and the `spared` as they are, the rest spelt.
fn spared(text: &[u8], spared: &[u8], spell: impl Fn(u8) -> String) -> String {
    each(text, |b| if b.is_ascii_alphanumeric() || spared.contains(&b) { char::from(b).into() } else { spell(b) })
}

/// Each byte that is no part of a character becomes a mark of its own, as in Go; a whole broken one becomes a single mark in Rust.
fn marked(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        chunk.invalid().iter().for_each(|_| out.extend_from_slice("\u{fffd}".as_bytes()));
    }
    out
}

/// Inside of the quotes.
fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Go also escapes what a browser could take for markup or a line break.
fn json_of_go(json: &str) -> String {
    let escaped = |c: char| match c {
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => format!("\\u{:04x}", u32::from(c)),
        other => other.to_string(),
    };
    json.chars().map(escaped).collect()
}

/// Single quotes, as they stand between single quotes of a shell.
fn replaced(text: &[u8], quote: &[u8]) -> Vec<u8> {
    let inside = text.split(|b| *b == b'\'').collect::<Vec<_>>().join(quote);
    [b"'", &inside[..], b"'"].concat()
}

fn backslashed(text: &[u8]) -> Vec<u8> {
    let special = |b: &u8| b.is_ascii() && !b.is_ascii_alphanumeric();
    text.iter().flat_map(|b| special(b).then_some(b'\\').into_iter().chain([*b])).collect()
}

/// Between `$'` and `'`, as bash prints what holds control characters.
fn each_ansi(text: &[u8]) -> String {
    each(text, |b| match b {
        b'\n' => "\\n".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\'' | b'\\' => format!("\\{}", char::from(b)),
        b' '..=b'~' => char::from(b).into(),
        other => format!("\\{other:03o}"),
    })
}

fn base64(text: &[u8], alphabet: &[u8; 64], pad: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for group in text.chunks(3) {
        let bits = group.iter().chain([0, 0].iter()).take(3).fold(0_usize, |bits, b| bits << 8 | usize::from(*b));
        let letters = (0..4).map(|n| alphabet[bits >> (18 - 6 * n) & 63]);
        out.extend(letters.take(group.len() + 1));
        if pad {
            out.extend(std::iter::repeat_n(b'=', 3 - group.len()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_the_standard_has_it() {
        for (text, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(text.as_bytes(), STANDARD, true), encoded.as_bytes());
            assert_eq!(base64(text.as_bytes(), STANDARD, false), encoded.trim_end_matches('=').as_bytes());
        }
        assert_eq!(base64(b"\xfb\xff", URL, true), b"-_8=");
    }

    #[test]
    fn only_what_is_sure_is_taken_of_base64_in_a_longer_text() {
        let of = |before: &str, after: &str| base64(format!("{before}secret{after}").as_bytes(), STANDARD, false);
        for spelling in spellings(b"secret").iter().filter(|it| it.name == "base64 without padding") {
            let sure = spelling.sure();
            let fits = ["", "1", "12", "123", "1234"].iter().flat_map(|b| ["", "x", "yz"].map(|a| of(b, a)));
            assert!(fits.into_iter().any(|text| text.windows(sure.len()).any(|piece| piece == sure)), "{spelling:?}");
            assert!(sure.len() >= 6, "{spelling:?}");
        }
    }
}
