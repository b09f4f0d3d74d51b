//! Who holds a lock. One test in a program of its own: a child that another test starts meanwhile would inherit what is lent.
#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    os::{fd::AsFd, unix::fs::symlink},
    path::Path,
    process::{Command, Stdio, id},
};

use flexvolume_linux::process::{lending, lock_holders};
use rustix::fs::{FlockOperation, flock};

fn pids(file: &Path) -> Vec<u32> {
    let mut pids: Vec<_> = lock_holders(file).unwrap().iter().map(|id| id.pid).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn the_one_who_took_it_and_the_one_it_was_lent_to() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("lock"), dir.path().join("link"));
    symlink(&path, &link).unwrap();
    let ours = File::create(&path).unwrap();
    let none: [u32; 0] = [];
    assert_eq!(pids(&path), none, "open, and not locked");
    flock(&ours, FlockOperation::LockExclusive).unwrap();
    let _other = File::open(&path).unwrap();
    assert_eq!(pids(&path), [id()], "once, though it is open twice");

    let cat = || Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut child = lending(ours.as_fd(), || Ok(cat())).unwrap();
    let mut stranger = cat();
    let mut both = [id(), child.id()];
    both.sort_unstable();
    assert_eq!(pids(&link), both);
    drop(ours);
    assert_eq!(pids(&path), [child.id()]);
    for child in [&mut child, &mut stranger] {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    assert_eq!(pids(&path), none);
    assert!(lock_holders(&dir.path().join("none")).is_err());
}
