//! Small notes in files: those below the run folder are void after a reboot, those below the state folder last.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use flexvolume::{Failure, Result};
use flexvolume_linux::Error;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// How long a note holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// Until the next boot. It need not survive a power cut: what it tells of does not either.
    ThisBoot,
    /// For ever: when it is written, it survives a power cut.
    Durable,
}

/// One note: a value in a file of its own.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    file: PathBuf,
    lasting: Lasting,
}

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    /// The boot it was written in; only where it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    #[serde(flatten)]
    value: T,
}

impl Note {
    /// The note in `file`. Its parts come from names that were checked.
    pub(crate) fn new(file: PathBuf, lasting: Lasting) -> Self {
        Self { file, lasting }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    /// What it says, if it is there and still holds.
    ///
    /// # Errors
    /// It is there and cannot be read. Of this boot's notes such a one is as good as none: they only save questions.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let text = match fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &self.file, error).into()),
        };
        match (serde_json::from_slice::<Entry<T>>(&text), self.lasting) {
            (Ok(entry), Lasting::Durable) => Ok(Some(entry.value)),
            (Ok(entry), Lasting::ThisBoot) => Ok((entry.boot == Some(boot()?)).then_some(entry.value)),
            (Err(_), Lasting::ThisBoot) => Ok(None),
            (Err(error), Lasting::Durable) => Err(Failure::internal(format!(
                "{} cannot be read ({error}); restore it from a backup, or find out what it was about and remove it",
                self.file.display()
            ))),
        }
    }

    /// Writes or replaces it; a reader sees the old one or the new one.
    pub(crate) fn write<T: Serialize>(&self, value: &T) -> Result<()> {
        let boot = match self.lasting {
            Lasting::ThisBoot => Some(boot()?),
            Lasting::Durable => None,
        };
        let text = serde_json::to_vec(&Entry { boot, value })
            .map_err(|error| Failure::internal(format!("cannot write {}: {error}", self.file.display())))?;
        self.put(&text).map_err(|error| Error::io("write", &self.file, error).into())
    }

    fn put(&self, text: &[u8]) -> io::Result<()> {
        let dir = self.dir();
        make_dirs(dir, self.lasting)?;
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let fresh = dir.join(format!(".{name}.{}.new", std::process::id()));
        let written = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(text)?;
            if self.lasting == Lasting::Durable {
                file.sync_all()?;
            }
            fs::rename(&fresh, &self.file)
        };
        if let Err(error) = written() {
            let _ = fs::remove_file(&fresh);
            return Err(error);
        }
        if self.lasting == Lasting::Durable { sync(dir) } else { Ok(()) }
    }

    /// Takes it away; none there is as good.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.file) {
            Ok(()) if self.lasting == Lasting::Durable => {
                sync(self.dir()).map_err(|error| Error::io("flush", self.dir(), error).into())
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &self.file, error).into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn dir(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }
}

/// Makes a folder for our own eyes, and those above it. Durably: the last names on the way to it too.
pub(crate) fn make_dirs(dir: &Path, lasting: Lasting) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if lasting == Lasting::Durable {
        for above in dir.ancestors().skip(1).take(4) {
            sync(above)?;
        }
    }
    Ok(())
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn boot() -> Result<String> {
    let file = "/proc/sys/kernel/random/boot_id";
    let boot = fs::read_to_string(file).map_err(|error| Error::io("read", file, error))?;
    Ok(boot.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Said {
        word: String,
    }

    fn said() -> Said {
        Said { word: "x".to_owned() }
    }

    #[test]
    fn comes_back_and_goes_away() {
        let tmp = tempfile::tempdir().unwrap();
        for lasting in [Lasting::ThisBoot, Lasting::Durable] {
            let note = Note::new(tmp.path().join("deep/er/note.json"), lasting);
            assert_eq!(note.read::<Said>().unwrap(), None);
            note.write(&said()).unwrap();
            assert_eq!(note.read().unwrap(), Some(said()));
            assert_eq!(fs::read_dir(note.dir()).unwrap().count(), 1, "nothing is left beside it");
            note.remove().unwrap();
            note.remove().unwrap();
            assert_eq!(note.read::<Said>().unwrap(), None);
        }
    }

    #[test]
    fn another_boot_voids_one_kind_and_rubbish_is_an_error_of_the_other() {
        let tmp = tempfile::tempdir().unwrap();
        let of = |lasting| Note::new(tmp.path().join("note"), lasting);
        fs::write(tmp.path().join("note"), r#"{"boot":"before","word":"x"}"#).unwrap();
        assert_eq!(of(Lasting::ThisBoot).read::<Said>().unwrap(), None);
        assert_eq!(of(Lasting::Durable).read().unwrap(), Some(said()));
        fs::write(tmp.path().join("note"), "{").unwrap();
        assert_eq!(of(Lasting::ThisBoot).read::<Said>().unwrap(), None);
        assert!(of(Lasting::Durable).read::<Said>().unwrap_err().to_string().contains("note"));
    }
}
