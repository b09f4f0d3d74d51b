//! Notes made, replaced and read, and what is done to names.

use super::*;

#[test]
fn small_files_are_made_once_and_replaced_whole() {
    let tmp = tempfile::tempdir().unwrap();
    let top = folder(tmp.path());
    let name = OsStr::new("note.json");
    assert_eq!(top.read(name, 10).unwrap(), None);
    assert!(top.create(name, b"one").unwrap());
    assert!(!top.create(name, b"two").unwrap());
    assert_eq!(top.read(name, 10).unwrap().unwrap(), b"one");
    top.replace(name, b"three").unwrap();
    assert_eq!(top.read(name, 10).unwrap().unwrap(), b"three");
    assert_eq!(top.read(name, 4).unwrap_err().kind(), ErrorKind::Corrupted);
    assert_eq!(top.names().unwrap(), [name], "nothing is left beside it");
    symlink("note.json", tmp.path().join("link")).unwrap();
    assert!(top.read(OsStr::new("link"), 10).is_err());
    let below = top.make_all(Path::new("a/b/c"), 0o700).unwrap();
    top.rename(name, &below, OsStr::new("moved")).unwrap();
    assert_eq!(below.look(OsStr::new("moved")).unwrap(), Some(Kind::File));
    top.replace(name, b"").unwrap();
    assert_eq!(top.rename(name, &below, OsStr::new("moved")).unwrap_err().kind(), ErrorKind::Refused);
    below.give(Some(0o2770), None, None).unwrap();
    let meta = std::fs::metadata(tmp.path().join("a/b/c")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o2770);
}

#[test]
fn what_was_left_of_a_file_half_written_goes_and_nothing_else_does() {
    let tmp = tempfile::tempdir().unwrap();
    let top = folder(tmp.path());
    for name in [".note.json.0123456789abcdef.new", ".other.json.00000000000000ff.new", "note.json"] {
        File::create(tmp.path().join(name)).unwrap();
    }
    top.unlink_unfinished(OsStr::new("note.json")).unwrap();
    let mut names = top.names().unwrap();
    names.sort();
    assert_eq!(names, [".other.json.00000000000000ff.new", "note.json"]);
}

#[test]
fn a_file_is_locked_by_one_until_he_lets_go() {
    let tmp = tempfile::tempdir().unwrap();
    let (top, name) = (folder(tmp.path()), OsStr::new("lock"));
    let lock = top.lock(name).unwrap().unwrap();
    assert!(folder(tmp.path()).lock(name).unwrap().is_none());
    assert!(top.lock(OsStr::new("other")).unwrap().is_some());
    assert!(lock.is_held().unwrap() && lock.is_held().unwrap());
    drop(lock);
    assert!(top.lock(name).unwrap().is_some());
    symlink("/etc/passwd", tmp.path().join("link")).unwrap();
    assert!(top.lock(OsStr::new("link")).is_err());
}
