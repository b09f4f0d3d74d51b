//! What the judge has begun, noted in its own folder as it goes: one that was killed tells the next one what it left.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use flexvolume_protocol::{Redactor, keys};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{
    going::UnderWay,
    ledger::{Made, Thing},
    trouble::Trouble,
};

/// How the names of the judge's folders begin; the rest is random.
pub(crate) const FOLDER: &str = "flexvol-check-";

/// The file, and what it is called while it is written.
const FILE: &str = "begun.json";
const NEW: &str = "begun.json.new";

/// What is noted.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Noted {
    /// The driver's executable.
    pub(crate) driver: PathBuf,
    /// The person said that what the volumes hold may be lost.
    pub(crate) may_destroy: bool,
    /// What was begun and not undone, in its order.
    pub(crate) begun: Vec<Thing>,
    /// Calls that had not ended, or were about to begin.
    pub(crate) calls: Vec<UnderWay>,
}

/// The notes of a judge that lives, or that is dead and has its folder taken away. Whoever has them holds the folder's lock, which
/// ends with its process.
#[derive(Debug)]
pub(crate) struct Notes {
    home: PathBuf,
    last: Mutex<Vec<u8>>,
    _lock: File,
}

impl Notes {
    /// Makes the folder, and begins.
    pub(crate) fn begin(home: &Path, driver: &Path) -> Result<Self, Trouble> {
        let made = |error| Trouble::io("make the folder", home, error);
        DirBuilder::new().mode(0o755).create(home).map_err(made)?;
        let lock = open(home).map_err(made)?;
        // Nobody holds it for longer than a look. Where a file system has no locks, nobody takes the folder for a dead judge's.
        let _ = lock.lock();
        let notes = Self { home: home.to_owned(), last: Mutex::default(), _lock: lock };
        notes.write(&Noted { driver: driver.to_owned(), ..Noted::default() }, &Redactor::default())?;
        Ok(notes)
    }

    /// What a judge left in this folder that is dead, or why its notes cannot be read. Nothing where it lives, where another has
    /// begun to take it away, or where somebody else may have written it.
    pub(crate) fn of_the_dead(home: &Path) -> Option<io::Result<(Self, Noted)>> {
        let lock = open(home).ok()?;
        let is_ours =
            |meta: &fs::Metadata| meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
        if !is_ours(&lock.metadata().ok()?) || lock.try_lock().is_err() {
            return None;
        }
        let read = || {
            let last = fs::read(home.join(FILE))?;
            let noted = serde_json::from_slice(&last)?;
            Ok((Self { home: home.to_owned(), last: Mutex::new(last), _lock: lock }, noted))
        };
        Some(read())
    }

    /// Writes it down, whole or not at all, and without what is secret.
    pub(crate) fn write(&self, noted: &Noted, redactor: &Redactor) -> Result<(), Trouble> {
        let (file, new) = (self.home.join(FILE), self.home.join(NEW));
        let wrong = |error: io::Error| Trouble::io("note what was begun in", &file, error);
        let cleaned = Noted {
            driver: noted.driver.clone(),
            may_destroy: noted.may_destroy,
            begun: noted.begun.iter().map(|thing| cleaned(thing, redactor)).collect(),
            calls: noted.calls.clone(),
        };
        let text = serde_json::to_vec(&cleaned).map_err(|error| wrong(error.into()))?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == text {
            return Ok(());
        }
        fs::write(&new, &text).and_then(|()| fs::rename(&new, &file)).map_err(wrong)?;
        *last = text;
        Ok(())
    }
}

/// The folder itself, through no link.
fn open(home: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    File::options().read(true).custom_flags(flags.bits().cast_signed()).open(home)
}

/// An id is enough for a driver to find what it made, and a name for a person: of all else is left out what a secret would be in.
fn cleaned(thing: &Thing, redactor: &Redactor) -> Thing {
    let made = |made: &Made| {
        let mut made = made.clone();
        let count = made.asked.len();
        for options in [&mut made.asked, &mut made.options] {
            options.retain(|key, value| key == keys::NAME || redactor.text(value) == *value);
        }
        made.is_cut |= made.asked.len() < count;
        made
    };
    match thing {
        Thing::Volume(it) => Thing::Volume(made(it)),
        Thing::Snapshot(it) => Thing::Snapshot(made(it)),
        Thing::Mount(_) | Thing::MountDevice(_) | Thing::Attached { .. } => thing.clone(),
    }
}

#[cfg(test)]
mod tests {
    use flexvolume_protocol::{Secret, Secrets};

    use super::*;

    #[test]
    fn the_dead_are_told_from_the_living_and_secrets_are_not_noted() {
        let root = std::env::temp_dir().join(format!("flexvol-notes-{}", std::process::id()));
        let home = root.join("flexvol-check-1");
        fs::create_dir_all(&root).unwrap();
        let mut secrets = Secrets::default();
        secrets.insert("password", Secret::new(b"correct horse".to_vec()));
        let redactor = Redactor::new(&secrets);
        let options = [("a", "correct horse"), ("b", "c"), (keys::NAME, "n")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let made = Made { asked: options.clone().into(), id: None, options: options.into(), is_cut: false };
        let (driver, begun) = (PathBuf::from("/d"), vec![Thing::Mount("/p".into()), Thing::Volume(made)]);

        let notes = Notes::begin(&home, &driver).unwrap();
        notes.write(&Noted { driver, begun, ..Noted::default() }, &redactor).unwrap();
        assert!(Notes::of_the_dead(&home).is_none(), "it lives");
        drop(notes);
        let (notes, noted) = Notes::of_the_dead(&home).unwrap().unwrap();
        assert!(Notes::of_the_dead(&home).is_none(), "another takes it away");
        drop(notes);
        assert_eq!((noted.driver.to_str(), noted.begun.len()), (Some("/d"), 2));
        let text = fs::read_to_string(home.join(FILE)).unwrap();
        assert!(!text.contains("correct horse") && text.contains(r#""b":"c""#), "{text}");

        assert!(matches!(&noted.begun[..], [_, Thing::Volume(made)] if made.is_cut && made.asked[keys::NAME] == "n"));

        fs::write(home.join(FILE), &text[..9]).unwrap();
        assert!(matches!(Notes::of_the_dead(&home), Some(Err(_))), "what is cut is told");

        // Who else may write there could have anything deleted.
        fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Notes::of_the_dead(&home).is_none());
        fs::remove_dir_all(&root).unwrap();
    }
}
