//! The durable record of a format: written before mkfs destroys anything, so that what a crash leaves can be judged.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, ErrorKind as IoKind, Read, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat},
};
use serde::{Deserialize, Serialize};

use super::{kind::FsType, signature::uuid_text};
use crate::{Error, ErrorKind, Result, beneath::Trusted};

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
pub struct Intents {
    file: PathBuf,
    /// The directory of the file where somebody holds it open; else it is found by its path.
    held: Option<Trusted>,
}

impl Intents {
    /// The record kept in `file`.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), held: None }
    }

    /// The record kept under `name` in this very directory, whatever becomes of its path.
    pub fn within(directory: &Trusted, name: &str) -> Self {
        Self { file: directory.path().join(name), held: Some(directory.clone()) }
    }

    /// Where the record is.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// The record, if there is one.
    ///
    /// # Errors
    /// `Io` if it cannot be read, `Corrupted` if it is no record; then nothing may be formatted.
    pub fn read(&self) -> Result<Option<Intent>> {
        let mut text = Vec::new();
        match self.open(self.name(), OFlags::RDONLY).and_then(|mut file| file.read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == IoKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read the format record", &self.file, error)),
        }
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
        match self.directory().and_then(|dir| Ok(unlinkat(&dir, self.name(), AtFlags::empty())?)) {
            Ok(()) => self.sync_dir(),
            Err(error) if error.kind() == IoKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("remove the format record", &self.file, error)),
        }
    }

    /// Replaces the record: when this returns, it survives a power cut.
    pub(super) fn write(&self, intent: &Intent) -> Result<()> {
        let fresh = self.beside();
        let fail = |error| Error::io("write the format record", &self.file, error);
        let text = serde_json::to_vec(intent).map_err(|error| fail(error.into()))?;
        let mut file = self.open(&fresh, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC).map_err(fail)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(fail)?;
        let dir = self.directory().map_err(fail)?;
        renameat(&dir, &fresh, &dir, self.name()).map_err(|error| fail(error.into()))?;
        self.sync_dir()
    }

    fn name(&self) -> &OsStr {
        self.file.file_name().unwrap_or_default()
    }

    fn beside(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(self.name());
        name.push(".new");
        name
    }

    /// The directory of the record, as a place.
    fn directory(&self) -> io::Result<OwnedFd> {
        let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match (&self.held, self.file.parent()) {
            (Some(held), _) => openat(held, ".", how, Mode::empty()),
            (None, Some(dir)) if !dir.as_os_str().is_empty() => openat(CWD, dir, how, Mode::empty()),
            (None, _) => openat(CWD, ".", how, Mode::empty()),
        };
        Ok(opened?)
    }

    fn open(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.directory()?, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    fn sync_dir(&self) -> Result<()> {
        let synced = self.open(OsStr::new("."), OFlags::RDONLY | OFlags::DIRECTORY).and_then(|dir| dir.sync_all());
        synced.map_err(|error| Error::io("flush the directory of", &self.file, error))
    }

    fn corrupted(&self, why: &str) -> Error {
        Error::new(ErrorKind::Corrupted, format!("the format record {} cannot be read", self.file.display()))
            .with_cause(why)
            .with_hint("see what the device holds; if that is right, remove the record and try again")
    }
}

/// A fresh random UUID (version 4).
///
/// # Errors
/// The kernel gives no random bytes.
pub fn fresh_uuid() -> Result<String> {
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

/// The sixteen bytes of a UUID in its usual spelling.
pub(super) fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let digits = text.replace('-', "");
    let mut bytes = [0; 16];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    Some(bytes)
}

pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(n, byte)| match n {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use std::fs;

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
