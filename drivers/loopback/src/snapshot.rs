//! Snapshots: files beside the images, of what a volume held at one moment. They are never attached, and depend on nothing.

use flexvolume::{Code, Failure, Options, OptionsExt, Result, Snapshot, World, keys};

use crate::{
    copy::{self, Source},
    home::until,
    image,
    mark::Mark,
    place::{Kind, Place},
    provision::{conflict, delete_at, file_name, id, ours},
};

/// Keeps what the volume `flexvol/id` holds under `flexvol/name`; the same name again is the same snapshot.
///
/// # Errors
/// `notFound`: there is no such volume. `conflict`: there is a snapshot of another one of that name. And those of [`copy::make`].
pub(crate) fn create(options: &Options, world: &World) -> Result<Snapshot> {
    let name: String = options.required(keys::NAME)?;
    let asked: String = options.required(keys::ID)?;
    let volume = Place::known(&asked, world)?;
    let place = volume.beside(Kind::Snapshot, file_name(&name)?);
    let _locks = place.lock_with(&volume, world)?;
    let now = Mark::read(&volume)?;
    let begun = ours(&place, &name)?;
    if let Some(mark) = &begun {
        let origin = mark.origin.as_ref().filter(|origin| origin.storage == volume.storage());
        if !origin
            .is_some_and(|origin| now.as_ref().is_none_or(|now| origin.uuid.is_empty() || now.uuid == origin.uuid))
        {
            return Err(conflict(&place, "the content of another volume"));
        }
        if mark.making.is_none() {
            // Opening also gives a half-born image its name.
            let Some(_image) = image::open(&place, true)? else { return Err(image::lost(&place)) };
            return told(&place, mark);
        }
    }
    let unknown = || Failure::new(Code::NotFound, format!("there is no volume {asked:?}"));
    let source = Source::open(volume).and_then(|source| source.ok_or_else(unknown)).inspect_err(|_| {
        // Of what is half-made nothing can come any more. What is not removed now is when it is deleted.
        if begun.is_some() {
            let _ = copy::undo(&place);
        }
    })?;
    // With the directory in its id if the volume's has it there.
    let directory = now.and_then(|now| now.directory);
    let whose = id(&source.place, directory.is_some())?;
    id(&place, directory.is_some())?;
    let begun = match begun {
        Some(begun) => begun,
        None => Mark::new(&name, source.bytes, true)?,
    };
    let origin = Some(source.origin(whose.to_string()));
    let mark = Mark { bytes: source.bytes, directory, origin, grow: source.grow, ..begun };
    let made = copy::make(&place, mark, &source, until(world)?)?;
    told(&place, &made)
}

/// Deletes the snapshot `flexvol/snapshot`; one that nobody knows is a success.
///
/// # Errors
/// `busy`: somebody has it attached by hand.
pub(crate) fn delete(options: &Options, world: &World) -> Result<()> {
    match Place::of_snapshot(&options.required::<String>(keys::SNAPSHOT)?, world)? {
        Some(place) => delete_at(&place, world),
        None => Ok(()),
    }
}

/// The snapshot as its host is told of it.
///
/// # Errors
/// Its mark is no snapshot's.
pub(crate) fn told(place: &Place, mark: &Mark) -> Result<Snapshot> {
    let (Some(origin), Some(created)) = (&mark.origin, mark.taken) else {
        let message = format!("{} does not say what it is a snapshot of; restore it", place.mark().display());
        return Err(Failure::internal(message));
    };
    Ok(Snapshot {
        snapshot: id(place, mark.directory.is_some())?,
        id: Some(origin.id.parse()?),
        bytes: Some(mark.bytes),
        created,
        ready: true,
    })
}
