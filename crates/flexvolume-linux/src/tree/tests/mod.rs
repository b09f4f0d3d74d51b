//! Trees of every kind of entry, copied in one go and in the smallest slices, and removed.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::*;
use crate::ErrorKind;

mod changed;
mod lost;
mod removed;
mod small;

/// Time for all of it, and for the least that a slice does.
const LONG: Duration = Duration::from_secs(60);
const NONE: Duration = Duration::ZERO;

fn soon() -> Instant {
    Instant::now() + LONG
}

fn folder(path: &Path) -> Folder {
    Folder::open(&fs::canonicalize(path).unwrap()).unwrap()
}

/// What a person would compare: kind, mode, content or target, and time, by path.
fn picture(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>, i64)> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if meta.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        all.insert(path.strip_prefix(dir).unwrap().to_owned(), (meta.mode(), content, meta.mtime()));
    }
    all
}

/// A tree with what trees have.
fn grow(dir: &Path) {
    fs::create_dir_all(dir.join("a/deep/er")).unwrap();
    fs::create_dir(dir.join("empty")).unwrap();
    for n in 0..20 {
        fs::write(dir.join(format!("a/deep/{n}")), vec![n; usize::from(n) * 1000]).unwrap();
    }
    fs::write(dir.join("a/deep/er/x"), "x").unwrap();
    fs::hard_link(dir.join("a/deep/er/x"), dir.join("z")).unwrap();
    symlink("/etc/passwd", dir.join("link")).unwrap();
    let holes = File::create(dir.join("holes")).unwrap();
    holes.write_all_at(b"begin", 0).unwrap();
    holes.write_all_at(b"end", 40 << 20).unwrap();
    fs::set_permissions(dir.join("a/deep/3"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(dir.join("a"), fs::Permissions::from_mode(0o2750)).unwrap();
    // Times of their own, which a copy must not take from the day it was made.
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for path in ["a/deep/7", "a/deep", "holes", "."] {
        File::open(dir.join(path)).unwrap().set_times(fs::FileTimes::new().set_modified(old)).unwrap();
    }
    let fifo = dir.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    File::open(dir).unwrap().set_times(fs::FileTimes::new().set_modified(old)).unwrap();
}

struct Bed {
    tmp: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    /// Where nothing waits for a disk.
    fn in_memory() -> Self {
        Self::of(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn of(tmp: tempfile::TempDir) -> Self {
        for dir in ["from", "to", "links"] {
            fs::create_dir(tmp.path().join(dir)).unwrap();
        }
        Self { tmp }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.tmp.path().join(name)
    }

    fn slice(&self, cursor: Option<&Cursor>, slice: Duration) -> Copied {
        self.try_slice(cursor, slice).unwrap()
    }

    fn try_slice(&self, cursor: Option<&Cursor>, slice: Duration) -> crate::Result<Copied> {
        let (from, to, links) = (folder(&self.at("from")), folder(&self.at("to")), folder(&self.at("links")));
        Copy { from: &from, to: &to, links: &links, slice, go_on: &|| true }.run(cursor)
    }

    /// All that is left, in one go.
    fn rest(&self, cursor: Option<&Cursor>) -> Counts {
        match self.slice(cursor, LONG) {
            Copied::All(counts) => counts,
            Copied::To(cursor, _) => panic!("it ended at {cursor:?}"),
        }
    }

    /// The least that a slice does.
    fn least(&self, cursor: Option<&Cursor>) -> Cursor {
        match self.slice(cursor, NONE) {
            Copied::To(cursor, _) => cursor,
            Copied::All(_) => panic!("all at once"),
        }
    }

    fn assert_copied(&self) {
        let mut original = picture(&self.at("from"));
        original.remove(Path::new("pipe"));
        assert_eq!(picture(&self.at("to")), original);
        let inode = |name: &str| fs::metadata(self.at("to").join(name)).unwrap().ino();
        assert_eq!(inode("a/deep/er/x"), inode("z"), "one file with two names");
        let holes = fs::metadata(self.at("to").join("holes")).unwrap();
        assert!(holes.blocks() * 512 < 20 << 20, "{} blocks", holes.blocks());
    }
}

#[test]
fn a_tree_is_copied_whole() {
    let bed = Bed::new();
    grow(&bed.at("from"));
    let Copied::All(counts) = bed.slice(None, LONG) else { panic!("not all") };
    bed.assert_copied();
    assert_eq!((counts.left_out, counts.changed), (1, 0));
    assert_eq!(counts.entries, picture(&bed.at("from")).len() as u64 - 1);
    // Again is as good, and does little.
    assert!(matches!(bed.slice(None, LONG), Copied::All(_)));
    bed.assert_copied();
}

#[test]
fn a_copy_goes_on_where_it_ended_wherever_that_was() {
    let bed = Bed::in_memory();
    grow(&bed.at("from"));
    let (mut cursor, mut slices, mut entries): (Option<Cursor>, u64, u64) = (None, 0, 0);
    loop {
        // Kept as a driver keeps it.
        let kept = cursor.as_ref().map(|cursor| serde_json::from_slice(&serde_json::to_vec(cursor).unwrap()).unwrap());
        match bed.slice(kept.as_ref(), NONE) {
            Copied::All(counts) => {
                entries += counts.entries;
                break;
            }
            Copied::To(next, counts) => {
                assert_ne!(Some(&next), cursor.as_ref(), "something is done in every slice");
                entries += counts.entries;
                cursor = Some(next);
            }
        }
        slices += 1;
        assert!(slices < 500, "it does not end");
    }
    bed.assert_copied();
    let all = picture(&bed.at("from")).len() as u64;
    assert!(slices + 5 > all && entries + 1 >= all, "{slices} slices and {entries} entries of {all}");
}

#[test]
fn what_was_done_after_the_last_cursor_is_done_again() {
    let bed = Bed::new();
    grow(&bed.at("from"));
    let Copied::To(early, _) = bed.slice(None, NONE) else { panic!("all at once") };
    let Copied::To(later, _) = bed.slice(Some(&early), NONE) else { panic!("all at once") };
    drop(later);
    // A torn file, as a power cut leaves one.
    fs::write(bed.at("to").join("z"), "half").unwrap();
    assert!(matches!(bed.slice(Some(&early), LONG), Copied::All(_)));
    bed.assert_copied();
}

#[test]
fn a_long_file_is_copied_in_slices() {
    let bed = Bed::in_memory();
    let long: Vec<u8> = (0..20_u32 << 20).map(|n| (n >> 12) as u8).collect();
    fs::write(bed.at("from").join("long"), &long).unwrap();
    let (mut cursor, mut slices) = (None, 0);
    while let Copied::To(next, _) = bed.slice(cursor.as_ref(), NONE) {
        (cursor, slices) = (Some(next), slices + 1);
        assert!(slices < 50, "it does not end");
    }
    assert_eq!(fs::read(bed.at("to").join("long")).unwrap(), long);
}

#[test]
fn nothing_is_read_or_made_through_a_link() {
    let bed = Bed::new();
    fs::create_dir(bed.at("out")).unwrap();
    fs::write(bed.at("out/secret"), "secret").unwrap();
    symlink(bed.at("out"), bed.at("from").join("dir")).unwrap();
    symlink(bed.at("out"), bed.at("to").join("dir")).unwrap();
    assert!(matches!(bed.slice(None, LONG), Copied::All(_)));
    assert!(fs::symlink_metadata(bed.at("to").join("dir")).unwrap().is_symlink());
    let from = folder(&bed.at("from"));
    for rel in ["dir", "dir/secret", "..", "../out", "/etc"] {
        let error = from.sub(Path::new(rel)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Refused | ErrorKind::Invalid), "{rel}: {error:?}");
    }
    assert!(remove(&from, OsStr::new("dir"), soon()).unwrap());
    assert_eq!(fs::read(bed.at("out/secret")).unwrap(), b"secret");
}

#[test]
fn another_file_system_in_a_tree_is_neither_entered_nor_removed() {
    crate::mount::testing::private_mounts(|tmp| {
        for dir in ["from/sub", "to", "links", "other"] {
            fs::create_dir_all(tmp.join(dir)).unwrap();
        }
        fs::write(tmp.join("other/file"), "").unwrap();
        crate::mount::bind(&tmp.join("other"), &tmp.join("from/sub"), crate::mount::Flags::default()).unwrap();
        let (from, to, links) = (folder(&tmp.join("from")), folder(&tmp.join("to")), folder(&tmp.join("links")));
        let copied = Copy { from: &from, to: &to, links: &links, slice: LONG, go_on: &|| true }.run(None).unwrap();
        assert!(matches!(copied, Copied::All(Counts { left_out: 1, .. })), "{copied:?}");
        assert!(!tmp.join("to/sub").exists());
        let error = remove(&folder(tmp), OsStr::new("from"), soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
        assert!(tmp.join("other/file").exists());
    });
}
