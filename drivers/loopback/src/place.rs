//! Where a volume or a snapshot lies: a directory that the administrator trusts, and names in it that cannot lead out of it.

use std::path::{Path, PathBuf};

use flexvolume::{Code, Failure, Lock, Options, OptionsExt, Result, VolumeName, World, keys};
use flexvolume_linux::fs::Intents;
use serde::{Deserialize, Serialize};

use crate::{folder::Folder, home::Home};

/// What lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    Volume,
    /// It is never attached.
    Snapshot,
}

impl Kind {
    /// What ids end in: no snapshot's is ever a volume's.
    fn ending(self) -> &'static str {
        match self {
            Self::Volume => "",
            Self::Snapshot => ".snap",
        }
    }

    fn of_image(self) -> &'static str {
        match self {
            Self::Volume => "img",
            Self::Snapshot => "snap",
        }
    }

    fn of_mark(self) -> &'static str {
        match self {
            Self::Volume => "flexvol",
            Self::Snapshot => "snapshot",
        }
    }

    /// What a person calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
        }
    }

    /// The name of what has a mark in a file of that name.
    pub(crate) fn marked_by(self, file: &str) -> Option<VolumeName> {
        let name = file.strip_prefix('.')?.strip_suffix(".json")?.strip_suffix(self.of_mark())?.strip_suffix('.')?;
        VolumeName::parse(name).ok()
    }
}

/// The place of one volume or snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    home: Home,
    id: VolumeName,
    kind: Kind,
}

impl Place {
    /// As a call's options say: by `flexvol/id` where the volume was provisioned, else by `volumeID` and `directory`.
    pub(crate) fn of(options: &Options, world: &World) -> Result<Self> {
        match (options.optional::<VolumeName>("volumeID")?, options.get(keys::ID)) {
            (Some(id), _) => {
                let directory = options.optional::<PathBuf>("directory")?;
                Ok(Self::new(Home::of(directory.as_deref(), world)?, Kind::Volume, id))
            }
            (None, Some(id)) => Self::known(id, world),
            (None, None) => {
                Err(Failure::new(Code::Invalid, "the option \"volumeID\" is missing; it names the volume's image"))
            }
        }
    }

    /// What is called `id` in that directory.
    pub(crate) fn new(home: Home, kind: Kind, id: VolumeName) -> Self {
        Self { home, id, kind }
    }

    /// The place of a provisioned volume: `NAME` in the default directory, `DIRECTORY/NAME` without the first slash elsewhere. `None`
    /// for what this driver never answered as an id: the directory in it is a real path, in which nothing is to be resolved.
    ///
    /// # Errors
    /// Those of [`Home::of`].
    pub(crate) fn of_id(id: &str, world: &World) -> Result<Option<Self>> {
        let (directory, name) = match id.rsplit_once('/') {
            Some((directory, name)) => (Some(directory), name),
            None => (None, id),
        };
        let is_real = |directory: &str| directory.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let Ok(name) = VolumeName::parse(name) else { return Ok(None) };
        if !directory.is_none_or(is_real) {
            return Ok(None);
        }
        let directory = directory.map(|directory| PathBuf::from(format!("/{directory}")));
        Ok(Some(Self::new(Home::of(directory.as_deref(), world)?, Kind::Volume, name)))
    }

    /// The same where a volume must be meant.
    ///
    /// # Errors
    /// `notFound`: no volume can have that id. And those of [`Home::of`].
    pub(crate) fn known(id: &str, world: &World) -> Result<Self> {
        let unknown = || Failure::new(Code::NotFound, format!("there is no volume {id:?}"));
        Self::of_id(id, world)?.ok_or_else(unknown)
    }

    /// The place of a snapshot, whose id is that of a volume and `.snap`; `None` if it is none of ours.
    pub(crate) fn of_snapshot(id: &str, world: &World) -> Result<Option<Self>> {
        let Some(name) = id.strip_suffix(Kind::Snapshot.ending()) else { return Ok(None) };
        Ok(Self::of_id(name, world)?.map(|place| Self { kind: Kind::Snapshot, ..place }))
    }

    /// The place of a snapshot beside this volume.
    pub(crate) fn beside(&self, kind: Kind, id: VolumeName) -> Self {
        Self { home: self.home.clone(), id, kind }
    }

    /// The id that it is found by again; with its directory if that was named, or is not the default one.
    pub(crate) fn id(&self, given_directory: bool) -> String {
        let (directory, ending) = (self.directory().to_string_lossy(), self.kind.ending());
        if given_directory || !self.home.is_default {
            format!("{}/{}{ending}", directory.trim_matches('/'), self.id)
        } else {
            format!("{}{ending}", self.id)
        }
    }

    /// What names the storage while the node is up.
    pub(crate) fn storage(&self) -> String {
        let name = match self.kind {
            Kind::Volume => self.id.to_string(),
            // No volume's name begins so.
            Kind::Snapshot => format!(".{}.snapshot", self.id),
        };
        self.directory().join(name).display().to_string()
    }

    /// The name.
    pub(crate) fn name(&self) -> &VolumeName {
        &self.id
    }

    /// What lies there.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The administrator named the directory: images that others made there may be used as volumes.
    pub(crate) fn vouched(&self) -> bool {
        self.home.vouched && self.kind == Kind::Volume
    }

    /// The directory all of it lies in.
    pub(crate) fn directory(&self) -> &Path {
        self.home.folder.path()
    }

    /// The same, to reach what lies in it.
    pub(crate) fn folder(&self) -> &Folder {
        &self.home.folder
    }

