//! What volumes and snapshots are called, and where of a pool they belong.

use std::ffi::{OsStr, OsString};

use serde::{Deserialize, Serialize};

use crate::digest::digest;

/// A volume or a snapshot: they are made, copied and removed alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Volume,
    Snapshot,
}

/// One tree of a pool, by its kind and its directory's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) name: Name,
}

/// The name of a directory that is ours: one that can be a file's, and begins with no dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Name(String);

/// So long that pool, kind and name together make an id.
const LONGEST: usize = 88;

/// What archived volumes begin with, so that no volume may.
const ARCHIVED: &str = "archived-";

impl Name {
    /// The name as it is if it will do, else a readable beginning and a digest. Markers keep the name, so of two that meet in one
    /// directory the second is refused.
    pub(crate) fn of(name: &str) -> Self {
        if let Ok(same) = Self::parse(name) {
            return same;
        }
        let readable: String = name.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        Self(format!("v{readable}-{}", digest(name.as_bytes())))
    }

    /// A name from an id.
    ///
    /// # Errors
    /// It is none of ours.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let good = !text.is_empty()
            && text.len() <= LONGEST
            && text.bytes().all(plain)
            && !text.starts_with(['.', '-'])
            && !text.starts_with(ARCHIVED);
        if good { Ok(Self(text.to_owned())) } else { Err("it is no id of this driver's") }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is called in its pool when it is kept after its end.
    pub(crate) fn archive(&self, now: i64) -> OsString {
        format!("{ARCHIVED}{}-{now}", self.0).into()
    }
}

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl AsRef<OsStr> for Name {
    fn as_ref(&self) -> &OsStr {
        self.0.as_ref()
    }
}

impl Place {
    /// What it is called where things of both kinds lie.
    pub(crate) fn passing(&self) -> OsString {
        match self.kind {
            Kind::Volume => format!("volume-{}", self.name.0),
            Kind::Snapshot => format!("snapshot-{}", self.name.0),
        }
        .into()
    }

    /// The place that is called so.
    pub(crate) fn of_passing(text: &str) -> Option<Self> {
        let known = [("volume-", Kind::Volume), ("snapshot-", Kind::Snapshot)];
        let (kind, rest) = known.iter().find_map(|(before, kind)| Some((*kind, text.strip_prefix(before)?)))?;
        Some(Self { kind, name: Name::parse(rest).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flexvolume_testkit::hostile;

    use super::*;

    #[test]
    fn a_name_that_will_do_stays_and_any_other_is_digested() {
        assert_eq!(Name::of("pvc-1").as_str(), "pvc-1");
        for odd in ["a/../b c", ".flexvol", "archived-x", "", "-x", &"x".repeat(200)] {
            let name = Name::of(odd);
            assert!(name.as_str().starts_with('v') && Name::parse(name.as_str()).is_ok(), "{odd:?}: {name:?}");
        }
        assert_ne!(Name::of("a/b"), Name::of("a\\b"));
    }

    #[test]
    fn no_name_of_hostile_symbols_is_a_path_or_ours() {
        for text in hostile::texts(4) {
            let name = Name::of(&text);
            let name = name.as_str();
            assert!(!name.starts_with('.') && !name.contains(['/', '\0']) && name.len() <= LONGEST, "{text:?}");
            assert!(Path::new(name).components().count() == 1, "{text:?}");
        }
    }
}
