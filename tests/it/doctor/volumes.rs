//! What past calls left behind, made by real ones: told, and cleared by the command that is printed.

use std::{
    fs,
    process::{Command, Stdio},
};

use flexvolume_linux::mount::{Unmount, unmount};
use flexvolume_testkit::{
    hung::HungFs,
    scripted::{Answer, Script},
};

use super::{GOOD, bad, examined, of, put, type_in};
use crate::{
    bed::{Bed, pod},
    scripts::{direct, staged, tool, until},
};

fn up(bed: &Bed, pods: &[&str], source: &str) -> String {
    let text: Vec<_> = pods.iter().map(|name| pod(name, &[("data", source)])).collect();
    let file = bed.manifest("pods.yaml", &text.join("---\n"));
    bed.ok(["up", &file]);
    file
}

/// What is found of volumes; other processes and loop devices of this machine are not this test's.
fn left(bed: &Bed) -> Vec<super::Finding> {
    let (_, findings) = examined(bed, &[]);
    let own = |finding: &super::Finding| match finding.check.as_str() {
        "loop" => finding.words.contains(bed.sandbox.path().to_str().unwrap()),
        _ => !finding.about.starts_with("pid "),
    };
    findings.into_iter().filter(|finding| finding.group == "volumes" && own(finding)).collect()
}

#[test]
fn volumes_in_use_are_in_order_and_a_lost_mount_is_told() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/d", direct());
    up(&bed, &["web"], "{driver: v/d}");
    assert_eq!(bad(&left(&bed)).len(), 0, "{:#?}", left(&bed));
    unmount(&bed.path_of("web", "data"), Unmount::Plain).unwrap();
    let findings = left(&bed);
    let found = of(&findings, "lost", "v/d");
    assert!(found.severity == "warning" && found.words.contains("default/web"), "{found:?}");
    let command = found.run[0].replace("flexvol", bed.exe().to_str().unwrap());
    type_in(&bed, &command);
    assert!(bad(&left(&bed)).is_empty(), "{:#?}", left(&bed));
    bed.assert_clean();
}

#[test]
fn what_no_record_explains_is_told_and_cleared() {
    let Some(bed) = Bed::new() else { return };
    put(&bed, "v/good", "good", GOOD, 0o755);
    up(&bed, &["web"], "{driver: v/good}");
    let stray = bed.sandbox.dir("root/pods/stray/volumes/v~good/data").unwrap();
    tool("mount", &["-t", "tmpfs", "none", stray.to_str().unwrap()]);
    let bare = bed.sandbox.dir("root/pods/bare/volumes/v~good/data").unwrap();
    let filled = bed.sandbox.dir("root/pods/filled/volumes/v~good/data").unwrap();
    fs::write(filled.join("precious"), "data").unwrap();
    let findings = left(&bed);
    assert_eq!(bad(&findings).len(), 3, "{findings:#?}");
    let filled_found = of(&findings, "directory", filled.to_str().unwrap());
    assert!(filled_found.severity == "warning" && filled_found.words.contains("precious"), "{filled_found:?}");
    type_in(&bed, &of(&findings, "mount", stray.to_str().unwrap()).run[0]);
    type_in(&bed, &of(&findings, "directory", bare.to_str().unwrap()).run[0]);
    assert!(!bare.exists() && filled.join("precious").exists());
    let findings = left(&bed);
    assert!(findings.iter().all(|finding| finding.check != "mount"), "{findings:#?}");
    bed.ok(["down", "--all"]);
}

