//! The project stands alone: no file points to a place or a note that its reader does not have.

use super::finding::{File, Finding, line_of};

/// Paths of one machine. Written in two pieces, so that this file does not find itself.
const PLACES: &[&str] = &[concat!("../", "shared"), concat!("/wo", "rk/"), concat!("/ro", "ot/.cargo")];

/// Shorthand of notes that are not in the project: the letter or word, followed by a number.
const NOTES: &[&str] = &["P", "W", concat!("fau", "lts ")];

pub(super) fn check(file: &File) -> Vec<Finding> {
    // The lock file holds checksums and names of strangers.
    if file.path == "Cargo.lock" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for place in PLACES {
        for (at, _) in file.text.match_indices(place) {
            // `/a/work/b` is a path like any other; only one that begins so is a machine's.
            let starts = !file.text[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.}$*".contains(c));
            if starts {
                findings.push(Finding::new(
                    &file.path,
                    Some(line_of(&file.text, at)),
                    format!("`{place}` exists on one machine only"),
                ));
            }
        }
    }
    for (number, line) in file.text.lines().enumerate() {
        if let Some(note) = note_in(prose(&file.path, line)) {
            let what = format!("`{note}` points to a note outside the project; say what it means");
            findings.push(Finding::new(&file.path, Some(number + 1), what));
        }
    }
    findings
}

/// The part of a line that speaks to people: all of a text, the comment of code.
fn prose<'a>(path: &str, line: &'a str) -> &'a str {
    if path.ends_with(".rs") {
        line.find("//").map_or("", |at| &line[at..])
    } else if path.ends_with(".md") {
        line
    } else {
        ""
    }
}

/// A note's letter with one or two digits after it, as a word of its own.
fn note_in(text: &str) -> Option<&str> {
    for note in NOTES {
        for (at, _) in text.match_indices(note) {
            let fresh = !text[..at].ends_with(|c: char| c.is_alphanumeric() || "_-/.".contains(c));
            let rest = &text[at + note.len()..];
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let ends = !rest[digits..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
            if fresh && (1..=2).contains(&digits) && ends {
                return Some(&text[at..at + note.len() + digits]);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&File { path: path.into(), text: text.into() }).len()
    }

    #[test]
    fn a_place_on_one_machine_is_found() {
        for place in PLACES {
            assert_eq!(found("a.toml", &format!("x = \"{place}main\"\n")), 1, "{place}");
        }
        assert_eq!(found("a.toml", concat!("upper/wo", "rk/x and $DIR/ro", "ot/.cargo")), 0);
    }

    #[test]
    fn shorthand_of_foreign_notes_is_found() {
        assert_eq!(found("a.rs", concat!("// as W", "23 says\nlet x = 1; // (P", "6.3)\n")), 2);
        assert_eq!(found("a.md", concat!("see fau", "lts 4\n")), 1);
        assert_eq!(found("a.rs", "fn f<P1>(x: W2) {}\n// at 5W, UTF-8, HTTP2, P and W, W123, SP3\n"), 0);
    }
}
