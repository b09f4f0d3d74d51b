//! What is code in a Rust file: the text without comments, strings and tests, and where its child modules lie.

pub(super) const TEST_MARK: &str = "#[cfg(test)]";

/// Where the modules that a file declares lie.
pub(super) fn children(path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "lib.rs" | "main.rs" | "mod.rs" => format!("{dir}/"),
        _ => format!("{dir}/{}/", name.trim_end_matches(".rs")),
    }
}

/// The text with comments and the insides of strings made blank; every byte stays in its place.
pub(super) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => end_of(bytes, at, b"\n", bytes.len()),
            b'/' if bytes[at..].starts_with(b"/*") => end_of_block_comment(bytes, at),
            b'"' => end_of_string(bytes, at),
            b'r' => match raw_string(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match end_of_char(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1; // a lifetime
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    // Only whole literals and comments were made blank, so what is left is as valid as before.
    String::from_utf8_lossy(&out).into_owned()
}

fn end_of(bytes: &[u8], from: usize, what: &[u8], otherwise: usize) -> usize {
    bytes[from..].windows(what.len()).position(|window| window == what).map_or(otherwise, |found| from + found)
}

fn end_of_block_comment(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"…"`, `r#"…"#` and so on, if that is what begins here.
fn raw_string(bytes: &[u8], from: usize) -> Option<usize> {
    let before = from.checked_sub(1).map(|before| bytes[before]);
    // `br"…"` is one; `for"…"` is none.
    if before.is_some_and(|byte| (byte.is_ascii_alphanumeric() && byte != b'b') || byte == b'_') {
        return None;
    }
    let hashes = bytes[from + 1..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(from + 1 + hashes) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let inside = from + 2 + hashes;
    Some((end_of(bytes, inside, &close, bytes.len()) + close.len()).min(bytes.len()))
}

/// The end of a character literal, or none if the quote opens a lifetime.
fn end_of_char(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.get(from + 1) == Some(&b'\\') {
        return Some((end_of(bytes, from + 3, b"'", bytes.len()) + 1).min(bytes.len()));
    }
    // One character of up to four bytes, then the closing quote.
    let width = (1..=4).find(|width| {
        std::str::from_utf8(bytes.get(from + 1..from + 1 + width).unwrap_or_default()).is_ok_and(|s| !s.is_empty())
    })?;
    (bytes.get(from + 1 + width) == Some(&b'\'')).then_some(from + 2 + width)
}

/// The code with every module or function under `#[cfg(test)]` made blank.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let bytes = code.as_bytes();
    let mut from = 0;
    while let Some(found) = code[from..].find(TEST_MARK) {
        let start = from + found;
        let mut at = start + TEST_MARK.len();
        // The item ends with the brace that closes its first one, or with a semicolon before any.
        let mut depth = 0usize;
        while at < bytes.len() {
            match bytes[at] {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
            if depth == 0 && matches!(bytes[at - 1], b'}' | b';') {
                break;
            }
        }
        for byte in &mut out[start..at] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = at;
    }
    String::from_utf8_lossy(&out).into_owned()
}
