//! Small records in files below the run folder: replaced by rename, and void after a reboot.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    marker::PhantomData,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use flexvolume_linux::{Error, ErrorKind};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Failure, Result};

/// Records of one type in one folder, each under a key of any text. No fsync: what the folder tells of dies with the
/// machine's uptime too.
pub(crate) struct Store<T> {
    dir: PathBuf,
    of: PhantomData<T>,
}

const TRIES: u32 = 100;

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    key: String,
    boot: String,
    value: T,
}

impl<T: Serialize + DeserializeOwned> Store<T> {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, of: PhantomData }
    }

    /// The record of that key, unless it is from before the last boot.
    pub(crate) fn get(&self, key: &str) -> Result<Option<T>> {
        Ok(self.load(&self.file(key))?.filter(|(found, _)| found == key).map(|(_, value)| value))
    }

    /// Every record and its key.
    pub(crate) fn all(&self) -> Result<Vec<(String, T)>> {
        let mut all = self.each()?.collect::<Result<Vec<_>>>()?;
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    /// Every record and its key, in no order, each read only when it is asked for.
    pub(crate) fn each(&self) -> Result<impl Iterator<Item = Result<(String, T)>>> {
        let failed = |error| Error::io("read the folder", &self.dir, error).into();
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        Ok(entries.into_iter().flatten().filter_map(move |entry| match entry {
            Ok(entry) if entry.file_name().as_encoded_bytes().starts_with(b".") => None,
            Ok(entry) => self.load(&entry.path()).transpose(),
            Err(error) => Some(Err(failed(error))),
        }))
    }

    /// Writes or replaces a record; a reader sees the old one or the new one.
    pub(crate) fn put(&self, key: &str, value: &T) -> Result<()> {
        let file = self.file(key);
        let entry = Entry { key: key.to_owned(), boot: boot_id()?.to_owned(), value };
        let text = serde_json::to_vec(&entry).map_err(|error| Failure::internal(format!("cannot record: {error}")))?;
        let fresh = self.dir.join(format!(".{}.{}", short(key), std::process::id()));
        let write = || {
            let mut options = OpenOptions::new();
            let mut open = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            open.write_all(&text)?;
            fs::rename(&fresh, &file)
        };
        for _ in 0..TRIES {
            make_dirs(&self.dir)?;
            match write() {
                Ok(()) => return Ok(()),
                // Another call has just taken the folder away with its last record.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let _ = fs::remove_file(&fresh);
                    return Err(Error::io("write the record", &file, error).into());
                }
            }
        }
        Err(Failure::internal(format!(
            "cannot write the record {}: its folder is taken away all the time",
            file.display()
        )))
    }

    /// Removes a record; none there is no error.
    pub(crate) fn remove(&self, key: &str) -> Result<()> {
        let file = self.file(key);
        match fs::remove_file(&file) {
            Ok(()) => {
                // Gone with its last record; stays if there are others.
                let _ = fs::remove_dir(&self.dir);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("remove the record", &file, error).into()),
        }
    }

    fn file(&self, key: &str) -> PathBuf {
        self.dir.join(short(key))
    }

    fn load(&self, file: &Path) -> Result<Option<(String, T)>> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read the record", file, error).into()),
        };
        // Passing over what cannot be read might call a volume unused that is not.
        let entry: Entry<T> = serde_json::from_slice(&text).map_err(|error| {
            Error::new(ErrorKind::Corrupted, format!("cannot read the record {}", file.display()))
                .with_cause(error.to_string())
                .with_hint("look what it says, then remove it")
        })?;
        Ok((entry.boot == boot_id()?).then_some((entry.key, entry.value)))
    }
}

/// The key itself where it can be a file's name, else the number that stands for it.
pub(crate) fn short(key: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !key.is_empty() && key.len() <= 200 && !key.starts_with(['.', '%']) && key.bytes().all(plain) {
        return key.to_owned();
    }
    format!("%{}", digest(key.as_bytes()))
}

/// 128 bits of FNV-1a in hex: tells keys apart, proves nothing.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let step =
        |hash: u128, byte: &u8| (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    format!("{:032x}", bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, step))
}

/// Makes a folder, and those above it, for our own eyes only.
pub(crate) fn make_dirs(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Error::io("make the folder", dir, error).into())
}

fn boot_id() -> Result<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot);
    }
    let file = "/proc/sys/kernel/random/boot_id";
    let boot = fs::read_to_string(file).map_err(|error| Error::io("read", file, error))?;
    Ok(BOOT.get_or_init(|| boot.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use flexvolume_testkit::hostile;

    use super::*;

    #[test]
    fn any_text_is_a_key_of_its_own() {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::<u32>::new(tmp.path().join("deep/er"));
        let long = "x".repeat(4000);
        let keys = ["pv-1", "", ".", "..", "/var/lib/a b", "%x", &long, "../pv-1"];
        for (value, key) in (0..).zip(keys) {
            store.put(key, &value).unwrap();
        }
        for (value, key) in (0..).zip(keys) {
            assert_eq!(store.get(key).unwrap(), Some(value), "{key}");
        }
        assert_eq!(store.all().unwrap().len(), keys.len());
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 1, "nothing is written elsewhere");
        for key in keys {
            store.remove(key).unwrap();
            store.remove(key).unwrap();
        }
        assert!(!tmp.path().join("deep/er").exists());
        assert_eq!(store.all().unwrap(), vec![]);
    }

    /// Records and locks have the names of volumes, pods' directories and storages.
    #[test]
    fn no_key_of_hostile_symbols_is_a_path() {
        let mut files = std::collections::BTreeMap::new();
        for key in hostile::texts(4) {
            let file = short(&key);
            let mut parts = Path::new(&file).components();
            assert!(matches!(parts.next(), Some(std::path::Component::Normal(_))) && parts.next().is_none(), "{key:?}");
            assert!(!file.starts_with('.') && !file.contains(['/', '\0', '\n']), "{key:?} is {file:?}");
            if let Some(other) = files.insert(file, key.clone()) {
                assert_eq!(other, key, "two keys in one file");
            }
        }
    }

    #[test]
    fn another_boot_is_forgotten_and_rubbish_is_not_passed_over() {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::<u32>::new(tmp.path().to_owned());
        fs::write(tmp.path().join("old"), r#"{"key":"old","boot":"before","value":1}"#).unwrap();
        assert_eq!((store.get("old").unwrap(), store.all().unwrap()), (None, vec![]));
        fs::write(tmp.path().join("torn"), r#"{"key":"#).unwrap();
        assert!(store.get("torn").is_err() && store.all().is_err());
    }
}
