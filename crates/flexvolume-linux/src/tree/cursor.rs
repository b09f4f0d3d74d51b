//! Where a copy ended for now, and what that means for what is found there by the next slice.

use std::{ffi::OsStr, fs::File, io, os::unix::ffi::OsStrExt};

use rustix::{
    fd::AsFd,
    fs::{AtFlags, Stat, StatxFlags, statx},
};
use serde::{Deserialize, Serialize};

use super::entry::modified;

/// Where a copy ended for now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The names on the way to the last entry that is complete, or that is being copied. All before it is complete.
    names: Vec<Vec<u8>>,
    /// Set if it is a file of which a part is there.
    part: Option<Part>,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Of which file, and as it was when this was copied.
    pub(super) of: Identity,
    /// So many bytes from its beginning are there.
    pub(super) offset: u64,
    /// So often it was begun again since it had changed.
    pub(super) again: u32,
}

/// What a file is known by: if one of these is another, so may be what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    inode: u64,
    size: u64,
    /// When its content was changed last.
    modified: (i64, u64),
    /// When anything of it was: this time nobody can set.
    changed: (i64, u64),
}

/// How a file is gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) offset: u64,
    pub(super) again: u32,
}

/// So often a file is begun again that changes from slice to slice. Then it is copied as it comes, or it would never end.
const AGAIN: u32 = 8;

impl Cursor {
    pub(super) fn new(names: Vec<Vec<u8>>, part: Option<Part>) -> Self {
        Self { names, part }
    }

    pub(super) fn is_beginning(&self) -> bool {
        self.names.is_empty()
    }

    /// Of a directory that deep on the way to the cursor: the name that is next, and whether it is still to be done or complete.
    pub(super) fn reached(&self, depth: usize) -> (&[u8], bool) {
        let last = depth + 1 == self.names.len();
        (self.names.get(depth).map(Vec::as_slice).unwrap_or_default(), !last || self.part.is_some())
    }

    /// Whether a directory of this name, in one that deep on the way to the cursor, is on that way too.
    pub(super) fn leads_into(&self, depth: usize, name: &OsStr) -> bool {
        self.names.len() > depth + 1 && self.names.get(depth).is_some_and(|part| part == name.as_bytes())
    }

    /// The part that is there of a file of this name, in a directory that deep on the way to the cursor.
    pub(super) fn part(&self, depth: usize, name: &OsStr) -> Option<&Part> {
        let stands = self.names.len() == depth + 1 && self.names.last().is_some_and(|last| last == name.as_bytes());
        self.part.as_ref().filter(|_| stands)
    }
}

impl Identity {
    /// As the file system said it was.
    pub(super) fn of(stat: &Stat) -> Self {
        #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
        let changed = (stat.st_ctime as i64, stat.st_ctime_nsec as u64);
        Self { inode: stat.st_ino, size: stat.st_size.unsigned_abs(), modified: modified(stat), changed }
    }

    /// As an open file is now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::now(file)?)
    }

    /// The same: on a network its server is asked, since another machine may have written to it.
    pub(super) fn now(file: impl AsFd) -> rustix::io::Result<Self> {
        let how = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC | AtFlags::NO_AUTOMOUNT;
        let stat = statx(file, "", how, StatxFlags::BASIC_STATS)?;
        let time = |time: rustix::fs::StatxTimestamp| (time.tv_sec, u64::from(time.tv_nsec));
        Ok(Self {
            inode: stat.stx_ino,
            size: stat.stx_size,
            modified: time(stat.stx_mtime),
            changed: time(stat.stx_ctime),
        })
    }
}

impl Start {
    const BEGINNING: Self = Self { offset: 0, again: 0 };

    /// Where to go on in a file that is known by `now`, if an earlier slice has copied a part of it, and of the copy so many bytes
    /// are there and its alone.
    pub(super) fn of(part: Option<&Part>, now: &Identity, there: Option<u64>) -> Self {
        let Some(part) = part else { return Self::BEGINNING };
        if part.of != *now && part.again < AGAIN {
            return Self { offset: 0, again: part.again + 1 };
        }
        let goes_on = part.offset <= now.size && there.is_some_and(|there| part.offset <= there);
        Self { offset: if goes_on { part.offset } else { 0 }, again: part.again }
    }

    /// Whether the file is known to have changed since it was begun.
    pub(super) fn is_changed(self) -> bool {
        self.again > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Identity = Identity { inode: 7, size: 100, modified: (1, 2), changed: (3, 4) };

    #[test]
    fn a_file_is_gone_on_with_only_if_it_and_its_copy_are_what_they_were() {
        let part = Part { of: NOW, offset: 50, again: 0 };
        let start = |part: &Part, there| Start::of(Some(part), &NOW, there);
        assert_eq!(Start::of(None, &NOW, Some(50)), Start::BEGINNING);
        assert_eq!(start(&part, Some(50)), Start { offset: 50, again: 0 });
        assert_eq!(start(&part, Some(49)), Start::BEGINNING, "the copy is shorter than it was");
        assert_eq!(start(&part, None), Start::BEGINNING, "the copy is gone");
        let others = [
            Identity { inode: 8, ..NOW },
            Identity { size: 101, ..NOW },
            Identity { modified: (1, 3), ..NOW },
            Identity { changed: (4, 4), ..NOW },
        ];
        for of in others {
            let again = start(&Part { of, ..part }, Some(50));
            assert_eq!(again, Start { offset: 0, again: 1 }, "{of:?}");
            assert!(again.is_changed());
            let tired = Part { of, again: AGAIN, ..part };
            assert_eq!(start(&tired, Some(50)), Start { offset: 50, again: AGAIN }, "else it would never end");
            assert_eq!(start(&Part { offset: 101, ..tired }, Some(200)).offset, 0, "it is shorter than what is there");
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let cursor = Cursor::new(vec![b"a".to_vec(), vec![0xff]], Some(Part { of: NOW, offset: 5, again: 2 }));
        let text = serde_json::to_string(&cursor).unwrap();
        assert_eq!(serde_json::from_str::<Cursor>(&text).unwrap(), cursor);
    }

    #[test]
    fn the_way_to_a_cursor_is_known() {
        let (a, b) = (OsStr::new("a"), OsStr::new("b"));
        let cursor = Cursor::new(vec![b"a".to_vec(), b"b".to_vec()], None);
        assert_eq!((cursor.reached(0), cursor.reached(1)), ((&b"a"[..], true), (&b"b"[..], false)));
        assert!(cursor.leads_into(0, a) && !cursor.leads_into(0, b) && !cursor.leads_into(1, b));
        let within = Cursor { part: Some(Part { of: NOW, offset: 1, again: 0 }), ..cursor };
        assert_eq!(within.reached(1), (&b"b"[..], true));
        assert!(within.part(1, b).is_some() && within.part(1, a).is_none() && within.part(0, b).is_none());
    }
}
