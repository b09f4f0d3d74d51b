//! Tests: every string of up to four hostile symbols as a path beneath a root, and as a path to be trusted.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::symlink},
    path::{Path, PathBuf},
};

use flexvolume_testkit::{hostile, picture::Picture};
use rustix::fs::OFlags;

use super::{Root, Trust, real_place, trusted};
use crate::ErrorKind;

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// In memory, if that can be: thousands of directories are made.
fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Also where names are there already: a directory, one that leads out, and one of each symbol that can be a name.
fn field(tmp: &Path) -> PathBuf {
    let root = tmp.join("root");
    for dir in ["root/a", "root/-", "a", "~"] {
        fs::create_dir_all(tmp.join(dir)).unwrap();
    }
    fs::write(tmp.join("a/canary"), "sings").unwrap();
    symlink("../a", root.join("~")).unwrap();
    symlink(tmp, root.join("%")).unwrap();
    root
}

#[test]
fn nothing_is_opened_made_or_removed_outside_of_a_root() {
    let tmp = tempdir();
    let tmp = fs::canonicalize(tmp.path()).unwrap();
    let place = field(&tmp);
    let before = Picture::without(&tmp, std::slice::from_ref(&place)).unwrap();
    let root = Root::open(&place).unwrap();
    let (mut made, mut refused) = (0, 0);
    for bytes in hostile::strings(4) {
        let rel = path(bytes);
        if let Ok(opened) = root.resolve(&rel, OFlags::PATH) {
            let real = crate::mount::table::path_of(&opened).unwrap();
            assert!(real.starts_with(&place), "{rel:?} opened {real:?}");
        }
        match root.make_dirs(&rel, 0o750) {
            Ok(pinned) => {
                let real = pinned.path().unwrap();
                assert!(real.starts_with(&place) && real != place && real.is_dir(), "{rel:?} made {real:?}");
                made += 1;
                if made % 2 == 0 {
                    // Those that hold others stay.
                    let _ = pinned.rmdir();
                }
            }
            Err(error) => {
                // What the kernel refuses by itself: a NUL, and what is there and no directory.
                let told = [ErrorKind::Invalid, ErrorKind::Refused, ErrorKind::Io].contains(&error.kind());
                assert!(told, "{rel:?}: {}", error.story());
                refused += 1;
            }
        }
    }
    assert!(made > 5_000 && refused > 5_000, "{made} made, {refused} refused");
    assert_eq!(Picture::without(&tmp, std::slice::from_ref(&place)).unwrap(), before);
    assert_eq!(hostile::at_the_root(), Vec::<OsString>::new());
}

#[test]
fn a_trusted_path_ends_where_its_words_say() {
    let tmp = tempdir();
    let tmp = fs::canonicalize(tmp.path()).unwrap();
    let root = field(&tmp);
    let here = Trust::here();
    for bytes in hostile::strings(4) {
        let asked = root.join(path(bytes.clone()));
        let real = fs::canonicalize(&asked).ok();
        if let Ok(trusted) = trusted(&asked, &here) {
            assert_eq!(Some(trusted.path()), real.as_deref(), "{asked:?}");
        }
        if let (Ok(place), Some(parent)) = (real_place(&asked, || here.clone()), asked.parent()) {
            let (theirs, ours) =
                (fs::canonicalize(parent).ok(), place.parent().and_then(|it| fs::canonicalize(it).ok()));
            assert_eq!((theirs, place.file_name()), (ours, asked.file_name()), "{asked:?}");
        }
    }
}
