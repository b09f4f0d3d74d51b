//! Volumes and snapshots deleted: marked first, out of sight next, then removed a slice at a time, and the marker last.

use std::time::Instant;

use flexvolume::{Code, Failure, Result};
use flexvolume_linux::tree::remove;

use crate::{
    home::{Held, Home},
    ids::{id, of_id},
    marker::State,
    name::{Kind, Place},
    settings::OnDelete,
};

/// Deletes what bears our marker, or goes on deleting it, until then. What has none is not touched, and is a success: whoever asks for
/// it again has had it deleted.
///
/// # Errors
/// In progress: call again. `busy`: it is being copied. What the kernel or the server says.
pub(crate) fn unmake(home: &Held, now: i64, until: Instant) -> Result<()> {
    let place = &home.place;
    let Some(mut marker) = home.marker(place)? else { return Ok(()) };
    if matches!(marker.state, State::Making | State::Ready) {
        if let Some(copy) = copied_to(home, place)? {
            let message =
                format!("the {} is being copied; try again later, or give the copy up: {copy}", home.shown(place));
            return Err(Failure::new(Code::Busy, message));
        }
        // For as long as it is out of sight it was not published: what has its place is somebody else's.
        let hidden = marker.state == State::Making && home.is_fresh(place)?;
        home.turn(&mut marker, if hidden { State::Removing } else { State::Deleting })?;
    }
    let (shelf, trash, passing) = (home.shelf(place.kind)?, home.trash()?, place.passing());
    if marker.state == State::Deleting {
        // One that lies in the trash already was brought there by a call that was cut off.
        if trash.look(&passing)?.is_none() && home.is_taken(place)? {
            home.check()?;
            match (marker.on_delete, place.kind) {
                (OnDelete::Delete, _) | (_, Kind::Snapshot) => shelf.rename(place.name.as_ref(), &trash, &passing)?,
                (OnDelete::Archive, Kind::Volume) => {
                    shelf.rename(place.name.as_ref(), &shelf, &place.name.archive(now))?;
                }
                (OnDelete::Retain, Kind::Volume) => {}
            }
            trash.sync()?;
            shelf.sync()?;
        }
        home.turn(&mut marker, State::Removing)?;
    }
    for folder in [trash, home.fresh()?, home.copies()?] {
        home.check()?;
        finish(remove(&folder, &passing, until)?)?;
        folder.sync()?;
    }
    home.unmark()
}

fn finish(gone: bool) -> Result<()> {
    if gone { Ok(()) } else { Err(Failure::in_progress()) }
}

/// By which call a copy under way is given up that still needs this original.
fn copied_to(home: &Home, place: &Place) -> Result<Option<String>> {
    for copy in home.under_way()? {
        let Some(marker) = home.marker(&copy)? else { continue };
        // Copies stay within their pool, whatever that is called.
        let source = marker.source.as_deref().and_then(|id| of_id(id).ok());
        if let Some((pool, needed)) = source
            && marker.state == State::Making
            && needed == *place
            && copy != *place
        {
            let verb = match copy.kind {
                Kind::Volume => "deletevolume with flexvol/id",
                Kind::Snapshot => "deletesnapshot with flexvol/snapshot",
            };
            return Ok(Some(format!("{verb} {}", id(&pool, &copy))));
        }
    }
    Ok(None)
}
