//! Our mark beside an image, durable: that it was there, so that a lost image is never taken for a new volume; and
//! whether we made it, so that we may grow and delete it.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use flexvolume::{Failure, Result, Timestamp};
use flexvolume_linux::Error;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{
    place::{Kind, Place},
    progress::Progress,
};

/// What a clone or a snapshot was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) kind: Kind,
    /// As a host knows it.
    pub(crate) id: String,
    /// The same for whichever way it is written: see [`Place::storage`].
    pub(crate) storage: String,
    /// That of its mark: another one of the same name has another. Empty where it had no mark.
    pub(crate) uuid: String,
}

/// The mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Of this very image: random.
    pub(crate) uuid: String,
    /// The name it was provisioned by, or its volumeID.
    pub(crate) name: String,
    /// Size in bytes when made, first used, or grown: it has never less.
    pub(crate) bytes: u64,
    /// This driver made it; else it was found in a directory that the administrator named.
    pub(crate) made: bool,
    /// It is being deleted: it is not offered again, and the deletion goes on.
    pub(crate) deleting: bool,
    /// The directory as its host named it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) directory: Option<PathBuf>,
    /// What it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
    /// Of a snapshot: what it holds is what the volume held then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) taken: Option<Timestamp>,
    /// It is being copied, and there is no image yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) making: Option<Progress>,
    /// A clone before its first mount: the UUID that its file system is given then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renew: Option<String>,
    /// A clone that is larger than its original was: its file system is to be made as large as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) grow: bool,
    /// Its device goes through the page cache, also where it need not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) buffered: bool,
}

impl Mark {
    /// The mark of an image that is `made` now, or used for the first time.
    pub(crate) fn new(name: &str, bytes: u64, made: bool) -> Result<Self> {
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")
            .map_err(|error| Error::io("draw a random id from", "/proc/sys/kernel/random/uuid", error))?;
        Ok(Self {
            uuid: uuid.trim().to_owned(),
            name: name.to_owned(),
            bytes,
            made,
            deleting: false,
            directory: None,
            origin: None,
            taken: None,
            making: None,
            renew: None,
            grow: false,
            buffered: false,
        })
    }

    /// It was handed out, or could be: neither half-made nor half-deleted.
    pub(crate) fn is_whole(&self) -> bool {
        self.making.is_none() && !self.deleting
    }

    /// The mark at that place, if there is one.
    pub(crate) fn read(place: &Place) -> Result<Option<Self>> {
        let path = place.mark();
        let text = match read(place, &path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error).into()),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            let message = format!(
                "{} cannot be read ({error}), so it is not known whose image {} is; restore it from a backup",
                path.display(),
                place.image().display()
            );
            Failure::internal(message)
        })
    }

    /// Writes it so that it survives a power cut.
    pub(crate) fn write(&self, place: &Place) -> Result<()> {
        let path = place.mark();
        let new = unfinished(place);
        let text = serde_json::to_vec(self).map_err(|error| Failure::internal(error.to_string()))?;
        let folder = place.folder();
        let written =
            write_synced(place, &new, &text).and_then(|()| folder.replace(&new, &path)).and_then(|()| folder.sync());
        written.map_err(|error| {
            let _ = folder.remove(&new);
            Error::io("write", &path, error).into()
        })
    }

    /// Takes it away: the last thing of a volume to go.
    pub(crate) fn remove(place: &Place) -> Result<()> {
        gone(place, &unfinished(place))?;
        gone(place, &place.mark())?;
        place.folder().sync().map_err(|error| Error::io("sync", place.directory(), error).into())
    }
}

fn unfinished(place: &Place) -> PathBuf {
    place.mark().with_extension("new")
}

/// Removes a file; one that is not there is as good.
pub(crate) fn gone(place: &Place, path: &Path) -> Result<()> {
    match place.folder().remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error).into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read(place: &Place, path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    place.folder().open(path, OFlags::RDONLY)?.read_to_end(&mut text)?;
    Ok(text)
}

fn write_synced(place: &Place, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = place.folder().open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
    file.write_all(bytes)?;
    file.sync_all()
}
