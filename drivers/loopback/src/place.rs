//! Where a volume lies: a directory that the administrator trusts, and names in it that cannot lead out of it.

use std::path::{Path, PathBuf};

use flexvolume::{Code, Failure, Options, OptionsExt, Result, VolumeName, World, keys};
use flexvolume_linux::{
    Error, ErrorKind,
    beneath::{Trust, Trusted, trusted},
    fs::Intents,
};
use serde::Deserialize;

use crate::folder::Folder;

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
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: Folder,
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
        let asked = directory.as_deref().unwrap_or(&default);
        let directory = open(asked)?;
        let listed = settings.directories.iter().flatten().chain([&default]);
        let is_it =
            |dir: &PathBuf| dir == asked || trusted(dir, &Trust::here()).is_ok_and(|it| it.path() == directory.path());
        let vouched = listed.into_iter().any(is_it);
        if settings.directories.is_some() && !vouched {
            let message = format!(
                "{} is not among the directories that the settings {} allow for images",
                directory.path().display(),
                world.settings().path().display()
            );
            return Err(Failure::new(Code::Permission, message));
        }
        Ok(Self { folder: Folder::new(directory), id, vouched })
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
        let directory = self.directory().to_string_lossy();
        if given_directory { format!("{}/{}", directory.trim_matches('/'), self.id) } else { self.id.to_string() }
    }

    /// What names the storage while the node is up.
    pub(crate) fn storage(&self) -> String {
        self.directory().join(self.id.as_str()).display().to_string()
    }

    /// The volume's name.
    pub(crate) fn name(&self) -> &VolumeName {
        &self.id
    }

    /// The directory all of it lies in.
    pub(crate) fn directory(&self) -> &Path {
        self.folder.path()
    }

    /// The same, to reach what lies in it.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The image.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory().join(format!("{}.img", self.id))
    }

    /// The image while it is made.
    pub(crate) fn unborn(&self) -> PathBuf {
        self.directory().join(format!(".{}.img.new", self.id))
    }

    /// Our mark: that the image is ours, and was there.
    pub(crate) fn mark(&self) -> PathBuf {
        self.directory().join(format!(".{}.flexvol.json", self.id))
    }

    /// The durable intent to format it.
    pub(crate) fn intents(&self) -> Intents {
        Intents::within(self.folder.held(), &format!(".{}.format.json", self.id))
    }
}

/// The name of the volume that [`Place::storage`] named; `None` if the words are not ours but stand for what nobody knows any
/// more. The record was checked when it was made.
pub(crate) fn name_in(storage: &str) -> Result<Option<VolumeName>> {
    let path = Path::new(storage);
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) if path.is_absolute() => Ok(Some(VolumeName::parse(name)?)),
        Some(_) | None => Ok(None),
    }
}

/// The directory, held open, if nobody but root and we could have put another in its place.
fn open(directory: &Path) -> Result<Trusted> {
    if !directory.is_absolute() {
        let message = format!("the directory {} is not an absolute path", directory.display());
        return Err(Failure::new(Code::Invalid, message));
    }
    trusted(directory, &Trust::here()).map_err(|error| match (error.kind(), error.errno()) {
        (ErrorKind::NotFound, Some(errno)) => {
            let hint = format!("create it, owned by root: mkdir -m 0700 {}", directory.display());
            let errno = std::io::Error::from_raw_os_error(errno);
            Error::io("find the directory for images", directory, errno).with_hint(hint).into()
        }
        _ => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use flexvolume::DriverName;
    use flexvolume_testkit::hostile;

    use super::*;

    /// Every file of a volume lies in the directory itself.
    fn assert_in(place: &Place, directory: &Path, of: &str) {
        let intents = place.intents();
        for file in [place.image(), place.unborn(), place.mark(), intents.path().to_owned()] {
            assert_eq!(file.parent(), Some(directory), "{of:?}");
            assert_eq!(file.components().collect::<PathBuf>(), file, "{of:?}");
        }
        assert!(name_in(&place.storage()).is_ok_and(|name| name.as_ref() == Some(place.name())), "{of:?}");
    }

    /// Names, ids and directories that a manifest or a host could give.
    #[test]
    fn no_option_of_hostile_symbols_leads_out_of_the_directory() {
        let tmp = tempfile::tempdir().unwrap();
        let images = tmp.path().canonicalize().unwrap().join("images");
        std::fs::create_dir(&images).unwrap();
        let settings = format!("{{\"directory\":{images:?},\"directories\":[]}}");
        std::fs::write(tmp.path().join("settings.json"), settings).unwrap();
        let world = World::below(DriverName::parse("v/loopback").unwrap(), tmp.path());
        let of = |key: &str, value: &str, directory: Option<&str>| {
            let mut options = Options::default();
            options.insert(key, value);
            if let Some(directory) = directory {
                options.insert("directory", directory);
            }
            Place::of(&options, &world)
        };
        let mut accepted = 0;
        for text in hostile::texts(4) {
            for place in [of("volumeID", &text, None), of(keys::ID, &text, None)].into_iter().flatten() {
                assert_in(&place, &images, &text);
                accepted += 1;
            }
            // The directory may be written in any way, but must be the one that is allowed.
            for directory in
                [text.clone(), format!("{}/{text}", images.display()), format!("{text}{}", images.display())]
            {
                if let Ok(place) = of("volumeID", "v", Some(&directory)) {
                    assert_in(&place, &images, &directory);
                }
            }
            let name = crate::provision::volume_id(&text).unwrap();
            assert_in(&Place::new(name, None, &world).unwrap(), &images, &text);
        }
        assert!(accepted > 10 && std::fs::read_dir(&images).unwrap().next().is_none());
        assert_eq!(hostile::at_the_root(), Vec::<std::ffi::OsString>::new());
    }
}
