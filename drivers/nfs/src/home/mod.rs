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
//! BASE/.flexvol/locks/…           what is locked by whoever makes or deletes
//! ```

mod held;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use flexvolume::{Failure, Result};
use flexvolume_linux::tree::{Folder, Kind as What};

pub(crate) use held::{Held, Times};

use crate::{
    marker::{Marker, State},
    name::{Kind, Name, Place},
};

/// A pool, open.
pub(crate) struct Home {
    pub(crate) base: Folder,
    ours: Folder,
}

/// The directory of ours in a pool. Only root may enter, or whom the server makes of root.
pub(crate) const OURS: &str = ".flexvol";
const PRIVATE: u32 = 0o700;

/// The largest marker: a cursor holds a path.
const LARGEST: u64 = 1 << 20;

/// Whether a part of a path is that directory's name, to any server.
pub(crate) fn is_ours(part: &str) -> bool {
    part.eq_ignore_ascii_case(OURS)
}

/// The directory of the markers of a kind.
fn notes(kind: Kind) -> &'static str {
    match kind {
        Kind::Volume => "volumes",
        Kind::Snapshot => "snapshot-notes",
    }
}

/// The file of a marker. That something is being deleted its name says: giving it another one takes no room on a full share.
fn file(name: &Name, state: State) -> OsString {
    let ending = match state {
        State::Making | State::Ready => "json",
        State::Deleting => "deleting",
        State::Removing => "removing",
    };
    format!("{}.{ending}", name.as_str()).into()
}

impl Home {
    /// Opens a pool's directory. What is missing of ours in it is made.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn make(base: Folder) -> Result<Self> {
        let ours = base.make_all(Path::new(OURS), PRIVATE)?;
        for name in ["volumes", "snapshots", "snapshot-notes", "new", "trash", "copies", "locks"] {
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

    /// Whether it lies where trees are made. It is there before its marker is, and leaves by being published: a tree that is being
    /// made, and does not lie here, lies in its place.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn is_fresh(&self, place: &Place) -> Result<bool> {
        Ok(self.fresh()?.look(&place.passing())?.is_some())
    }

    /// The marker, if there is one of this very name: to some servers letters of either case are the same.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn marker(&self, place: &Place) -> Result<Option<Marker>> {
        let notes = self.folder(notes(place.kind))?;
        // In the order in which they follow one another: one that goes on meanwhile is not missed.
        for state in [State::Ready, State::Deleting, State::Removing] {
            let file = file(&place.name, state);
            let Some(text) = notes.read(&file, LARGEST)? else { continue };
            let marker: Marker = serde_json::from_slice(&text).map_err(|error| {
                let file = notes.path().join(&file);
                Failure::internal(format!("the marker {} cannot be read ({error}); look what it says", file.display()))
            })?;
            if Name::of(&marker.name) != place.name {
                continue;
            }
            let state = if state == State::Ready { marker.state } else { state };
            return Ok(Some(Marker { state, ..marker }));
        }
        Ok(None)
    }

    /// Writes the first marker of a tree; `false` if somebody else has.
    ///
    /// # Errors
    /// What the kernel or the server says.
    fn begin(&self, place: &Place, marker: &Marker) -> Result<bool> {
        Ok(self.folder(notes(place.kind))?.create(&file(&place.name, marker.state), &text(marker)?)?)
    }

    /// Replaces the marker.
    ///
    /// # Errors
    /// What the kernel or the server says.
    fn mark(&self, place: &Place, marker: &Marker) -> Result<()> {
        Ok(self.folder(notes(place.kind))?.replace(&file(&place.name, marker.state), &text(marker)?)?)
    }

    /// Says of a tree that is being deleted how far that is. What else is written in the marker stays as it is.
    fn turn(&self, place: &Place, from: State, to: State) -> Result<()> {
        let notes = self.folder(notes(place.kind))?;
        notes.rename(&file(&place.name, from), &notes, &file(&place.name, to))?;
        Ok(notes.sync()?)
    }

    /// Removes the marker: from now on nothing of it is ours.
    fn unmark(&self, place: &Place) -> Result<()> {
        let notes = self.folder(notes(place.kind))?;
        notes.unlink_unfinished(&file(&place.name, State::Ready))?;
        notes.unlink(&file(&place.name, State::Removing))?;
        Ok(notes.sync()?)
    }

    /// All of one kind that have a marker and are not being deleted, in no order.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn all(&self, kind: Kind) -> Result<Vec<Name>> {
        let files = self.folder(notes(kind))?.names()?;
        Ok(files.iter().filter_map(|file| Name::parse(file.to_str()?.strip_suffix(".json")?).ok()).collect())
    }

    /// Which copies are under way, as [`Place::passing`] calls them.
    ///
    /// # Errors
    /// What the kernel or the server says.
    pub(crate) fn under_way(&self) -> Result<Vec<Place>> {
        let names = self.copies()?.names()?;
        Ok(names.iter().filter_map(|name| Place::of_passing(name.to_str()?)).collect())
    }

    /// What it is called in messages. Where it lies here nobody finds it afterwards.
    pub(crate) fn shown(&self, place: &Place) -> String {
        match place.kind {
            Kind::Volume => format!("volume {:?}", place.name.as_str()),
            Kind::Snapshot => format!("snapshot {:?}", place.name.as_str()),
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
