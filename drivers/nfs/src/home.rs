//! Where everything lies in a pool, and the small files in it.
//!
//! ```text
//! BASE/NAME                       a volume
//! BASE/archived-NAME-TIME         what was one
//! BASE/.flexvol/volumes/NAME.json         its marker
//! BASE/.flexvol/snapshots/NAME            a snapshot
//! BASE/.flexvol/snapshot-notes/NAME.json  its marker
//! BASE/.flexvol/new/…             what is being made, out of sight
//! BASE/.flexvol/trash/…           what is being removed
//! BASE/.flexvol/copies/…          of each copy under way, the files with several names
//! ```

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use flexvolume::{Failure, Result};
use flexvolume_linux::tree::{Folder, Kind as What};
use serde::{Deserialize, Serialize};

use crate::{digest::digest, marker::Marker};

/// A volume or a snapshot: they are made, copied and removed alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Volume,
    Snapshot,
}

/// A pool, open.
pub(crate) struct Home {
    pub(crate) base: Folder,
    ours: Folder,
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

/// The directory of ours in a pool. Only root may enter.
const OURS: &str = ".flexvol";
const PRIVATE: u32 = 0o700;

/// The largest marker: a cursor holds a path.
const LARGEST: u64 = 1 << 20;

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

    fn file(&self) -> OsString {
        format!("{}.json", self.0).into()
    }

    /// Whether this is a marker of that name that was never finished: `.NAME.json.0123.new`.
    fn is_unfinished(&self, file: &OsStr) -> bool {
        let hidden = file.to_str().and_then(|file| file.strip_prefix('.')?.strip_suffix(".new"));
        let rest = hidden.and_then(|file| file.strip_prefix(self.0.as_str())?.strip_prefix(".json."));
        rest.is_some_and(|number| !number.contains('.'))
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

impl Kind {
    fn notes(self) -> &'static str {
        match self {
            Self::Volume => "volumes",
            Self::Snapshot => "snapshot-notes",
        }
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
}

impl Home {
    /// Opens a pool's directory. What is missing of ours in it is made.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn make(base: Folder) -> Result<Self> {
        let ours = base.make_all(Path::new(OURS), PRIVATE)?;
        for name in ["volumes", "snapshots", "snapshot-notes", "new", "trash", "copies"] {
            ours.make(OsStr::new(name), PRIVATE)?;
        }
        Ok(Self { base, ours })
    }

    /// The same, to look only: `None` if nothing was ever made there.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn find(base: Folder) -> Result<Option<Self>> {
        match base.find(Path::new(OURS))? {
            Some(ours) if ours.look(OsStr::new("copies"))?.is_some() => Ok(Some(Self { base, ours })),
            Some(_) | None => Ok(None),
        }
    }

