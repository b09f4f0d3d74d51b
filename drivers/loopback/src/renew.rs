//! A clone before and after its first mount: its file system gets a UUID of its own, and fills what it lies on.
//!
//! Until then its mark says so. What the mark says goes after the UUID was given and before anything is mounted, so a clone that
//! was cut off in between is renewed again, and one that was ever mounted never is.

use std::path::Path;

use flexvolume::{Result, World};
use flexvolume_linux::fs::{Content, FsType, content, grow_fs, renew_uuid};

use crate::{device, image, mark::Mark, place::Place};

/// Gives a clone's file system the UUID that was chosen for it. One that holds nothing yet needs none. Others have nothing
/// to do. Gives what a person should hear of.
///
/// # Errors
/// What [`renew_uuid`] says; then nothing may be mounted.
pub(crate) fn before_mount(place: &Place, device: &Path, fs_type: FsType, world: &World) -> Result<Vec<String>> {
    if pending(place)?.is_none() {
        return Ok(Vec::new());
    }
    let _lock = world.lock(&place.storage())?;
    // Another call may have done it while this one waited.
    let Some((mark, uuid)) = pending(place)? else { return Ok(Vec::new()) };
    let notes = match content(device)? {
        Content::Empty => Vec::new(),
        Content::Filesystem { .. } | Content::Unsigned { .. } | Content::Unknown { .. } => {
            renew_uuid(device, fs_type, &uuid)?
        }
    };
    Mark { renew: None, ..mark }.write(place)?;
    Ok(notes)
}

/// The same before a first attachment for reading alone, after which nothing can be written: through a device that is there for that
/// moment. What is no file system of ours is left as it is. The place is locked.
///
/// # Errors
/// As above; the image is in use.
pub(crate) fn before_attach(place: &Place, read_only: bool) -> Result<Vec<String>> {
    let Some((mark, uuid)) = pending(place)? else { return Ok(Vec::new()) };
    // What a call left that was cut off below.
    device::end_moment(place)?;
    if !read_only {
        return Ok(Vec::new());
    }
    let Some(image) = image::open(place, false)? else { return Ok(Vec::new()) };
    if device::sole(place, &image)?.is_some() {
        return Ok(Vec::new());
    }
    let notes = device::for_a_moment(place, image, |device| match content(device)? {
        Content::Filesystem { fs_type, in_progress: false, .. } => match FsType::parse(&fs_type) {
            Ok(fs_type) => Ok(Some(renew_uuid(device, fs_type, &uuid)?)),
            Err(_) => Ok(None),
        },
        Content::Empty | Content::Filesystem { .. } | Content::Unsigned { .. } | Content::Unknown { .. } => Ok(None),
    })?;
    if notes.is_some() {
        Mark { renew: None, ..mark }.write(place)?;
    }
    Ok(notes.unwrap_or_default())
}

fn pending(place: &Place) -> Result<Option<(Mark, String)>> {
    Ok(Mark::read(place)?.and_then(|mark| mark.renew.clone().map(|uuid| (mark, uuid))))
}

/// Makes the file system of a clone as large as the clone, if that is larger than its original was. Others have nothing
/// to do.
///
/// # Errors
/// What [`grow_fs`] says.
pub(crate) fn after_mount(place: &Place, device: &Path, dir: &Path, world: &World) -> Result<()> {
    if !Mark::read(place)?.is_some_and(|mark| mark.grow) {
        return Ok(());
    }
    let _lock = world.lock(&place.storage())?;
    let Some(mark) = Mark::read(place)?.filter(|mark| mark.grow) else { return Ok(()) };
    grow_fs(device, dir)?;
    Mark { grow: false, ..mark }.write(place)
}
