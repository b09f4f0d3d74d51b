//! Volumes and snapshots made: marked first, made out of sight, published last, whole or not at all.
//!
//! ```text
//! .flexvol/new/NAME ──▶ marker "making" ──▶ filled, given to its owner ──▶ rename to its place ──▶ marker "ready"
//! ```
//! Cut off anywhere, the same call again goes on. Publishing is a rename: for as long as the tree lies out of sight, what has its place
//! is somebody else's.

use std::{path::Path, time::Instant};

use flexvolume::{Code, Failure, Result};
use flexvolume_linux::tree::{Copied, Copy, Folder, remove};

use crate::{
    home::{Held, Home},
    marker::{Marker, State, Wish},
    name::Place,
    unmake,
};

/// For nobody but root and those it is given to.
const MODE: u32 = 0o770;

/// Makes what is wished for, or goes on making it, until then; or finds it made. `source` is where the copy's original lies.
///
/// # Errors
/// In progress: call again. `conflict`: something else has its name. `notFound`: its source, or itself, is gone. `exhausted`: no
/// room. What the kernel or the server says.
pub(crate) fn make(home: &Held, wish: &Wish, source: Option<&Place>, now: i64) -> Result<Marker> {
    let (place, until) = (&home.place, home.until());
    let mut marker = match home.marker(place)? {
        Some(marker) if matches!(marker.state, State::Deleting | State::Removing) && marker.name == wish.name => {
            unmake::unmake(home, now, until)?;
            begin(home, wish, source, now)?
        }
        Some(marker) => {
            wish.same(&marker)?;
            marker
        }
        None => begin(home, wish, source, now)?,
    };
    match marker.state {
        State::Ready if home.is_directory(place)? => return Ok(marker),
        State::Ready => {
            let message =
                format!("the {} was made and is gone; restore it from a backup, or delete it", home.shown(place));
            return Err(Failure::new(Code::NotFound, message));
        }
        State::Deleting | State::Removing => {
            return Err(Failure::new(Code::Conflict, format!("the {} is being deleted", home.shown(place))));
        }
        State::Making => {}
    }
    if home.is_fresh(place)? {
        if home.is_taken(place)? {
            return Err(taken(home, place));
        }
        if let Err(failure) = publish(home, wish, source, &mut marker) {
            if is_final(&failure) {
                // Nobody calls again, and nobody has an id to delete it by. What is not removed now is when it is made or deleted.
                let _ = unmake::unmake(home, now, home.late());
            }
            return Err(failure);
        }
        // What was copied is known from here on, whichever call is the last.
        if source.is_some() {
            home.mark(&marker)?;
        }
    } else if !home.is_taken(place)? {
        let message = format!("the {} was made and is gone before it was whole; delete it", home.shown(place));
        return Err(Failure::new(Code::NotFound, message));
    }
    home.check()?;
    if !remove(&home.copies()?, &place.passing(), until)? {
        return Err(Failure::in_progress());
    }
    marker = Marker { state: State::Ready, cursor: None, ..marker };
    home.mark(&marker)?;
    Ok(marker)
}

/// Whether the same call again fails as well, until somebody mends what it says.
fn is_final(failure: &Failure) -> bool {
    match failure.code() {
        Some(Code::NotFound | Code::Exhausted | Code::Invalid | Code::Unsupported | Code::Permission) => true,
        Some(Code::Conflict | Code::Busy) | None => false,
    }
}

/// Fills the tree and brings it to its place.
fn publish(home: &Held, wish: &Wish, source: Option<&Place>, marker: &mut Marker) -> Result<()> {
    let place = &home.place;
    let (name, fresh) = (place.passing(), home.fresh()?);
    let tree = fresh.sub(Path::new(&name))?;
    if let Some(source) = source {
        copy(home, source, &tree, marker)?;
    }
    let mode = wish.mode.or(source.is_none().then_some(MODE));
    tree.give(mode, wish.uid, wish.gid)?;
    tree.sync()?;
    let shelf = home.shelf(place.kind)?;
    home.check()?;
    if let Err(error) = fresh.rename(&name, &shelf, place.name.as_ref()) {
        // Since it was looked.
        return Err(if home.is_taken(place)? { taken(home, place) } else { error.into() });
    }
    Ok(shelf.sync()?)
}

fn taken(home: &Home, place: &Place) -> Failure {
    let message = format!(
        "what has the place of the {} on the share was not made by this driver, or was kept when it was deleted (onDelete); move it away",
        home.shown(place)
    );
    Failure::new(Code::Conflict, message)
}

fn begin(home: &Held, wish: &Wish, source: Option<&Place>, now: i64) -> Result<Marker> {
    let place = &home.place;
    let original = match source {
        Some(source) => Some(ready(home, source)?),
        None => None,
    };
    let marker = wish.begin(original.as_ref(), life()?, now)?;
    if home.is_taken(place)? {
        return Err(taken(home, place));
    }
    let fresh = home.fresh()?;
    // Before the marker, by which it is known whether it was published.
    if !fresh.make(&place.passing(), 0o700)? {
        // Left by a call that was cut off here; or nobody knows what it holds.
        home.check()?;
        if !remove(&fresh, &place.passing(), home.until())? {
            return Err(Failure::in_progress());
        }
        fresh.make(&place.passing(), 0o700)?;
    }
    fresh.sync()?;
    if source.is_some() {
        // Before the marker: from now on the original is not deleted.
        home.copies()?.make(&place.passing(), 0o700)?;
    }
    match home.begin(&marker) {
        Ok(true) => return Ok(marker),
        Ok(false) => {}
        Err(failure) => {
            // They are empty.
            let _ = fresh.rmdir(&place.passing());
            let _ = home.copies()?.rmdir(&place.passing());
            return Err(failure);
        }
    }
    let message = format!("the marker of {} is there, and was not made by this driver", home.shown(place));
    Err(Failure::new(Code::Conflict, message))
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

fn copy(home: &Held, source: &Place, tree: &Folder, marker: &mut Marker) -> Result<()> {
    let (place, until) = (&home.place, home.until());
    let gone = || Failure::new(Code::NotFound, format!("the original, {}, is gone", home.shown(source)));
    let original = marker.original;
    // Another one may have its name by now.
    let same = || if ready(home, source)?.life == original.unwrap_or_default() { Ok(()) } else { Err(gone()) };
    same()?;
    let from = home.tree(source)?.ok_or_else(gone)?;
    let links = home.copies()?.make_all(Path::new(&place.passing()), 0o700)?;
    let slice = until.saturating_duration_since(Instant::now());
    let copied =
        Copy { from: &from, to: tree, links: &links, slice, go_on: &|| home.is_ours() }.run(marker.cursor.as_ref())?;
    match copied {
        // Whoever deletes it marks it first: if it is not marked now, it was whole all the time.
        Copied::All(counts) => {
            same()?;
            marker.count(counts);
        }
        Copied::To(cursor, counts) => {
            marker.count(counts);
            marker.cursor = Some(cursor);
            home.mark(marker)?;
            return Err(Failure::in_progress());
        }
    }
    Ok(())
}

/// A number that no other has.
fn life() -> Result<u64> {
    let mut random = [0_u8; 8];
    rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|error| flexvolume_linux::Error::os("cannot get random bytes", error))?;
    Ok(u64::from_ne_bytes(random))
}
