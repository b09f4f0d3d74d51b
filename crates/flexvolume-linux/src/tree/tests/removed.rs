//! Trees removed, and what is told of those that cannot be.

use super::*;

#[test]
fn a_tree_is_removed_in_slices_and_whatever_its_depth() {
    let bed = Bed::in_memory();
    grow(&bed.at("from"));
    // Deeper than any path is long.
    let mut at = folder(&bed.at("from"));
    for _ in 0..2500 {
        at.make(OsStr::new("down"), 0o755).unwrap();
        at = at.sub(Path::new("down")).unwrap();
    }
    drop(at);
    symlink(bed.at("to"), bed.at("from").join("out")).unwrap();
    fs::write(bed.at("to/stays"), "").unwrap();
    let top = folder(bed.tmp.path());
    assert!(!remove(&top, OsStr::new("from"), Instant::now()).unwrap(), "no time for all of it");
    assert!(remove(&top, OsStr::new("from"), soon()).unwrap());
    assert!(remove(&top, OsStr::new("from"), soon()).unwrap(), "gone is gone");
    assert!(!bed.at("from").exists() && bed.at("to/stays").exists());
    for bad in ["..", ".", "a/b", ""] {
        assert!(remove(&top, OsStr::new(bad), soon()).is_err(), "{bad:?}");
    }
}

#[test]
fn why_something_cannot_be_removed_is_told_and_where_it_lies() {
    let bed = Bed::new();
    fs::create_dir_all(bed.at("from/a/b")).unwrap();
    let kept = File::create(bed.at("from/a/b/kept")).unwrap();
    let flags = |flags| rustix::fs::ioctl_setflags(&kept, flags);
    if let Err(error) = flags(rustix::fs::IFlags::IMMUTABLE) {
        eprintln!("skipped: no file can be made immutable here: {error}");
        return;
    }
    let error = remove(&folder(bed.tmp.path()), OsStr::new("from"), soon()).unwrap_err();
    flags(rustix::fs::IFlags::empty()).unwrap();
    let told = error.story();
    assert!(told.contains("from/a/b/kept") && told.contains("not permitted"), "{told}");
    assert!(error.hint().is_some_and(|hint| hint.contains("no_root_squash")), "{error:?}");
}
