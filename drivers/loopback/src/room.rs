//! How much room there is: what is free in a directory less what its sparse images may still claim.

use std::path::PathBuf;

use flexvolume::{Capacity, Options, OptionsExt, Result, World};
use flexvolume_linux::Error;
use rustix::fs::Stat;

use crate::{
    home::Home,
    list::{Found, marked},
    place::Kind,
};

/// What volumes in that directory can have, together and each.
///
/// # Errors
/// The directory is not there, or is not allowed.
pub(crate) fn capacity(options: &Options, world: &World) -> Result<Capacity> {
    let home = Home::of(options.optional::<PathBuf>("directory")?.as_deref(), world)?;
    let available = Room::of(&home)?.left();
    Ok(Capacity { available, maximum: Some(available) })
}

/// The room of one directory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// What its file system has.
    pub(crate) free: u64,
    /// What its volumes were promised and have not taken yet.
    pub(crate) promised: u64,
}

impl Room {
    /// As it is now.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn of(home: &Home) -> Result<Self> {
        let free = free(home)?;
        let promised = marked(home, Kind::Volume)?.iter().map(promised).fold(0, u64::saturating_add);
        Ok(Self { free, promised })
    }

    fn left(self) -> u64 {
        self.free.saturating_sub(self.promised)
    }

    /// Whether its volumes can have what they were promised.
    pub(crate) fn suffices(self) -> bool {
        self.promised <= self.free
    }
}

/// What the directory's file system has.
///
/// # Errors
/// It does not say.
pub(crate) fn free(home: &Home) -> Result<u64> {
    Ok(home.folder.free().map_err(|error| Error::io("measure the file system of", home.folder.path(), error))?)
}

/// What is being copied claims all of its size, what is being deleted nothing.
fn promised(found: &Found) -> u64 {
    match &found.image {
        _ if found.mark.deleting => 0,
        Some(image) => unclaimed(image),
        None if found.mark.making.is_some() => found.mark.bytes,
        None => 0,
    }
}

/// What an image would take if it were written to everywhere.
pub(crate) fn unclaimed(image: &Stat) -> u64 {
    image.st_size.unsigned_abs().saturating_sub(image.st_blocks.unsigned_abs().saturating_mul(512))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_is_free_less_what_is_promised() {
        assert_eq!(Room { free: 100, promised: 30 }.left(), 70);
        assert_eq!(Room { free: 100, promised: 130 }.left(), 0);
        assert!(Room { free: 100, promised: 100 }.suffices() && !Room { free: 99, promised: 100 }.suffices());
    }

    #[test]
    fn a_sparse_file_claims_what_it_has_not_got() {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join("f")).unwrap();
        let stat = || rustix::fs::fstat(&file).unwrap();
        file.set_len(1 << 20).unwrap();
        assert_eq!(unclaimed(&stat()), 1 << 20);
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 1 << 20], 0).unwrap();
        file.sync_all().unwrap();
        assert!(unclaimed(&stat()) < 1 << 16, "metadata may count too");
    }
}
