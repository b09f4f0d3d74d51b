//! A text to be read as manifests, and how its documents are counted.

use std::fmt;

/// One text to be read as manifests.
pub struct Source {
    /// The file's path as given or found, or `standard input`; errors show it.
    pub name: String,
    /// The whole text; it may hold Secrets, so it is never shown.
    pub text: String,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}, {} bytes)", self.name, self.text.len())
    }
}

/// The number of the document that `line` belongs to: a line `---` begins the next, unless nothing came before it.
pub(super) fn document_at(text: &str, line: u64) -> usize {
    let mut number = 1;
    let mut begun = false;
    for (n, text) in (1..).zip(text.lines()) {
        if n > line {
            break;
        }
        let text = text.trim_start_matches('\u{feff}');
        let marker = text.strip_prefix("---");
        if marker.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t'])) {
            number += usize::from(begun);
            begun = true;
        } else if !(text.trim().is_empty() || text.starts_with(['#', '%'])) {
            begun = true;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_not_shown_by_debug() {
        let source = Source { name: "s.yaml".into(), text: "hunter22".into() };
        assert_eq!(format!("{source:?}"), "Source(s.yaml, 8 bytes)");
    }
}
