//! Volumes and snapshots deleted: marked first, out of sight next, then removed a slice at a time, and the marker last.

use std::time::Instant;

use flexvolume::{Code, Failure, Result};
use flexvolume_linux::tree::remove;

use crate::{
    home::{Home, Kind, Place},
    marker::{Marker, State},
    settings::OnDelete,
};

/// Deletes what bears our marker, or goes on deleting it, until then. What has none is not touched, and is a success: whoever asks for
/// it again has had it deleted.
///
/// # Errors
/// In progress: call again. `busy`: it is being copied. What the kernel or the server says.
pub(crate) fn unmake(home: &Home, place: &Place, now: i64, until: Instant) -> Result<()> {
    let Some(mut marker) = home.marker(place)? else { return Ok(()) };
    if matches!(marker.state, State::Making | State::Ready) {
        if let Some(copy) = copied_to(home, place)? {
            let message = format!("{} is being copied to {}; try again later", home.shown(place), copy.name.as_str());
            return Err(Failure::new(Code::Busy, message));
        }
        marker = Marker { state: State::Deleting, cursor: None, ..marker };
        home.mark(place, &marker)?;
    }
    let (shelf, trash, passing) = (home.shelf(place.kind)?, home.trash()?, place.passing());
    if marker.state == State::Deleting {
        // One that lies in the trash already was brought there by a call that was cut off.
        if trash.look(&passing)?.is_none() && home.is_taken(place)? {
            match (marker.on_delete, place.kind) {
                (OnDelete::Delete, _) | (_, Kind::Snapshot) => shelf.rename(place.name.as_ref(), &trash, &passing)?,
                (OnDelete::Archive, Kind::Volume) => {
                    shelf.rename(place.name.as_ref(), &shelf, &Home::archive(&place.name, now))?;
                }
                (OnDelete::Retain, Kind::Volume) => {}
            }
            trash.sync()?;
            shelf.sync()?;
        }
        home.mark(place, &Marker { state: State::Removing, ..marker })?;
    }
    for folder in [trash, home.fresh()?, home.copies()?] {
        finish(remove(&folder, &passing, until)?)?;
        folder.sync()?;
    }
    home.unmark(place)
}

fn finish(gone: bool) -> Result<()> {
    if gone { Ok(()) } else { Err(Failure::in_progress()) }
}

/// A copy under way that still needs this original.
fn copied_to(home: &Home, place: &Place) -> Result<Option<Place>> {
    for copy in home.under_way()? {
        let Some(marker) = home.marker(&copy)? else { continue };
        let needs = marker.state == State::Making && marker.source.as_deref().is_some_and(|id| is_id_of(id, place));
        if needs && copy != *place {
            return Ok(Some(copy));
        }
    }
    Ok(None)
}

/// Whether an id, of whichever pool, names this place: copies stay within their pool.
fn is_id_of(id: &str, place: &Place) -> bool {
    crate::ids::of_id(id).is_ok_and(|(_, there)| there == *place)
}