#[test]
fn a_call_that_was_cut_off_is_told_while_it_runs_and_afterwards() {
    let Some(bed) = Bed::new() else { return };
    let gate = bed.sandbox.path().join("gate");
    let wait = format!("while [ ! -e {} ]; do sleep 0.02; done; mount -t tmpfs none \"$2\"", gate.display());
    let script = Script::sh()
        .on("init", Answer::json(&serde_json::json!({"status": "Success", "capabilities": {"attach": false}})))
        .on("mount", Answer::success().run(wait))
        .on("unmount", Answer::success().run(r#"umount "$2""#));
    let driver = bed.script("v/slow", script);
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/slow}")]));
    let mut host = bed.command(["up", &file]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("mount is under way", || driver.verbs().unwrap().contains(&"mount".to_owned()));
    until("the doctor sees it", || left(&bed).iter().any(|finding| finding.check == "underWay"));
    host.kill().unwrap();
    host.wait().unwrap();
    fs::write(&gate, "").unwrap();
    until("nothing of it runs any more", || left(&bed).iter().any(|finding| finding.check == "interrupted"));
    let findings = left(&bed);
    let found = of(&findings, "interrupted", "v/slow");
    assert_eq!(found.severity, "warning");
    bed.ok(["down", "--all"]);
    assert!(bad(&left(&bed)).is_empty(), "{:#?}", left(&bed));
    bed.assert_clean();
}

#[test]
fn a_failure_is_told_with_the_drivers_words() {
    let Some(bed) = Bed::new() else { return };
    let script = Script::sh()
        .on("init", Answer::json(&serde_json::json!({"status": "Success", "capabilities": {"attach": false}})))
        .on("mount", Answer::failure("no server at 10.0.0.1"))
        .on("unmount", Answer::success());
    bed.script("v/fails", script);
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/fails}")]));
    assert_eq!(bed.run(["up", &file]).code, 1);
    let findings = left(&bed);
    assert!(of(&findings, "trouble", "v/fails").words.contains("no server at 10.0.0.1"), "{findings:#?}");
    bed.ok(["down", "--all"]);
    assert!(bad(&left(&bed)).is_empty());
}

#[test]
fn what_could_not_be_taken_from_a_pod_is_taken_from_no_other() {
    let Some(bed) = Bed::new() else { return };
    let busy = bed.sandbox.path().join("busy");
    let refuse = Answer::shell(format!(
        r#"if [ -e {} ]; then echo '{{"status": "Failure", "message": "in use"}}'; else umount "$2"; echo '{{"status": "Success"}}'; fi"#,
        busy.display()
    ));
    bed.script("v/d", direct().on("unmount", refuse));
    up(&bed, &["web", "db"], "{driver: v/d}");
    fs::write(&busy, "").unwrap();
    assert_ne!(bed.run(["down", "web"]).code, 0);
    fs::remove_file(&busy).unwrap();
    let findings = left(&bed);
    let found = of(&findings, "trouble", "v/d");
    assert!(found.words.contains("in use"), "{found:?}");
    type_in(&bed, &found.run[0].replacen("flexvol", bed.exe().to_str().unwrap(), 1));
    assert!(bad(&left(&bed)).is_empty(), "{:#?}", left(&bed));
    let rows = bed.json(["ls"]);
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!((&rows[0]["pod"], &rows[0]["state"]), (&"db".into(), &"mounted".into()), "the other is well: {rows}");
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn a_driver_that_was_removed_while_in_use_is_told_with_its_volumes() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.script("v/d", direct());
    up(&bed, &["web"], "{driver: v/d}");
    std::fs::remove_dir_all(driver.exe().parent().unwrap()).unwrap();
    for args in [&["doctor"][..], &["doctor", "v/d"]] {
        let ran = bed.run(args);
        assert_eq!(ran.code, 1, "{ran:?}");
        for words in ["v/d", "it is not there", "1 volume", "install FILE --as v/d"] {
            assert!(ran.stdout.contains(words), "{words} in {}", ran.stdout);
        }
    }
    bed.script("v/d", direct());
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn a_damaged_ledger_is_told_and_left_alone() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/s", staged());
    up(&bed, &["web"], "{driver: v/s}");
    let ledger = bed.sandbox.root().join("ledger.db");
    fs::write(&ledger, b"this was a database, once upon a time".repeat(200)).unwrap();
    let before = fs::read(&ledger).unwrap();
    let (code, findings) = examined(&bed, &[]);
    let found = of(&findings, "ledger", bed.sandbox.root().to_str().unwrap());
    assert!(code == 1 && found.severity == "problem" && found.run == ["flexvol ls"], "{found:?}");
    assert!(findings.iter().all(|finding| finding.check != "mount"), "nothing is called unexplained: {findings:#?}");
    assert_eq!(fs::read(&ledger).unwrap(), before);
    bed.ok(["ls"]);
    let findings = left(&bed);
    let found = of(&findings, "rebuilt", "v/s");
    assert_eq!(found.severity, "note", "{findings:#?}");
    // The pod is known by its uid alone.
    type_in(&bed, &found.run[0].replacen("flexvol", bed.exe().to_str().unwrap(), 1));
    bed.assert_clean();
}

#[test]
fn volumes_of_another_namespace_or_machine_are_told() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/d", direct());
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/d}")]));
    let done = bed.sandbox.path().join("done");
    let script = format!("{} up {file} && touch {} && exec sleep 600", bed.exe().display(), done.display());
    let mut elsewhere = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .envs(bed.env())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("it is up there", || done.exists());
    let findings = left(&bed);
    let found = of(&findings, "namespace", "v/d");
    assert!(found.run[0].starts_with("nsenter --mount=/proc/"), "{found:?}");
    type_in(&bed, &found.run[0].replace("flexvol down", &format!("{} down", bed.exe().display())));
    elsewhere.kill().unwrap();
    elsewhere.wait().unwrap();
    assert!(bad(&left(&bed)).is_empty(), "{:#?}", left(&bed));
}

