//! The real executable, called as a host calls it.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::{
    fs,
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use flexvolume_testkit::{Sandbox, is_root, mounts, skip};

/// Exit code, and both streams in one, which must be one line of JSON.
fn call(args: &[&str]) -> (bool, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_tmpfs")).args(args).output().unwrap();
    let said = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
    assert!(said.ends_with('\n') && said.lines().count() == 1 && said.starts_with(r#"{"status":"#), "{said:?}");
    (run.status.success(), said.trim_end().to_owned())
}

fn place(sandbox: &Sandbox) -> PathBuf {
    sandbox.dir("pods/uid/volumes/flexvol~tmpfs/scratch").unwrap()
}

fn options(more: &str) -> String {
    let host = r#""kubernetes.io/fsType":"","kubernetes.io/pvOrVolumeName":"scratch","kubernetes.io/pod.name":"p","other":"x""#;
    format!("{{{host}{more}}}")
}

const SUCCESS: &str = r#"{"status":"Success"}"#;

#[test]
fn init_says_what_it_can_do() {
    let capabilities =
        r#"{"attach":false,"selinuxRelabel":true,"fsGroup":true,"supportsMetrics":true,"requiresFSResize":false}"#;
    let said = format!(r#"{{"status":"Success","capabilities":{capabilities},"extensions":["stdin"]}}"#);
    assert_eq!(call(&["init"]), (true, said));
    assert_eq!(call(&["getvolumename", "{}"]), (true, r#"{"status":"Not supported"}"#.to_owned()));
    assert!(!call(&["mount"]).0 && !call(&[]).0);
}

/// A host's folder may lie behind a link of its administrator; a link that somebody else laid leads nowhere.
#[test]
fn only_an_administrators_link_is_followed() {
    if !is_root() {
        return skip("mounting needs root");
    }
    let sandbox = Sandbox::new().unwrap();
    let (dir, options) = (place(&sandbox), options(""));
    let link = sandbox.path().join("link");
    symlink(sandbox.path().join("pods"), &link).unwrap();
    let by_link = link.join("uid/volumes/flexvol~tmpfs/scratch");
    assert_eq!(call(&["mount", by_link.to_str().unwrap(), &options]), (true, SUCCESS.to_owned()));
    assert_eq!(mounts::beneath(&dir).unwrap().len(), 1);
    assert_eq!(call(&["unmount", by_link.to_str().unwrap()]), (true, SUCCESS.to_owned()));
    assert!(is_bare(&dir));
    lchown(&link, Some(1234), None).unwrap();
    for args in [&["mount", by_link.to_str().unwrap(), &options] as &[&str], &["unmount", by_link.to_str().unwrap()]] {
        let (done, said) = call(args);
        assert!(!done && said.contains("/link belongs to user 1234") && said.contains("chown -h"), "{said}");
    }
    assert!(is_bare(&dir));
    // The last component is never followed, whoever laid it.
    let end = sandbox.path().join("pods/end");
    symlink(&dir, &end).unwrap();
    let (done, said) = call(&["mount", end.to_str().unwrap(), &options]);
    assert!(!done && said.contains("symbolic link") && is_bare(&dir), "{said}");
}

#[test]
fn mounts_once_and_unmounts_as_often_as_asked() {
    if !is_root() {
        return skip("mounting needs root");
    }
    let sandbox = Sandbox::new().unwrap();
    let (dir, options) = (place(&sandbox), options(r#","size":"4m","mode":"1770","kubernetes.io/readwrite":"rw""#));
    let here = dir.to_str().unwrap();
    for _ in 0..2 {
        assert_eq!(call(&["mount", here, &options]), (true, SUCCESS.to_owned()));
    }
    assert_eq!(mounts::beneath(&dir).unwrap().len(), 1);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o1770);
    fs::write(dir.join("fits"), vec![1; 3 << 20]).unwrap();
    assert!(fs::write(dir.join("does not"), vec![1; 3 << 20]).is_err(), "the size is a limit");
    for _ in 0..2 {
        assert_eq!(call(&["unmount", here]), (true, SUCCESS.to_owned()));
        assert!(is_bare(&dir));
    }
    fs::remove_dir(&dir).unwrap();
    assert_eq!(call(&["unmount", here]), (true, SUCCESS.to_owned()));
}

#[test]
fn read_only_is_read_only() {
    if !is_root() {
        return skip("mounting needs root");
    }
    let sandbox = Sandbox::new().unwrap();
    let dir = place(&sandbox);
    let here = dir.to_str().unwrap();
    assert!(call(&["mount", here, &options(r#","kubernetes.io/readwrite":"ro""#)]).0);
    assert!(fs::write(dir.join("x"), "").is_err());
    assert!(call(&["unmount", here]).0);
}

#[test]
fn refuses_in_words_and_mounts_nothing() {
    if !is_root() {
        return skip("mounting needs root");
    }
    let sandbox = Sandbox::new().unwrap();
    let dir = place(&sandbox);
    let here = dir.to_str().unwrap();
    for (more, words) in [(r#","size":"0""#, "zero"), (r#","size":"lots""#, "size"), (r#","mode":"rwx""#, "mode")] {
        let (success, said) = call(&["mount", here, &options(more)]);
        assert!(!success && said.contains(words), "{said}");
        assert!(is_bare(&dir));
    }
    let elsewhere = sandbox.dir("else").unwrap();
    assert!(Command::new("mount").arg("--bind").args([&elsewhere, &dir]).status().unwrap().success());
    let (success, said) = call(&["mount", here, &options("")]);
    assert!(!success && said.contains("conflict"), "{said}");
    let (success, said) = call(&["mount", &format!("{here}/missing"), &options("")]);
    assert!(!success && said.contains("missing"), "{said}");
}

fn is_bare(dir: &Path) -> bool {
    mounts::beneath(dir).unwrap().is_empty() && fs::read_dir(dir).unwrap().count() == 0
}
