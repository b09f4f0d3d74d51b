//! A file as every rule reads it, and a broken rule as every rule reports it.

use std::fmt;

/// One text file of the project; its path is relative to the project's folder.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

/// One broken rule: where, what, and what to do instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) path: String,
    /// Counted from one; none if it is about the whole file.
    line: Option<usize>,
    what: String,
}

impl Finding {
    pub(super) fn new(path: &str, line: Option<usize>, what: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.what),
            None => write!(f, "{}: {}", self.path, self.what),
        }
    }
}

/// Does `text` hold `word` at byte `at` as a word of its own, not as a piece of a longer name?
pub(super) fn is_word(text: &str, at: usize, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    !text[..at].chars().next_back().is_some_and(part) && !text[at + word.len()..].chars().next().is_some_and(part)
}

/// The number of the line that holds byte `at`, counted from one.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