#[test]
fn a_loop_device_without_its_image_is_told() {
    let Some(bed) = Bed::with_drivers() else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let source = format!(
        "{{driver: flexvol.io/loopback, fsType: ext4, options: {{volumeID: gone, size: 16Mi, create: \"true\", directory: {}}}}}",
        images.display()
    );
    up(&bed, &["web"], &source);
    let find = || left(&bed).into_iter().filter(|finding| finding.check == "loop").collect::<Vec<_>>();
    assert_eq!(find().len(), 0);
    let path = bed.path_of("web", "data");
    fs::write(path.join("precious"), "data").unwrap();
    let files = fs::read_dir(&images).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    let image = bed.sandbox.loops().unwrap().remove(0).backing;
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
    let found = find();
    assert!(found.len() == 1 && found[0].severity == "warning", "{found:?}");
    assert!(found[0].words.contains("last copy") && !found[0].run[0].contains("losetup"), "{found:?}");
    unmount(&path, Unmount::Plain).unwrap();
    let stage = bed.sandbox.mounts().unwrap();
    stage.iter().for_each(|mount| unmount(&mount.point, Unmount::Plain).unwrap());
    let found = find();
    assert!(found.len() == 1 && found[0].words.contains("last copy"), "{found:?}");
    // A file that is there by now stays as it is, and the device with its data too.
    fs::write(&image, "another").unwrap();
    assert!(!Command::new("/bin/sh").args(["-c", &found[0].run[0]]).status().unwrap().success());
    assert_eq!((fs::read(&image).unwrap(), find().len()), (b"another".to_vec(), 1));
    fs::remove_file(&image).unwrap();
    type_in(&bed, &found[0].run[0]);
    until("the device is let go of", || find().is_empty());
    let mounted = bed.sandbox.dir("rescued").unwrap();
    tool("mount", &["-o", "loop", image.to_str().unwrap(), mounted.to_str().unwrap()]);
    let rescued = fs::read_to_string(mounted.join("precious"));
    unmount(&mounted, Unmount::Plain).unwrap();
    assert_eq!(rescued.unwrap(), "data");
}

#[test]
fn a_process_that_no_signal_ends_is_told_with_its_volume() {
    let Some(bed) = Bed::new() else { return };
    let hung = HungFs::mount(&bed.sandbox.dir("hung").unwrap(), 0).unwrap();
    let script = Script::sh()
        .on("init", Answer::json(&serde_json::json!({"status": "Success", "capabilities": {"attach": false}})))
        .on("mount", Answer::shell(format!("ls {}; echo '{{\"status\": \"Failure\"}}'", hung.dir().display())))
        .on("unmount", Answer::success());
    bed.script("v/stuck", script);
    // Only who was sent KILL waits where no signal reaches him.
    let limits = r#"{"drivers": {"v/stuck": {"limits": {"mount": {"answer": 0.2, "kill": 0.5}}}}}"#;
    fs::write(bed.sandbox.path().join("flexvol.json"), limits).unwrap();
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/stuck}")]));
    assert_ne!(bed.run(["up", &file]).code, 0);
    let find = || {
        let (_, findings) = examined(&bed, &[]);
        findings.into_iter().find(|finding| finding.check == "stuck" && finding.words.contains("for v/stuck"))
    };
    until("it is told", || find().is_some());
    let found = find().unwrap();
    assert!(found.words.contains("FUSE server") && found.run[0].starts_with("cat /proc/"), "{found:?}");
    hung.abort().unwrap();
    until("it is gone", || find().is_none());
    drop(hung);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}
