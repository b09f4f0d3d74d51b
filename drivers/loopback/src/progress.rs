//! How far a copy has come, and whether what it is made of is still what it was.

use std::{fs::File, io, os::unix::fs::MetadataExt};

use serde::{Deserialize, Serialize};

/// How far a copy has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Of the original, while the first slice was copied.
    pub(crate) stamp: Stamp,
    /// So many bytes from the beginning are there, durably.
    pub(crate) done: u64,
}

/// What tells that an image is the same and was not written to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// As the image is now.
    pub(crate) fn of(image: &File) -> io::Result<Self> {
        let meta = image.metadata()?;
        Ok(Self {
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

impl Progress {
    /// From where to go on with an original that looks like this now and a copy of which `there` bytes are; 0 is anew.
    pub(crate) fn at(&self, stamp: &Stamp, there: u64) -> u64 {
        if self.stamp == *stamp && self.done <= there { self.done } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_goes_on_only_if_nothing_has_changed() {
        let stamp = Stamp { inode: 7, bytes: 100, modified: (5, 6), changed: (5, 7) };
        let progress = Progress { stamp: stamp.clone(), done: 40 };
        assert_eq!(progress.at(&stamp, 40), 40);
        assert_eq!(progress.at(&stamp, 64), 40, "what was not noted is copied again");
        assert_eq!(progress.at(&stamp, 39), 0, "somebody cut the copy");
        for other in [
            Stamp { inode: 8, ..stamp.clone() },
            Stamp { bytes: 101, ..stamp.clone() },
            Stamp { modified: (5, 7), ..stamp.clone() },
            Stamp { changed: (6, 7), ..stamp.clone() },
        ] {
            assert_eq!(progress.at(&other, 40), 0, "{other:?}");
        }
        assert_eq!(Progress::default().at(&stamp, 100), 0);
    }
}
