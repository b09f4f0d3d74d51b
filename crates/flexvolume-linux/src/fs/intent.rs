//! The durable record of a format: written before mkfs destroys anything, so that what a crash leaves can be judged.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind as IoKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{kind::FsType, signature::uuid_text};
use crate::{Error, ErrorKind, Result};

/// How far a format has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The device was proven empty; mkfs may or may not have run. It was never handed out, so nothing of value is on
    /// it but perhaps our own unfinished file system.
    Proven,
    /// mkfs has ended and everything is on the medium. From here on it may hold data: it is never formatted again.
    Formatted,
}

/// One format of one storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The caller's name of the storage itself; survives detach and reboot, as a device's name does not.
    pub identity: String,
    /// Size of the device in bytes when it was proven empty.
    pub size: u64,
    /// What mkfs makes.
    pub fs_type: FsType,
    /// The UUID mkfs is made to use.
    pub uuid: String,
    /// How far it has come.
    pub phase: Phase,
}

/// The file that holds the record of one volume. Keep it where the state of the driver lives, on a file system that
/// survives a reboot; the directory must exist. Two volumes must not share a file.
#[derive(Clone, Debug)]
pub struct Intents(PathBuf);

impl Intents {
    /// The record kept in `file`.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self(file.into())
    }

    /// Where the record is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The record, if there is one.
    ///
    /// # Errors
    /// `Io` if it cannot be read, `Corrupted` if it is no record; then nothing may be formatted.
    pub fn read(&self) -> Result<Option<Intent>> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == IoKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read the format record", &self.0, error)),
        };
        match serde_json::from_slice::<Intent>(&text) {
            Ok(intent) if is_uuid(&intent.uuid) => Ok(Some(intent)),
            Ok(_) => Err(self.corrupted("its UUID is none")),
            Err(error) => Err(self.corrupted(&error.to_string())),
        }
    }

    /// Forgets the record, durably. For a volume that is deleted; nothing there is no error.
    ///
    /// # Errors
    /// `Io` if the file cannot be removed.
    pub fn clear(&self) -> Result<()> {
        match fs::remove_file(&self.0) {
            Ok(()) => self.sync_dir(),
            Err(error) if error.kind() == IoKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("remove the format record", &self.0, error)),
        }
    }

    /// Replaces the record: when this returns, it survives a power cut.
    pub(super) fn write(&self, intent: &Intent) -> Result<()> {
        let fresh = self.beside();
        let fail = |error| Error::io("write the format record", &self.0, error);
        let text = serde_json::to_vec(intent).map_err(|error| fail(error.into()))?;
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(fail)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(fail)?;
        fs::rename(&fresh, &self.0).map_err(fail)?;
        self.sync_dir()
    }

    fn beside(&self) -> PathBuf {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.0.file_name().unwrap_or_default());
        name.push(".new");
        self.0.with_file_name(name)
    }

    fn sync_dir(&self) -> Result<()> {
        let dir = match self.0.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| Error::io("flush directory", dir, error))
    }

    fn corrupted(&self, why: &str) -> Error {
        Error::new(ErrorKind::Corrupted, format!("the format record {} cannot be read", self.0.display()))
            .with_cause(why)
            .with_hint("see what the device holds; if that is right, remove the record and try again")
    }
}

/// A fresh random UUID (version 4).
pub(super) fn fresh_uuid() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::os("cannot get random bytes for a UUID", error))?;
    if got != bytes.len() {
        return Err(Error::new(ErrorKind::Io, "cannot get random bytes for a UUID: too few came"));
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(uuid_text(&bytes))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(n, byte)| match n {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent() -> Intent {
        let uuid = fresh_uuid().unwrap();
        Intent { identity: "image 7".into(), size: 1 << 30, fs_type: FsType::Xfs, uuid, phase: Phase::Proven }
    }

    #[test]
    fn comes_back_and_goes_away() {
        let dir = tempfile::tempdir().unwrap();
        let intents = Intents::new(dir.path().join("v1.json"));
        assert_eq!(intents.read().unwrap(), None);
        intents.clear().unwrap();
        let first = intent();
        intents.write(&first).unwrap();
        assert_eq!(intents.read().unwrap(), Some(first.clone()));
        let second = Intent { phase: Phase::Formatted, ..first };
        intents.write(&second).unwrap();
        assert_eq!(intents.read().unwrap(), Some(second));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside the record");
        intents.clear().unwrap();
        assert_eq!(intents.read().unwrap(), None);
    }

    #[test]
    fn a_broken_record_is_an_error_and_no_absence() {
        let dir = tempfile::tempdir().unwrap();
        let intents = Intents::new(dir.path().join("v1.json"));
        let good = serde_json::to_string(&intent()).unwrap();
        let extra = good.replace('}', ",\"more\":1}");
        for bad in ["", "{}", &good[..good.len() - 1], &good.replace("xfs", "ntfs"), &good.replace('-', "_"), &extra] {
            fs::write(intents.path(), bad).unwrap();
            assert_eq!(intents.read().unwrap_err().kind(), ErrorKind::Corrupted, "{bad}");
        }
    }

    #[test]
    fn uuids_are_fresh_and_of_version_four() {
        let (a, b) = (fresh_uuid().unwrap(), fresh_uuid().unwrap());
        assert_ne!(a, b);
        assert!(is_uuid(&a) && a.as_bytes()[14] == b'4' && b"89ab".contains(&a.as_bytes()[19]), "{a}");
    }
}
