//! Volumes made and deleted at a host's word: by name, and only what bears our mark.

use std::{collections::BTreeMap, path::PathBuf};

use flexvolume::{Code, Created, Failure, Id, Options, OptionsExt, Result, VolumeName, World, keys};
use flexvolume_linux::fs::FsType;

use crate::{
    copy,
    digest::digest,
    home::Home,
    image,
    mark::{Mark, gone},
    modify::Change,
    place::{Kind, Place},
    unused::unused,
};

/// What a volume is given that nobody asked a size for.
const USUAL: u64 = 1 << 30;

/// What a volume is made of: a smaller or a broken block is of no use to a device.
const BLOCK: u64 = 4096;

/// What `createvolume` is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    /// The directory, if it was named.
    pub(crate) directory: Option<PathBuf>,
    /// At least so many bytes; `None` if nobody minds.
    pub(crate) required: Option<u64>,
    /// At most.
    pub(crate) limit: Option<u64>,
    /// What can be changed later.
    pub(crate) change: Change,
}

/// What a volume has that is of the same name and another [`Change`].
pub(crate) const ANOTHER_WAY: &str = "another directIO";

impl Wish {
    /// As the options say.
    ///
    /// # Errors
    /// `invalid`: they make no sense, or no volume of that type could ever be mounted.
    pub(crate) fn of(options: &Options) -> Result<Self> {
        FsType::parse(options.fs_type())
            .map_err(|error| Failure::new(Code::Invalid, Failure::from(error).to_string()))?;
        let number = |key: &str| Ok::<_, Failure>(options.optional::<u64>(key)?.filter(|bytes| *bytes > 0));
        let wish = Self {
            name: options.required(keys::NAME)?,
            directory: options.optional("directory")?,
            required: number(keys::REQUIRED_BYTES)?,
            limit: number(keys::LIMIT_BYTES)?,
            change: Change::of_new(options)?,
        };
        match (wish.required, wish.limit) {
            (Some(required), Some(limit)) if limit < required => {
                let message = format!("the limit of {limit} bytes is below the {required} that are required");
                Err(Failure::new(Code::Invalid, message))
            }
            (_, _) => Ok(wish),
        }
    }

    /// Where it is to lie.
    ///
    /// # Errors
    /// Those of [`Home::of`]; `invalid`: it could have no id.
    pub(crate) fn place(&self, world: &World) -> Result<Place> {
        let home = Home::of(self.directory.as_deref(), world)?;
        let place = Place::new(home, Kind::Volume, file_name(&self.name)?);
        id(&place, self.directory.is_some()).map(|_| place)
    }

    /// Whether one of so many bytes is what is asked for.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        self.required.is_none_or(|required| bytes >= required) && self.limit.is_none_or(|limit| bytes <= limit)
    }

    /// How many bytes it has at least.
    fn least(&self) -> u64 {
        self.required.unwrap_or_else(|| self.limit.map_or(USUAL, |limit| limit.min(USUAL) / BLOCK * BLOCK))
    }

    /// So many bytes in whole blocks, which a new one is made of.
    ///
    /// # Errors
    /// `invalid`: it would become larger than it may be.
    pub(crate) fn rounded(&self, bytes: u64) -> Result<u64> {
        let whole = bytes.max(1).checked_next_multiple_of(BLOCK).unwrap_or(bytes);
        match self.limit {
            Some(limit) if limit < whole => {
                let message = format!(
                    "sizes are multiples of {BLOCK}: {bytes} would become {whole}, and no more than {limit} are wanted"
                );
                Err(Failure::new(Code::Invalid, message))
            }
            Some(_) | None => Ok(whole),
        }
    }

    /// The mark of what is asked for, in so many bytes.
    pub(crate) fn mark(&self, bytes: u64) -> Result<Mark> {
        Ok(self.change.on(Mark { directory: self.directory.clone(), ..Mark::new(&self.name, bytes, true)? }))
    }
}

/// Makes the volume called `flexvol/name`, empty; the same name and a fitting size again is the same volume.
pub(crate) fn create(options: &Options, world: &World) -> Result<Created> {
    let wish = Wish::of(options)?;
    let least = wish.least();
    let place = wish.place(world)?;
    let _lock = world.lock(&place.storage())?;
    let make = || {
        let mark = wish.mark(wish.rounded(least)?)?;
        image::make(&place, mark.clone()).map(|()| mark)
    };
    let mark = match ours(&place, &wish.name)? {
        Some(mark) if mark.origin.is_some() => return Err(conflict(&place, "the content of another")),
        Some(mark) => mark,
        None => make()?,
    };
    let least = Wish { required: Some(least), ..wish };
    created(&place, &mark, same(&place, &mark, &least)?)
}

/// The mark of the volume or snapshot of that name, whole or half-made; `None` if it can be made. What was half-deleted is gone
/// then.
///
/// # Errors
/// `conflict`: something else has its place.
pub(crate) fn ours(place: &Place, name: &str) -> Result<Option<Mark>> {
    match Mark::read(place)? {
        Some(mark) if mark.deleting => end_deletion(place).map(|()| None),
        Some(mark) if !mark.made => Err(conflict(place, "another maker")),
        Some(mark) if mark.name != name => Err(conflict(place, "another name")),
        Some(mark) => Ok(Some(mark)),
        None if image::length(place)?.is_some() => Err(conflict(place, "another maker")),
        None => Ok(None),
    }
}