    /// The directory in which a finished tree lies, by its name.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn shelf(&self, kind: Kind) -> Result<Folder> {
        match kind {
            Kind::Volume => Ok(self.base.sub(Path::new(""))?),
            Kind::Snapshot => self.folder("snapshots"),
        }
    }

    /// Where trees are made.
    pub(crate) fn fresh(&self) -> Result<Folder> {
        self.folder("new")
    }

    /// Where trees are removed.
    pub(crate) fn trash(&self) -> Result<Folder> {
        self.folder("trash")
    }

    /// Where copies under way keep what they must remember.
    pub(crate) fn copies(&self) -> Result<Folder> {
        self.folder("copies")
    }

    fn folder(&self, name: &str) -> Result<Folder> {
        Ok(self.ours.sub(Path::new(name))?)
    }

    /// The finished tree, open; `None` if there is none.
    ///
    /// # Errors
    /// Something else than a directory is there; what the kernel or the server says.
    pub(crate) fn tree(&self, place: &Place) -> Result<Option<Folder>> {
        Ok(self.shelf(place.kind)?.find(Path::new(place.name.as_str()))?)
    }

    /// Whether anything is where the finished tree would be.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn is_taken(&self, place: &Place) -> Result<bool> {
        Ok(self.shelf(place.kind)?.look(place.name.as_ref())?.is_some())
    }

    /// The marker, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn marker(&self, place: &Place) -> Result<Option<Marker>> {
        let notes = self.folder(place.kind.notes())?;
        let Some(text) = notes.read(&place.name.file(), LARGEST)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            let file = notes.path().join(place.name.file());
            Failure::internal(format!("the marker {} cannot be read ({error}); look what it says", file.display()))
        })
    }

    /// Writes the first marker of a tree; `false` if somebody else has.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn begin(&self, place: &Place, marker: &Marker) -> Result<bool> {
        Ok(self.folder(place.kind.notes())?.create(&place.name.file(), &text(marker)?)?)
    }

    /// Replaces the marker.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn mark(&self, place: &Place, marker: &Marker) -> Result<()> {
        Ok(self.folder(place.kind.notes())?.replace(&place.name.file(), &text(marker)?)?)
    }

    /// Removes the marker, and what calls that were cut off have left of it: from now on nothing of it is ours.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn unmark(&self, place: &Place) -> Result<()> {
        let notes = self.folder(place.kind.notes())?;
        notes.unlink(&place.name.file())?;
        for name in notes.names()? {
            if place.name.is_unfinished(&name) {
                notes.unlink(&name)?;
            }
        }
        Ok(notes.sync()?)
    }

    /// All of one kind that have a marker, by name.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn all(&self, kind: Kind) -> Result<Vec<(Name, Marker)>> {
        let mut all = Vec::new();
        for file in self.folder(kind.notes())?.names()? {
            let name = file.to_str().and_then(|file| file.strip_suffix(".json")).and_then(|it| Name::parse(it).ok());
            let Some(name) = name else { continue };
            let place = Place { kind, name };
            // Gone since it was listed.
            let Some(marker) = self.marker(&place)? else { continue };
            all.push((place.name, marker));
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    /// What a tree is called in the pool when it is kept after its end.
    pub(crate) fn archive(name: &Name, now: i64) -> OsString {
        format!("{ARCHIVED}{}-{now}", name.0).into()
    }

    /// Which copies are under way, as [`Place::passing`] calls them.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn under_way(&self) -> Result<Vec<Place>> {
        let mut all = Vec::new();
        for name in self.copies()?.names()? {
            let Some(name) = name.to_str() else { continue };
            let known = [("volume-", Kind::Volume), ("snapshot-", Kind::Snapshot)];
            let found = known.iter().find_map(|(before, kind)| name.strip_prefix(before).map(|rest| (*kind, rest)));
            if let Some((kind, rest)) = found
                && let Ok(name) = Name::parse(rest)
            {
                all.push(Place { kind, name });
            }
        }
        Ok(all)
    }

    /// Where it lies, for messages.
    pub(crate) fn shown(&self, place: &Place) -> String {
        match self.shelf(place.kind) {
            Ok(shelf) => shelf.path().join(place.name.as_str()).display().to_string(),
            Err(_) => place.name.as_str().to_owned(),
        }
    }

    /// Whether something is a directory, without opening it.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn is_directory(&self, place: &Place) -> Result<bool> {
        Ok(self.shelf(place.kind)?.look(place.name.as_ref())? == Some(What::Directory))
    }
}

fn text(marker: &Marker) -> Result<Vec<u8>> {
    serde_json::to_vec(marker).map_err(|error| Failure::internal(format!("cannot write a marker: {error}")))
}

#[cfg(test)]
mod tests {
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
    fn an_unfinished_marker_is_told_from_that_of_another_name() {
        let name = Name::of("v");
        assert!(name.is_unfinished(OsStr::new(".v.json.0906775e9e92261d.new")));
        for other in [
            "v.json",
            ".v.json",
            ".v.json.new",
            ".w.json.1.new",
            ".v.json.json.1.new",
            "v.json.1.new",
            ".vv.json.1.new",
        ] {
            assert!(!name.is_unfinished(OsStr::new(other)), "{other}");
        }
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
