//! Where a volume lies: a directory that the administrator trusts, and names in it that cannot lead out of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flexvolume::{Code, Failure, Options, OptionsExt, Result, VolumeName, World, keys};
use flexvolume_linux::{
    Error,
    beneath::{Trust, trusted_chain},
    fs::Intents,
};
use serde::Deserialize;

/// Where images lie unless settings or options say otherwise.
const DIRECTORY: &str = "/var/lib/flexvol-loopback";

/// What the settings file may say of places.
///
/// No directory is ever made: one that is absent may lie on a disk that is not mounted. For the same reason a directory
/// *below* a disk's mount point is the better choice.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    /// Where images lie by default.
    directory: Option<PathBuf>,
    /// Where else they may lie. With this list, nowhere but there and in `directory`.
    directories: Option<Vec<PathBuf>>,
}

/// The place of one volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    directory: PathBuf,
    id: VolumeName,
    /// The administrator named the directory: images that others made there may be used.
    pub(crate) vouched: bool,
}

impl Place {
    /// As a call's options say: by `flexvol/id` where the volume was provisioned, else by `volumeID` and `directory`.
    pub(crate) fn of(options: &Options, world: &World) -> Result<Self> {
        match (options.optional::<VolumeName>("volumeID")?, options.get(keys::ID)) {
            (Some(id), _) => Self::new(id, options.optional::<PathBuf>("directory")?, world),
            (None, Some(id)) => Self::of_id(id, world),
            (None, None) => {
                Err(Failure::new(Code::Invalid, "the option \"volumeID\" is missing; it names the volume's image"))
            }
        }
    }

    /// The volume called `id` in `directory`, or in the default one.
    pub(crate) fn new(id: VolumeName, directory: Option<PathBuf>, world: &World) -> Result<Self> {
        let settings: Settings = world.settings().read()?;
        let default = settings.directory.clone().unwrap_or_else(|| DIRECTORY.into());
        let directory = resolved(directory.as_deref().unwrap_or(&default))?;
        let listed = settings.directories.iter().flatten().chain([&default]);
        let vouched = listed.filter_map(|dir| fs::canonicalize(dir).ok()).any(|dir| dir == directory);
        if settings.directories.is_some() && !vouched {
            let message = format!(
                "{} is not among the directories that the settings {} allow for images",
                directory.display(),
                world.settings().path().display()
            );
            return Err(Failure::new(Code::Permission, message));
        }
        trusted_chain(&directory, &Trust::here())?;
        Ok(Self { directory, id, vouched })
    }

    /// The place of a provisioned volume: `NAME` in the default directory, `DIRECTORY/NAME` without the first slash elsewhere.
    pub(crate) fn of_id(id: &str, world: &World) -> Result<Self> {
        let (directory, name) = match id.rsplit_once('/') {
            Some((directory, name)) => (Some(PathBuf::from(format!("/{directory}"))), name),
            None => (None, id),
        };
        Self::new(VolumeName::parse(name)?, directory, world)
    }

    /// The id that [`Place::of_id`] finds it by.
    pub(crate) fn id(&self, given_directory: bool) -> String {
        let directory = self.directory.to_string_lossy();
        if given_directory { format!("{}/{}", directory.trim_matches('/'), self.id) } else { self.id.to_string() }
    }

    /// What names the storage while the node is up.
    pub(crate) fn storage(&self) -> String {
        self.directory.join(self.id.as_str()).display().to_string()
    }

    /// The place that [`Place::storage`] named; `None` if the words are not ours but stand for what nobody knows any
    /// more. The record was checked when it was made.
    pub(crate) fn of_storage(storage: &str) -> Result<Option<Self>> {
        let path = Path::new(storage);
        match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            (Some(directory), Some(name)) if path.is_absolute() => {
                Ok(Some(Self { directory: directory.to_owned(), id: VolumeName::parse(name)?, vouched: false }))
            }
            (_, _) => Ok(None),
        }
    }

    /// The volume's name.
    pub(crate) fn name(&self) -> &VolumeName {
        &self.id
    }

    /// The directory all of it lies in.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The image.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory.join(format!("{}.img", self.id))
    }

    /// The image while it is made.
    pub(crate) fn unborn(&self) -> PathBuf {
        self.directory.join(format!(".{}.img.new", self.id))
    }

    /// Our mark: that the image is ours, and was there.
    pub(crate) fn mark(&self) -> PathBuf {
        self.directory.join(format!(".{}.flexvol.json", self.id))
    }

    /// The durable intent to format it.
    pub(crate) fn intents(&self) -> Intents {
        Intents::new(self.directory.join(format!(".{}.format.json", self.id)))
    }
}

fn resolved(directory: &Path) -> Result<PathBuf> {
    if !directory.is_absolute() {
        let message = format!("the directory {} is not an absolute path", directory.display());
        return Err(Failure::new(Code::Invalid, message));
    }
    fs::canonicalize(directory).map_err(|error| {
        let hint = format!("create it, owned by root: mkdir -m 0700 {}", directory.display());
        Error::io("find the directory for images", directory, error).with_hint(hint).into()
    })
}
