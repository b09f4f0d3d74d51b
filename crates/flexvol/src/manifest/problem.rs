//! What is wrong with a manifest and where, as plain data, so that the command alone decides how it is shown.

use std::fmt;

/// A spot in the input, as an editor counts it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's path as it was given, or `standard input`.
    pub file: String,
    /// Number of the document in its file, from 1; a `---` begins the next.
    pub document: usize,
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

/// One thing that is wrong with the input.
///
/// None of its texts ever holds a value of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}: {why}", Prefix(.place.as_ref()))]
pub struct ManifestError {
    /// The thing that is wrong: a file, or an object and a field of it.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
    /// Where it stands, if it stands anywhere.
    pub place: Option<Place>,
    /// What to write or do instead.
    pub hint: Option<String>,
}

struct Prefix<'a>(Option<&'a Place>);

impl ManifestError {
    pub(super) fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), place: None, hint: None }
    }

    pub(super) fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, .. } = self;
        write!(f, "{file}:{line}:{column}")?;
        if self.document > 1 {
            write!(f, " (document {})", self.document)?;
        }
        Ok(())
    }
}

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(place) => write!(f, "{place}: "),
            None => Ok(()),
        }
    }
}

/// Text from a manifest made fit for a line on a terminal: escaped and bounded.
pub(super) fn shown(text: &str) -> String {
    flexvolume_protocol::excerpt(text, 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_place_thing_reason() {
        let place = Place { file: "a.yaml".into(), document: 1, line: 3, column: 7 };
        let error = ManifestError::new("Pod web", "has no spec");
        assert_eq!(error.to_string(), "Pod web: has no spec");
        let error = error.at(place.clone());
        assert_eq!(error.to_string(), "a.yaml:3:7: Pod web: has no spec");
        let error = error.at(Place { document: 2, ..place });
        assert_eq!(error.to_string(), "a.yaml:3:7 (document 2): Pod web: has no spec");
    }
}