    /// The directory, and what the settings say of it.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// The image.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory().join(format!("{}.{}", self.id, self.kind.of_image()))
    }

    /// The image while it is made.
    pub(crate) fn unborn(&self) -> PathBuf {
        self.directory().join(format!(".{}.{}.new", self.id, self.kind.of_image()))
    }

    /// Our mark: that the image is ours, and was there.
    pub(crate) fn mark(&self) -> PathBuf {
        self.directory().join(format!(".{}.{}.json", self.id, self.kind.of_mark()))
    }

    /// The durable intent to format it.
    pub(crate) fn intents(&self) -> Intents {
        Intents::within(self.home.folder.held(), &format!(".{}.format.json", self.id))
    }

    /// Nobody else works on this and on the other, until both are dropped. Calls that want the same two do not wait for each
    /// other in a circle.
    pub(crate) fn lock_with(&self, other: &Self, world: &World) -> Result<[Lock; 2]> {
        let mut keys = [self.storage(), other.storage()];
        keys.sort();
        let [first, second] = keys;
        Ok([world.lock(&first)?, world.lock(&second)?])
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

#[cfg(test)]
mod tests {
    use flexvolume::DriverName;
    use flexvolume_testkit::hostile;

    use super::*;

    /// Every file of a volume lies in the directory itself.
    fn assert_in(place: &Place, directory: &Path, of: &str) {
        let intents = place.intents();
        let snapshot = place.beside(Kind::Snapshot, place.name().clone());
        let mut files = vec![place.image(), place.unborn(), place.mark(), intents.path().to_owned()];
        files.extend([snapshot.image(), snapshot.unborn(), snapshot.mark()]);
        for (n, file) in files.iter().enumerate() {
            assert_eq!(file.parent(), Some(directory), "{of:?}");
            assert_eq!(file.components().collect::<PathBuf>(), *file, "{of:?}");
            assert!(!files[..n].contains(file), "{of:?}");
        }
        assert_ne!(snapshot.storage(), place.storage());
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
            let snapshot = Place::of_snapshot(&format!("{text}.snap"), &world).ok().flatten();
            for place in [of("volumeID", &text, None), of(keys::ID, &text, None)].into_iter().flatten().chain(snapshot)
            {
                assert_in(&place.beside(Kind::Volume, place.name().clone()), &images, &text);
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
            let name = crate::provision::file_name(&text).unwrap();
            let home = Home::of(None, &world).unwrap();
            assert_in(&Place::new(home, Kind::Volume, name), &images, &text);
        }
        assert!(accepted > 10 && std::fs::read_dir(&images).unwrap().next().is_none());
        assert_eq!(hostile::at_the_root(), Vec::<std::ffi::OsString>::new());
    }

    #[test]
    fn ids_lead_back_and_no_snapshot_is_a_volume() {
        let tmp = tempfile::tempdir().unwrap();
        let images = tmp.path().canonicalize().unwrap().join("images");
        std::fs::create_dir(&images).unwrap();
        std::fs::write(tmp.path().join("settings.json"), format!("{{\"directory\":{images:?}}}")).unwrap();
        let world = World::below(DriverName::parse("v/loopback").unwrap(), tmp.path());
        let volume = Place::known("db", &world).unwrap();
        let snapshot = volume.beside(Kind::Snapshot, VolumeName::parse("monday").unwrap());
        let short = images.display().to_string().trim_start_matches('/').to_owned();
        for (place, given, id) in [
            (&volume, false, "db".to_owned()),
            (&volume, true, format!("{short}/db")),
            (&snapshot, false, "monday.snap".to_owned()),
            (&snapshot, true, format!("{short}/monday.snap")),
        ] {
            assert_eq!(place.id(given), id);
            let back = match place.kind() {
                Kind::Volume => Place::known(&id, &world).unwrap(),
                Kind::Snapshot => Place::of_snapshot(&id, &world).unwrap().unwrap(),
            };
            assert_eq!((back.image(), back.storage()), (place.image(), place.storage()));
        }
        for none in ["monday", ".snap", "a/.snap", "..snap", "db.img"] {
            assert!(Place::of_snapshot(none, &world).unwrap().is_none(), "{none}");
        }
        // Each would lead to where volumes are, and none was ever answered.
        let parent = short.rsplit_once('/').unwrap().0;
        for odd in [
            format!("{short}/../images/db"),
            format!("{short}/./db"),
            format!("{parent}//images/db"),
            format!("../{short}/db"),
            format!("{short}/.."),
            format!("{short}/../db"),
            format!("/{short}/db"),
            "../db".to_owned(),
            "./db".to_owned(),
            "a b".to_owned(),
        ] {
            assert!(Place::of_id(&odd, &world).unwrap().is_none(), "{odd}");
            assert!(Place::of_snapshot(&format!("{odd}.snap"), &world).unwrap().is_none(), "{odd}");
            assert_eq!(Place::known(&odd, &world).unwrap_err().code(), Some(Code::NotFound), "{odd}");
        }
        for kind in [Kind::Volume, Kind::Snapshot] {
            let place = volume.beside(kind, VolumeName::parse("x.snapshot").unwrap());
            let mark = place.mark();
            let file = mark.file_name().unwrap().to_str().unwrap();
            assert_eq!(kind.marked_by(file).as_ref(), Some(place.name()));
            assert_eq!(kind.marked_by("x.snapshot.img"), None);
            assert_eq!(kind.marked_by(".x.format.json"), None);
        }
        assert_eq!(Kind::Volume.marked_by(".x.snapshot.json"), None);
        assert_eq!(Kind::Snapshot.marked_by(".x.flexvol.json"), None);
    }
}
