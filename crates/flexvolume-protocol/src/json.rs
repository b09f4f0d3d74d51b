//! JSON as Go's encoding/json reads and writes it: the accepted bytes and the written bytes are part of the contract.
//!
//! Reading is done in two steps, as Go does it: [`end_of_value`] checks the syntax and nothing else, then
//! [`members`], [`string`] and their like take apart what is known to be well-formed. Neither recurses.

/// How deep Go lets values nest.
const MAX_DEPTH: usize = 10_000;

/// Why there is no whole value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The byte at this offset cannot stand there.
    Syntax(usize),
    /// The text ends before the value does.
    Eof,
    /// Nested deeper than Go allows; found at this offset.
    Deep(usize),
}

impl Broken {
    /// In words for an error; `length` is that of the text.
    pub(crate) fn describe(self, length: usize) -> String {
        match self {
            Self::Syntax(at) => format!("byte {at} of {length} cannot stand there"),
            Self::Eof => format!("it breaks off after {length} bytes"),
            Self::Deep(at) => format!("at byte {at} it is nested deeper than {MAX_DEPTH} levels"),
        }
    }
}

/// The offset of the first byte at or after `at` that is no JSON blank.
pub(crate) fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// The one value that `text` is, blanks around it left off.
pub(crate) fn only_value(text: &[u8]) -> Result<&[u8], Broken> {
    let start = skip_blanks(text, 0);
    let end = end_of_value(text, start)?;
    match skip_blanks(text, end) {
        rest if rest == text.len() => Ok(&text[start..end]),
        rest => Err(Broken::Syntax(rest)),
    }
}

/// The offset after the value that starts at `at`, blanks before it allowed.
pub(crate) fn end_of_value(text: &[u8], mut at: usize) -> Result<usize, Broken> {
    let mut open: Vec<u8> = Vec::new();
    loop {
        // A value is due here.
        at = skip_blanks(text, at);
        match *text.get(at).ok_or(Broken::Eof)? {
            bracket @ (b'{' | b'[') => {
                if open.len() == MAX_DEPTH {
                    return Err(Broken::Deep(at));
                }
                at = skip_blanks(text, at + 1);
                let first = *text.get(at).ok_or(Broken::Eof)?;
                if first != closing(bracket) {
                    open.push(bracket);
                    if bracket == b'{' {
                        at = end_of_key(text, at)?;
                    }
                    continue;
                }
                at += 1;
            }
            b'"' => at = end_of_string(text, at)?,
            b'-' | b'0'..=b'9' => at = end_of_number(text, at)?,
            b't' => at = end_of_word(text, at, b"true")?,
            b'f' => at = end_of_word(text, at, b"false")?,
            b'n' => at = end_of_word(text, at, b"null")?,
            _ => return Err(Broken::Syntax(at)),
        }
        // A value has ended: close what it closes, up to the comma that makes the next value due.
        loop {
            let Some(&bracket) = open.last() else { return Ok(at) };
            at = skip_blanks(text, at);
            match *text.get(at).ok_or(Broken::Eof)? {
                b',' if bracket == b'{' => {
                    at = end_of_key(text, skip_blanks(text, at + 1))?;
                    break;
                }
                b',' => {
                    at += 1;
                    break;
                }
                byte if byte == closing(bracket) => {
                    open.pop();
                    at += 1;
                }
                _ => return Err(Broken::Syntax(at)),
            }
        }
    }
}

fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

/// A member's key and its colon.
fn end_of_key(text: &[u8], at: usize) -> Result<usize, Broken> {
    let at = skip_blanks(text, end_of_string(text, at)?);
    match text.get(at) {
        Some(b':') => Ok(at + 1),
        Some(_) => Err(Broken::Syntax(at)),
        None => Err(Broken::Eof),
    }
}

fn end_of_string(text: &[u8], at: usize) -> Result<usize, Broken> {
    match text.get(at) {
        Some(b'"') => {}
        Some(_) => return Err(Broken::Syntax(at)),
        None => return Err(Broken::Eof),
    }
    let mut at = at + 1;
    loop {
        match *text.get(at).ok_or(Broken::Eof)? {
            b'"' => return Ok(at + 1),
            b'\\' => {
                at += 1;
                match *text.get(at).ok_or(Broken::Eof)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            at += 1;
                            if !text.get(at).ok_or(Broken::Eof)?.is_ascii_hexdigit() {
                                return Err(Broken::Syntax(at));
                            }
                        }
                    }
                    _ => return Err(Broken::Syntax(at)),
                }
            }
            0..=0x1f => return Err(Broken::Syntax(at)),
            _ => {}
        }
        at += 1;
    }
}

