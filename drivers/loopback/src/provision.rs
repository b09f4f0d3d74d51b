//! Volumes made and deleted at a host's word: by name, and only what bears our mark.

use std::{fs::File, path::PathBuf};

use flexvolume::{Code, Created, Failure, Id, Options, OptionsExt, Result, VolumeName, World, keys};
use flexvolume_linux::Error;
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

use crate::{
    device,
    digest::digest,
    image,
    mark::{Mark, gone},
    place::Place,
};

/// What a volume is given that nobody asked a size for.
const USUAL: u64 = 1 << 30;

/// Makes the volume called `flexvol/name`; the same name and a fitting size again is the same volume.
pub(crate) fn create(options: &Options, world: &World) -> Result<Created> {
    let name: String = options.required(keys::NAME)?;
    let required = options.optional::<u64>(keys::REQUIRED_BYTES)?;
    let limit = options.optional::<u64>(keys::LIMIT_BYTES)?.filter(|limit| *limit > 0);
    let directory = options.optional::<PathBuf>("directory")?;
    let bytes = required.filter(|bytes| *bytes > 0).unwrap_or_else(|| limit.map_or(USUAL, |limit| limit.min(USUAL)));
    if limit.is_some_and(|limit| limit < bytes) {
        let message = format!("the limit of {limit:?} bytes is below the {bytes} that are required");
        return Err(Failure::new(Code::Invalid, message));
    }
    let place = Place::new(volume_id(&name)?, directory.clone(), world)?;
    let id = Id::parse(&place.id(directory.is_some())).map_err(|_| {
        Failure::new(Code::Invalid, "directory and name together are longer than the 128 bytes of an id")
    })?;
    let _lock = world.lock(&place.storage())?;
    let bytes = match Mark::read(&place)? {
        Some(mark) if mark.deleting => {
            end_deletion(&place)?;
            make(&place, &name, bytes)?
        }
        Some(mark) if !mark.made => return Err(conflict(&place, "another maker")),
        Some(mark) if mark.name != name => return Err(conflict(&place, "another name")),
        Some(_) => same(&place, bytes, limit)?,
        None if image::length(&place)?.is_some() => return Err(conflict(&place, "another maker")),
        None => make(&place, &name, bytes)?,
    };
    let mut kept = std::collections::BTreeMap::from([("volumeID".to_owned(), place.name().to_string())]);
    if let Some(directory) = directory {
        kept.insert("directory".to_owned(), directory.display().to_string());
    }
    Ok(Created { id, bytes: Some(bytes), options: kept })
}

fn make(place: &Place, name: &str, bytes: u64) -> Result<u64> {
    image::make(place, name, bytes).map(|()| bytes)
}

fn same(place: &Place, bytes: u64, limit: Option<u64>) -> Result<u64> {
    // Opening also gives a half-born image its name, or says that it was lost.
    drop(image::open(place, true)?);
    match image::length(place)? {
        Some(length) if length >= bytes && limit.is_none_or(|limit| length <= limit) => Ok(length),
        Some(_) | None => Err(conflict(place, "another size")),
    }
}

fn conflict(place: &Place, other: &str) -> Failure {
    Failure::new(Code::Conflict, format!("there is a volume {} already, with {other}", place.image().display()))
}

/// Deletes the volume with `flexvol/id`; one that is not there is a success, one that is in use is busy.
pub(crate) fn delete(options: &Options, world: &World) -> Result<()> {
    let id: String = options.required(keys::ID)?;
    let place = Place::of_id(&id, world)?;
    let _lock = world.lock(&place.storage())?;
    let mark = match Mark::read(&place)? {
        Some(mark) if mark.made => mark,
        None if image::length(&place)?.is_none() => return Ok(()),
        Some(_) | None => {
            let message = format!("{} was not made by this driver, so it is not deleted", place.image().display());
            return Err(Failure::new(Code::Permission, message));
        }
    };
    // A loop device of ours holds this lock as long as it has the image; nobody can attach it while we do.
    let _unused = unused(&place)?;
    if !mark.deleting {
        Mark { deleting: true, ..mark }.write(&place)?;
    }
    end_deletion(&place)
}

/// The image, locked and in nobody's use; `None` if there is none.
fn unused(place: &Place) -> Result<Option<File>> {
    let busy =
        |who: &str| Failure::new(Code::Busy, format!("{} is in use{who}; detach it first", place.image().display()));
    let image = place.folder().open(&place.image(), OFlags::RDONLY | OFlags::NONBLOCK).ok();
    if let Some(user) = device::user(place, image.as_ref())? {
        return Err(busy(&format!(", as {}", user.device.display())));
    }
    if let Some(image) = &image {
        flock(image, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::WOULDBLOCK => busy(""),
            _ => Error::io("lock the image", place.image(), error).into(),
        })?;
    }
    Ok(image)
}

/// After the deleting mark: the data, the intent to format, and last the mark itself.
fn end_deletion(place: &Place) -> Result<()> {
    gone(place, &place.image())?;
    gone(place, &place.unborn())?;
    place.intents().clear()?;
    Mark::remove(place)
}

/// The file name for a volume: its name if that will do, else a readable beginning and a digest; the mark keeps the name,
/// so of two names that meet in it the second is refused.
pub(crate) fn volume_id(name: &str) -> Result<VolumeName> {
    if name.len() <= 100
        && let Ok(id) = VolumeName::parse(name)
    {
        return Ok(id);
    }
    let readable: String = name.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    Ok(VolumeName::parse(&format!("v{readable}-{:016x}", digest(name.as_bytes())))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_file_names_are_digested() {
        assert_eq!(volume_id("pvc-1").unwrap().as_str(), "pvc-1");
        let odd = volume_id("a/../b c").unwrap();
        assert!(odd.as_str().starts_with("vabc-"), "{odd}");
        assert_ne!(volume_id("a/b").unwrap(), volume_id("a\\b").unwrap());
    }
}
