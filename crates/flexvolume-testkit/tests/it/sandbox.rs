//! The sandbox leaves nothing, and never removes what is mounted.

use std::fs::{self, File};
use std::process::Command;

use flexvolume_testkit::{Sandbox, binary, is_root, skip};

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn mounts_loops_and_files_are_gone() {
    if !is_root() {
        return skip("mounts need root");
    }
    let precious = tempfile::tempdir().unwrap();
    fs::write(precious.path().join("file"), "kept").unwrap();
    let sandbox = Sandbox::new().unwrap();
    let outer = sandbox.dir("root/a b").unwrap();
    for _ in 0..2 {
        done(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&outer));
    }
    let inner = sandbox.dir("root/a b/inner").unwrap();
    done(Command::new("mount").arg("--bind").arg(precious.path()).arg(&inner));
    std::os::unix::fs::symlink(precious.path(), sandbox.path().join("link")).unwrap();
    let image = sandbox.path().join("image");
    File::create(&image).unwrap().set_len(1 << 20).unwrap();
    done(Command::new("losetup").arg("-f").arg(&image));
    assert_eq!(sandbox.mounts().unwrap().len(), 3);
    let points: Vec<_> = sandbox.mounts().unwrap().into_iter().map(|m| m.point).collect();
    assert_eq!(points, [inner, outer.clone(), outer]);
    let bound = sandbox.loops().unwrap();
    assert_eq!(bound.len(), 1);
    assert_eq!(bound[0].backing, image);

    let path = sandbox.path().to_path_buf();
    drop(sandbox);
    assert!(!path.exists());
    assert_eq!(fs::read_to_string(precious.path().join("file")).unwrap(), "kept");
    let left =
        fs::read_to_string(format!("/sys/block/{}/loop/backing_file", bound[0].device.file_name().unwrap().display()));
    assert!(!left.is_ok_and(|file| file.contains("flexvol-") && file.contains(&*path.to_string_lossy())));
}

#[test]
fn binaries_are_found_beside_the_test() {
    assert_eq!(binary("killat").unwrap(), std::path::Path::new(env!("CARGO_BIN_EXE_killat")));
    assert!(binary("no-such-binary").is_err());
}
