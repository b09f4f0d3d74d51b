//! The hung file system catches those who touch it, lets go when dropped, and answers as often as told.

use std::process::{Command, Stdio};

use flexvolume_testkit::hung::{self, HungFs};
use flexvolume_testkit::{Sandbox, is_root, mounts, skip};

use crate::eventually;

#[test]
fn it_catches_and_lets_go() {
    if !is_root() {
        return skip("a FUSE mount needs root");
    }
    let sandbox = Sandbox::new().unwrap();
    let dir = sandbox.dir("hung").unwrap();
    let hung = HungFs::mount(&dir, 0).unwrap();
    let mut caught = Command::new("ls").arg(&dir).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("ls waits", || hung.waiting().unwrap() > 0);
    // Not even this ends it: that is the point.
    caught.kill().unwrap();
    assert_eq!(caught.try_wait().unwrap(), None);
    drop(hung);
    assert!(!caught.wait().unwrap().success());
    assert_eq!(mounts::beneath(&dir).unwrap(), []);
}

#[test]
fn it_answers_as_often_as_told() {
    if !is_root() {
        return skip("a FUSE mount needs root");
    }
    let sandbox = Sandbox::new().unwrap();
    let hung = HungFs::mount(&sandbox.dir("hung").unwrap(), 2).unwrap();
    // Never from this process: a thread that is caught holds the whole test for ever.
    let stat = || Command::new("stat").arg(hung.dir()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    for _ in 0..2 {
        let mut child = stat();
        eventually("it answers", || child.try_wait().unwrap().is_some());
        assert!(child.wait().unwrap().success());
    }
    let mut third = stat();
    eventually("the third question waits", || hung.waiting().unwrap() > 0);
    hung.abort().unwrap();
    assert!(!third.wait().unwrap().success());
}

#[test]
fn one_that_always_answers_is_looked_at_and_unmounted_like_any_other() {
    if !is_root() {
        return skip("a FUSE mount needs root");
    }
    let sandbox = Sandbox::new().unwrap();
    let dir = sandbox.dir("alive").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hungfs")).arg(&dir).arg("always").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for program in ["stat", "umount"] {
        let mut child = Command::new(program).arg(&dir).stdout(Stdio::null()).spawn().unwrap();
        eventually(program, || child.try_wait().unwrap().is_some());
        assert!(child.wait().unwrap().success(), "{program}");
    }
    assert_eq!(sandbox.mounts().unwrap(), []);
}

#[test]
fn the_command_leaves_one_that_the_sandbox_takes_away() {
    if !is_root() {
        return skip("a FUSE mount needs root");
    }
    let sandbox = Sandbox::new().unwrap();
    let dir = sandbox.dir("hung").unwrap();
    // Its output is a pipe: the server that stays must not hold it.
    let output = Command::new(env!("CARGO_BIN_EXE_hungfs")).arg(&dir).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(sandbox.mounts().unwrap().len(), 1);
    let mut caught = Command::new("stat").arg(&dir).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("stat waits", || hung::waiting_at(&dir).unwrap() > 0);
    let path = sandbox.path().to_path_buf();
    drop(sandbox);
    assert!(!caught.wait().unwrap().success());
    assert!(!path.exists());
}