/// The size of the volume that is there, if it is what is asked for.
///
/// # Errors
/// `conflict`: it is not. `notFound`: it is lost.
pub(crate) fn same(place: &Place, mark: &Mark, wish: &Wish) -> Result<u64> {
    // Opening also gives a half-born image its name, or says that it was lost.
    drop(image::open(place, true)?);
    match image::length(place)? {
        Some(length) if wish.fits(length) && wish.change.is_so(mark) => Ok(length),
        Some(length) if wish.fits(length) => Err(conflict(place, ANOTHER_WAY)),
        Some(_) | None => Err(conflict(place, "another size")),
    }
}

/// Something else is there.
pub(crate) fn conflict(place: &Place, other: &str) -> Failure {
    let (kind, image) = (place.kind().word(), place.image());
    Failure::new(Code::Conflict, format!("there is a {kind} {} already, with {other}", image.display()))
}

/// The volume as its host was told of it when it was made.
pub(crate) fn created(place: &Place, mark: &Mark, bytes: u64) -> Result<Created> {
    let mut options = BTreeMap::from([("volumeID".to_owned(), place.name().to_string())]);
    let elsewhere = (!place.home().is_default).then(|| place.directory().to_owned());
    if let Some(directory) = mark.directory.clone().or(elsewhere) {
        options.insert("directory".to_owned(), directory.display().to_string());
    }
    Ok(Created { id: id(place, mark.directory.is_some())?, bytes: Some(bytes), options })
}

/// The id of a volume or snapshot.
///
/// # Errors
/// `invalid`: it is too long.
pub(crate) fn id(place: &Place, given_directory: bool) -> Result<Id> {
    Id::parse(&place.id(given_directory))
        .map_err(|_| Failure::new(Code::Invalid, "directory and name together are longer than the 128 bytes of an id"))
}

/// Deletes the volume with `flexvol/id`; one that is not there is a success, one that is in use is busy.
pub(crate) fn delete(options: &Options, world: &World) -> Result<()> {
    let id: String = options.required(keys::ID)?;
    match Place::of_id(&id, world)? {
        Some(place) => delete_at(&place, world),
        None => Ok(()),
    }
}

/// Deletes what lies there, if it is ours.
///
/// # Errors
/// `busy`: it is in use. `permission`: it is not ours.
pub(crate) fn delete_at(place: &Place, world: &World) -> Result<()> {
    let _lock = world.lock(&place.storage())?;
    let mark = match Mark::read(place)? {
        Some(mark) if mark.made => mark,
        // What was cut off before it had a mark, if anything.
        None if image::length(place)?.is_none() => return copy::undo(place),
        Some(_) | None => {
            let message = format!("{} was not made by this driver, so it is not deleted", place.image().display());
            return Err(Failure::new(Code::Permission, message));
        }
    };
    if mark.making.is_some() {
        // Whatever has its image's name by now is somebody else's.
        return copy::undo(place);
    }
    // A loop device of ours holds this lock as long as it has the image; nobody can attach it while we do.
    let _unused = unused(place)?;
    if !mark.deleting {
        Mark { deleting: true, ..mark }.write(place)?;
    }
    end_deletion(place)
}

/// After the deleting mark: the data, the intent to format, and last the mark itself.
fn end_deletion(place: &Place) -> Result<()> {
    gone(place, &place.image())?;
    gone(place, &place.unborn())?;
    if place.kind() == Kind::Volume {
        place.intents().clear()?;
    }
    Mark::remove(place)
}

/// The file name for a volume or snapshot: its name if that will do, else a readable beginning and a digest; the mark keeps the name,
/// so of two names that meet in it the second is refused.
pub(crate) fn file_name(name: &str) -> Result<VolumeName> {
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
    fn sizes_are_whole_blocks_within_the_limit() {
        let made = |required: Option<u64>, limit: Option<u64>| {
            let wish = Wish { name: "v".into(), directory: None, required, limit, change: Change::default() };
            wish.rounded(wish.least()).map_err(|failure| failure.code())
        };
        assert_eq!((made(None, None), made(Some(4096), Some(4096))), (Ok(USUAL), Ok(4096)));
        assert_eq!((made(Some(1), None), made(Some(4097), Some(8192))), (Ok(4096), Ok(8192)));
        assert_eq!(made(None, Some(5000)), Ok(4096), "as much as it may have");
        for (required, limit) in [(Some(1), 4095), (Some(4097), 8191), (None, 4095)] {
            assert_eq!(made(required, Some(limit)), Err(Some(Code::Invalid)), "{required:?} {limit}");
        }
    }

    #[test]
    fn names_that_are_no_file_names_are_digested() {
        assert_eq!(file_name("pvc-1").unwrap().as_str(), "pvc-1");
        let odd = file_name("a/../b c").unwrap();
        assert!(odd.as_str().starts_with("vabc-"), "{odd}");
        assert_ne!(file_name("a/b").unwrap(), file_name("a\\b").unwrap());
    }
}