fn end_of_number(text: &[u8], mut at: usize) -> Result<usize, Broken> {
    let digits = |mut at: usize| -> Result<usize, Broken> {
        if !text.get(at).ok_or(Broken::Eof)?.is_ascii_digit() {
            return Err(Broken::Syntax(at));
        }
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        Ok(at)
    };
    if text.get(at) == Some(&b'-') {
        at += 1;
    }
    at = if text.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(text.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits(at)?;
    }
    Ok(at)
}

fn end_of_word(text: &[u8], at: usize, word: &[u8]) -> Result<usize, Broken> {
    for (offset, byte) in word.iter().enumerate() {
        if text.get(at + offset).ok_or(Broken::Eof)? != byte {
            return Err(Broken::Syntax(at + offset));
        }
    }
    Ok(at + word.len())
}

/// What a well-formed value is, in words for an error.
pub(crate) fn kind(value: &[u8]) -> &'static str {
    match value.first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Keys and raw values of a well-formed object, in the order written, duplicates included; `None` for anything else.
pub(crate) fn members(value: &[u8]) -> Option<impl Iterator<Item = (String, &[u8])>> {
    let mut at = skip_blanks(value, value.first().filter(|b| **b == b'{').map(|_| 1)?);
    Some(std::iter::from_fn(move || {
        let key_end = end_of_string(value, at).ok()?; // the closing brace is no string: the end
        let key = string(&value[at..key_end])?;
        let start = skip_blanks(value, end_of_key(value, at).ok()?);
        let end = end_of_value(value, start).ok()?;
        at = skip_blanks(value, end);
        if value.get(at) == Some(&b',') {
            at = skip_blanks(value, at + 1);
        }
        Some((key, &value[start..end]))
    }))
}

/// Raw values of a well-formed array; `None` for anything else.
pub(crate) fn elements(value: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut at = skip_blanks(value, value.first().filter(|b| **b == b'[').map(|_| 1)?);
    Some(std::iter::from_fn(move || {
        let start = skip_blanks(value, at);
        let end = end_of_value(value, start).ok()?;
        at = skip_blanks(value, end);
        if value.get(at) == Some(&b',') {
            at += 1;
        }
        Some(&value[start..end])
    }))
}

/// The text of a well-formed string; `None` for anything else. A lone surrogate and each byte that is no UTF-8
/// become U+FFFD, as in Go.
pub(crate) fn string(value: &[u8]) -> Option<String> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(slash) = rest.iter().position(|b| *b == b'\\') {
        push_lossy(&mut text, &rest[..slash]);
        let escape = *rest.get(slash + 1)?;
        rest = &rest[slash + 2..];
        text.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (c, used) = code_point(rest)?;
                rest = &rest[used..];
                c
            }
            other => char::from(other),
        });
    }
    push_lossy(&mut text, rest);
    Some(text)
}

/// The character of `XXXX` or of the pair `XXXX\uXXXX`, and how many bytes of `rest` it took.
fn code_point(rest: &[u8]) -> Option<(char, usize)> {
    let unit = |digits: &[u8]| u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let first = unit(rest.get(..4)?)?;
    let second = rest.get(4..10).and_then(|next| unit(next.strip_prefix(b"\\u")?));
    if let Some(second) = second
        && let Some(Ok(c)) = char::decode_utf16([first, second]).next()
        && u32::from(c) > 0xffff
    {
        return Some((c, 10));
    }
    Some((char::from_u32(first.into()).unwrap_or(char::REPLACEMENT_CHARACTER), 4))
}

fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

/// `key` as Go compares it with the name of a field when it does not match exactly: letter case does not count, nor do
/// the two characters beyond ASCII that fold to an ASCII letter (long s, Kelvin sign).
pub(crate) fn fold(key: &str) -> String {
    let folded = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(folded).collect()
}

/// Appends `text` as a JSON string in Go's spelling, byte for byte: `<`, `>`, `&`, U+2028 and U+2029 as `\uXXXX`;
/// `\b \f \n \r \t` short (the first two since Go 1.22, which every Kubernetes since 1.30 is built with); other
/// control characters as `\u00XX`.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    out.push(char::from(b"0123456789abcdef"[(c as usize >> shift) & 15]));
                }
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
