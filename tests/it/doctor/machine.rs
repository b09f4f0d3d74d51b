//! The directories that flexvol stands on, on real mounts, and a doctor who has not all rights.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Instant};

use flexvolume_testkit::{hung::HungFs, skip};

use super::{GOOD, bad, examined, findings, of, put, type_in};
use crate::{
    bed::{Bed, Ran},
    scripts::tool,
};

#[test]
fn a_plugin_directory_that_cannot_run_anything_is_told_and_healed() {
    let Some(bed) = Bed::new() else { return };
    let plugins = bed.sandbox.plugins();
    tool("mount", &["-t", "tmpfs", "-o", "noexec,mode=755", "none", plugins.to_str().unwrap()]);
    put(&bed, "v/good", "good", GOOD, 0o755);
    let (code, findings) = examined(&bed, &[]);
    assert_eq!(code, 1);
    let found = of(&findings, "noexec", plugins.to_str().unwrap());
    assert_eq!(found.severity, "problem");
    assert!(of(&findings, "start", "v/good").words.contains("noexec"));
    type_in(&bed, &found.run[0]);
    let (_, findings) = examined(&bed, &["v/good"]);
    assert!(bad(&findings).is_empty(), "{findings:#?}");

    tool("mount", &["-o", "remount,ro", plugins.to_str().unwrap()]);
    let (code, findings) = examined(&bed, &[]);
    assert_eq!((code, of(&findings, "writable", plugins.to_str().unwrap()).severity.as_str()), (0, "note"));
}

#[test]
fn directories_that_others_could_change_are_told_and_healed() {
    let Some(bed) = Bed::new() else { return };
    for (dir, group) in [(bed.sandbox.plugins(), "plugins"), (bed.sandbox.root(), "root")] {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let (code, findings) = examined(&bed, &[]);
        let found = of(&findings, "trust", dir.to_str().unwrap());
        assert_eq!((code, found.severity.as_str(), found.group.as_str()), (1, "problem", group));
        type_in(&bed, &found.run[0]);
        assert_eq!(examined(&bed, &[]).0, 0);
    }
}

#[test]
fn a_root_that_is_forgotten_or_full_is_told() {
    let Some(bed) = Bed::new() else { return };
    let root = bed.sandbox.root();
    let shown = root.to_str().unwrap();
    tool("mount", &["-t", "tmpfs", "-o", "size=4m,mode=755", "none", shown]);
    let (code, findings) = examined(&bed, &[]);
    assert_eq!((code, of(&findings, "lasting", shown).severity.as_str()), (0, "warning"));
    fs::write(root.join("fill"), vec![1; 3_900_000]).unwrap();
    let (code, findings) = examined(&bed, &[]);
    assert_eq!((code, of(&findings, "room", shown).severity.as_str()), (1, "problem"));
    fs::remove_file(root.join("fill")).unwrap();
    tool("mount", &["-o", "remount,ro", shown]);
    let (code, findings) = examined(&bed, &[]);
    let found = of(&findings, "writable", shown);
    assert_eq!((code, found.severity.as_str()), (1, "problem"));
    type_in(&bed, &found.run[0]);
    assert_eq!(examined(&bed, &[]).0, 0);
}

#[test]
fn a_file_system_that_hangs_hides_only_what_lies_on_it() {
    let Some(bed) = Bed::new() else { return };
    put(&bed, "v/good", "good", GOOD, 0o755);
    let root = bed.sandbox.root();
    let hung = HungFs::mount(&root, 0).unwrap();
    let start = Instant::now();
    let (code, findings) = examined(&bed, &[]);
    assert_eq!(code, 1);
    assert!(start.elapsed().as_secs() < 600, "it hung itself");
    let found = of(&findings, "hangs", root.to_str().unwrap());
    assert!(found.severity == "problem" && found.run[0].starts_with("cat /proc/"), "{found:?}");
    assert_eq!(findings.iter().filter(|finding| finding.check == "hangs").count(), 1, "told once: {findings:#?}");
    assert_eq!(of(&findings, "init", "v/good").severity, "ok");
    hung.abort().unwrap();
    drop(hung);
    assert_eq!(examined(&bed, &[]).0, 0);
}

#[test]
fn without_root_it_says_what_it_could_not_see() {
    let Some(bed) = Bed::new() else { return };
    put(&bed, "v/good", "good", GOOD, 0o755);
    // Where a user who is nobody may run it.
    let exe = bed.sandbox.path().join("flexvol");
    fs::copy(bed.exe(), &exe).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&exe)
        .args(["-o", "json", "doctor"])
        .envs(bed.env())
        .output();
    let Ok(output) = output else { return skip("no setpriv here") };
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    let findings = findings(&ran);
    assert_eq!(ran.code, 0, "{findings:#?}");
    for (check, about) in [
        ("rights", "rights"),
        ("writable", bed.sandbox.root().to_str().unwrap()),
        ("writable", bed.sandbox.plugins().to_str().unwrap()),
        ("namespace", bed.sandbox.root().to_str().unwrap()),
    ] {
        assert_eq!(of(&findings, check, about).severity, "note", "{check}");
    }
    assert_eq!(of(&findings, "init", "v/good").severity, "ok");
}

#[test]
fn what_nfs_needs_is_looked_at_where_its_driver_is() {
    let Some(bed) = Bed::new() else { return };
    let of_nfs = |about: &[&str]| {
        let found = examined(&bed, about).1.into_iter().filter(|finding| finding.check == "nfs");
        found.map(|finding| (finding.group, finding.about)).collect::<Vec<_>>()
    };
    // A script of that name mounts as it likes.
    put(&bed, "v/nfs", "nfs", GOOD, 0o755);
    assert_eq!(of_nfs(&[]), []);
    let exe = flexvolume_testkit::binary("nfs").unwrap();
    bed.ok(["install", exe.to_str().unwrap(), "--as", "flexvol.io/nfs"]);
    for drivers in [&[][..], &["flexvol.io/nfs"]] {
        let mut found = of_nfs(drivers);
        found.sort();
        let [(_, kernel), (_, helper)] = found.as_slice() else { panic!("{found:?}") };
        assert!(kernel.starts_with("NFS") && helper == "mount.nfs", "{found:?}");
    }
    assert_eq!(of_nfs(&["v/nfs"]), []);
}
