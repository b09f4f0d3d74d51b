//! The directories where images lie: which they are by the settings, and that nobody else can put something in their place.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flexvolume::{Code, Failure, Result, World};
use flexvolume_linux::{
    Error, ErrorKind,
    beneath::{Trust, Trusted, trusted},
};
use serde::Deserialize;

use crate::folder::Folder;

/// Where images lie unless settings or options say otherwise.
const DIRECTORY: &str = "/var/lib/flexvol-loopback";

/// For how many seconds one call copies.
const SLICE: u64 = 10;
/// And at most. It is less than hosts wait.
const LONGEST_SLICE: u64 = 60;

/// What the settings file may say.
///
/// No directory is ever made: one that is absent may lie on a disk that is not mounted. For the same reason a directory
/// *below* a disk's mount point is the better choice.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    /// Where images lie by default.
    directory: Option<PathBuf>,
    /// Where else they may lie. With this list, nowhere but there and in `directory`.
    directories: Option<Vec<PathBuf>>,
    /// For how many seconds one call copies before it answers "In progress".
    slice: Option<u64>,
}

impl Settings {
    fn read(world: &World) -> Result<Self> {
        world.settings().read()
    }

    fn default(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| DIRECTORY.into())
    }
}

/// A directory of images.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// The directory, held open.
    pub(crate) folder: Folder,
    /// The administrator named it: images that others made there may be used.
    pub(crate) vouched: bool,
    /// It is the default one: ids of what lies in it do not name it.
    pub(crate) is_default: bool,
}

impl Home {
    /// The directory that is asked for, or the default one.
    ///
    /// # Errors
    /// `invalid`: it is not absolute. `permission`: the settings do not allow it. It is not there, or cannot be trusted.
    pub(crate) fn of(asked: Option<&Path>, world: &World) -> Result<Self> {
        let settings = Settings::read(world)?;
        let default = settings.default();
        let asked = asked.unwrap_or(&default);
        let directory = open(asked)?;
        let is_it =
            |dir: &PathBuf| dir == asked || trusted(dir, &Trust::here()).is_ok_and(|it| it.path() == directory.path());
        let is_default = is_it(&default);
        let vouched = is_default || settings.directories.iter().flatten().any(is_it);
        if settings.directories.is_some() && !vouched {
            let message = format!(
                "{} is not among the directories that the settings {} allow for images",
                directory.path().display(),
                world.settings().path().display()
            );
            return Err(Failure::new(Code::Permission, message));
        }
        Ok(Self { folder: Folder::new(directory), vouched, is_default })
    }

    /// Every directory that the settings name, each once. The default one counts if it is there or they name it.
    ///
    /// # Errors
    /// The settings cannot be read.
    pub(crate) fn all(world: &World) -> Result<Vec<(PathBuf, Result<Self>)>> {
        let settings = Settings::read(world)?;
        let default = settings.default();
        let mut all: Vec<(PathBuf, Result<Self>)> = Vec::new();
        for path in std::iter::once(&default).chain(settings.directories.iter().flatten()) {
            let nobody_says_so = *path == default && settings.directory.is_none();
            if nobody_says_so && !path.exists() {
                continue;
            }
            let home = Self::of(Some(path), world);
            let is_there = |one: &(PathBuf, Result<Self>)| match (&one.1, &home) {
                (Ok(one), Ok(home)) => one.folder.path() == home.folder.path(),
                (_, _) => one.0 == *path,
            };
            if !all.iter().any(is_there) {
                all.push((path.clone(), home));
            }
        }
        Ok(all)
    }
}

/// Until when this call may copy.
///
/// # Errors
/// The setting makes no sense.
pub(crate) fn until(world: &World) -> Result<Instant> {
    let seconds = Settings::read(world)?.slice.unwrap_or(SLICE);
    if seconds > LONGEST_SLICE {
        let path = world.settings().path().display();
        let message = format!("the setting slice in {path} is {seconds}; it must be {LONGEST_SLICE} seconds at most");
        return Err(Failure::new(Code::Invalid, message));
    }
    Ok(Instant::now() + Duration::from_secs(seconds))
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

    use super::*;

    fn world(base: &Path, settings: &str) -> World {
        std::fs::write(base.join("settings.json"), settings).unwrap();
        World::below(DriverName::parse("v/loopback").unwrap(), base)
    }

    #[test]
    fn every_directory_counts_once_and_one_that_is_missing_is_told() {
        let tmp = tempfile::tempdir().unwrap();
        let base = tmp.path().canonicalize().unwrap();
        let (a, b, none) = (base.join("a"), base.join("b"), base.join("none"));
        std::fs::create_dir(&a).unwrap();
        std::fs::create_dir(&b).unwrap();
        let all = |settings: &str| {
            let all = Home::all(&world(&base, settings)).unwrap();
            all.into_iter().map(|(path, home)| (path, home.is_ok_and(|home| home.is_default))).collect::<Vec<_>>()
        };
        let named = format!("{{\"directory\":{a:?},\"directories\":[{b:?},{:?},{none:?}]}}", a.join("."));
        assert_eq!(all(&named), [(a, true), (b, false), (none.clone(), false)]);
        assert!(Home::all(&world(&base, &named)).unwrap()[2].1.is_err());
        if !Path::new(DIRECTORY).exists() {
            assert_eq!(all("{}"), [], "where nothing was ever made");
        }
    }

    #[test]
    fn a_slice_ends() {
        let tmp = tempfile::tempdir().unwrap();
        let left = |settings: &str| until(&world(tmp.path(), settings)).map(|until| until - Instant::now());
        assert!(left("{}").unwrap() > Duration::from_secs(5));
        assert!(left(r#"{"slice":0}"#).unwrap() < Duration::from_secs(5));
        assert!(left(r#"{"slice":301}"#).is_err() && left(r#"{"slice":-1}"#).is_err());
    }
}
