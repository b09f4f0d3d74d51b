//! Volumes and snapshots made: marked first, made out of sight, published last, whole or not at all.
//!
//! ```text
//! marker "making" ──▶ .flexvol/new/NAME (made or copied, given to its owner) ──▶ rename to its place ──▶ marker "ready"
//! ```
//! Cut off anywhere, the same call again goes on. Who writes the marker first makes the tree, whichever machine that is on.

use std::{path::Path, time::Instant};

use flexvolume::{Code, Failure, Result};
use flexvolume_linux::tree::{Copied, Copy, Folder, remove};

use crate::{
    home::{Home, Place},
    marker::{Marker, State, Wish},
    unmake,
};

/// For nobody but root and those it is given to.
const MODE: u32 = 0o770;

/// Makes what is wished for, or goes on making it, until then; or finds it made. `source` is where the copy's original lies.
///
/// # Errors
/// In progress: call again. `conflict`: something else has its name. `notFound`: its source, or itself, is gone. `exhausted`: no
/// room. What the kernel or the server says.
pub(crate) fn make(
    home: &Home,
    place: &Place,
    wish: &Wish,
    source: Option<&Place>,
    now: i64,
    until: Instant,
) -> Result<Marker> {
    let mut marker = match home.marker(place)? {
        Some(marker) if matches!(marker.state, State::Deleting | State::Removing) && marker.name == wish.name => {
            unmake::unmake(home, place, now, until)?;
            begin(home, place, wish, source, now)?
        }
        Some(marker) => {
            wish.same(&marker)?;
            marker
        }
        None => begin(home, place, wish, source, now)?,
    };
    match marker.state {
        State::Ready if home.is_directory(place)? => return Ok(marker),
        State::Ready => {
            let message = format!("{} was made and is gone; restore it from a backup, or delete it", home.shown(place));
            return Err(Failure::new(Code::NotFound, message));
        }
        State::Deleting | State::Removing => {
            return Err(Failure::new(Code::Conflict, format!("{} is being deleted", home.shown(place))));
        }
        State::Making => {}
    }
    // Once it is there it was published by an earlier call.
    if !home.is_taken(place)? {
        let (name, fresh) = (place.passing(), home.fresh()?);
        fresh.make(&name, 0o700)?;
        let tree = fresh.sub(Path::new(&name))?;
        if let Some(source) = source
            && let Err(failure) = copy(home, place, source, &tree, &mut marker, until)
        {
            if failure.code() == Some(Code::NotFound) {
                // It can never be whole. What is not removed now is when it is deleted.
                let _ = unmake::unmake(home, place, now, until);
            }
            return Err(failure);
        }
        let mode = wish.mode.or(source.is_none().then_some(MODE));
        tree.give(mode, wish.uid, wish.gid)?;
        tree.sync()?;
        let shelf = home.shelf(place.kind)?;
        fresh.rename(&name, &shelf, place.name.as_ref())?;
        shelf.sync()?;
    }
    if !remove(&home.copies()?, &place.passing(), until)? {
        return Err(Failure::in_progress());
    }
    marker = Marker { state: State::Ready, cursor: None, ..marker };
    home.mark(place, &marker)?;
    Ok(marker)
}

fn begin(home: &Home, place: &Place, wish: &Wish, source: Option<&Place>, now: i64) -> Result<Marker> {
    let original = match source {
        Some(source) => Some(ready(home, source)?),
        None => None,
    };
    let marker = wish.begin(original.map_or(0, |original| original.bytes), now)?;
    if home.is_taken(place)? {
        let message = format!("there is {} already, and it was not made by this driver", home.shown(place));
        return Err(Failure::new(Code::Conflict, message));
    }
    if source.is_some() {
        // Before the marker: from now on the original is not deleted.
        home.copies()?.make(&place.passing(), 0o700)?;
    }
    if home.begin(place, &marker)? {
        return Ok(marker);
    }
    // Another machine was faster, with the same wish or with another one.
    let theirs = home.marker(place)?.ok_or_else(Failure::in_progress)?;
    wish.same(&theirs)?;
    Ok(theirs)
}

/// The marker of something that is there.
///
/// # Errors
/// `notFound`: it is not.
pub(crate) fn ready(home: &Home, place: &Place) -> Result<Marker> {
    match home.marker(place)? {
        Some(marker) if marker.state == State::Ready => Ok(marker),
        Some(_) | None => Err(Failure::new(Code::NotFound, format!("there is no {} (any more)", home.shown(place)))),
    }
}

fn copy(home: &Home, place: &Place, source: &Place, tree: &Folder, marker: &mut Marker, until: Instant) -> Result<()> {
    let gone = || Failure::new(Code::NotFound, format!("the original {} is gone", home.shown(source)));
    ready(home, source)?;
    let from = home.tree(source)?.ok_or_else(gone)?;
    let links = home.copies()?.make_all(Path::new(&place.passing()), 0o700)?;
    let slice = until.saturating_duration_since(Instant::now());
    let copied = Copy { from: &from, to: tree, links: &links, slice }.run(marker.cursor.as_ref())?;
    match copied {
        // Whoever deletes it marks it first: if it is not marked now, it was whole all the time.
        Copied::All(counts) => {
            ready(home, source)?;
            marker.count(counts);
        }
        Copied::To(cursor, counts) => {
            marker.count(counts);
            marker.cursor = Some(cursor);
            home.mark(place, marker)?;
            return Err(Failure::in_progress());
        }
    }
    Ok(())
}
