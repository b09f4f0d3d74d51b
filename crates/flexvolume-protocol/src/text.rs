//! How text from outside is shown to people: bounded, on one line, with nothing a terminal would obey.

/// At most `limit` characters of `text` with line breaks and control characters made visible; what was left off is
/// counted. Redact before calling this: a secret cut in half is no longer found.
pub fn excerpt(text: &str, limit: usize) -> String {
    let text = text.trim();
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == limit {
            let left = text.chars().count() - limit;
            shown.push_str(&format!("… ({left} more characters)"));
            break;
        }
        if c.is_control() || reorders(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Characters that make a terminal draw the text in another order than it is written.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_disarms() {
        assert_eq!(excerpt("  plain\n", 80), "plain");
        assert_eq!(excerpt("a\u{1b}[31mb\nc", 80), "a\\u{1b}[31mb\\nc");
        assert_eq!(excerpt("äöüß", 2), "äö… (2 more characters)");
        assert_eq!(excerpt("a\u{202e}b", 9), "a\\u{202e}b");
    }
}
