//! How far a copy has come, and whether what it is made of is still what it was.

use flexvolume_linux::tree::Identity;
use serde::{Deserialize, Serialize};

/// How far a copy has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The original, as it was while the first slice was copied; `None` before that.
    pub(crate) of: Option<Identity>,
    /// So many bytes from the beginning are there, durably.
    pub(crate) done: u64,
}

impl Progress {
    /// From where to go on with an original that is this one now and a copy of which `there` bytes are; 0 is anew.
    pub(crate) fn at(&self, now: Identity, there: u64) -> u64 {
        if self.of == Some(now) && self.done <= there { self.done } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write};

    use super::*;

    #[test]
    fn a_copy_goes_on_only_if_nothing_has_changed() {
        let tmp = tempfile::tempdir().unwrap();
        let mut image = File::create(tmp.path().join("image")).unwrap();
        let of = Identity::of_file(&image).unwrap();
        let progress = Progress { of: Some(of), done: 40 };
        assert_eq!(progress.at(of, 40), 40);
        assert_eq!(progress.at(of, 64), 40, "what was not noted is copied again");
        assert_eq!(progress.at(of, 39), 0, "somebody cut the copy");
        assert_eq!(Progress::default().at(of, 40), 0);
        image.write_all(b"x").unwrap();
        assert_eq!(progress.at(Identity::of_file(&image).unwrap(), 40), 0);
    }
}
