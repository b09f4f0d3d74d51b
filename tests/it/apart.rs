//! What one pod, one driver, one namespace does must not reach another: each is told, and left as it was.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use flexvolume_testkit::scripted::{Answer, Script};

use crate::{
    bed::{Bed, pod},
    scripts::{attachable, direct, image, staged, until},
};

fn pods(names: &[&str], source: &str) -> String {
    names.iter().map(|name| pod(name, &[("data", source)])).collect::<Vec<_>>().join("---\n")
}

/// A command in the pod's view, with a file of the volume open.
fn holding(bed: &Bed, pod: &str) -> Child {
    let held = bed.sandbox.path().join("held");
    let script = format!("exec 3>/data/data/open; touch {}; exec sleep 600", held.display());
    let child = bed.command(["exec", pod, "--", "sh", "-c", &script]).stdout(Stdio::null()).spawn().unwrap();
    until("the file is open", || held.exists());
    child
}

fn state_of(bed: &Bed, pod: &str) -> String {
    let rows = bed.json(["ls"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["pod"] == pod).unwrap();
    row["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_pod_that_cannot_go_keeps_no_other_from_coming() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/staged", staged());
    let file = bed.manifest("two.yaml", &pods(&["one", "two"], "{driver: v/staged}"));
    bed.ok(["up", "--jobs", "1", &file]);
    // Somebody stands in the first pod's mount, on the host itself.
    let mut shell = Command::new("sleep").arg("600").current_dir(bed.path_of("one", "data")).spawn().unwrap();
    bed.run(["down", "one"]).fails(5, &["fuser"]);
    let third = bed.manifest("three.yaml", &pods(&["three"], "{driver: v/staged}"));
    bed.ok(["up", &third]);
    assert_eq!(state_of(&bed, "three"), "mounted");
    shell.kill().unwrap();
    shell.wait().unwrap();
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn going_down_goes_up_for_nobody() {
    let Some(bed) = Bed::new() else { return };
    // The second pod's mount fails; that is for the next `up` to try again, not for the first pod's `down`.
    let script = Script::sh()
        .on("init", Answer::success())
        .on("attach", Answer::success())
        .on("mountdevice", Answer::success().run(r#"mount -t tmpfs none "$2""#))
        .on("unmountdevice", Answer::success().run(r#"umount "$2""#))
        .on("mount", Answer::shell(r#"case $3 in *'"two"'*) echo '{"status":"Failure"}';; *) mount -t tmpfs none "$2"; echo '{"status":"Success"}';; esac"#))
        .on("unmount", Answer::success().run(r#"umount "$2""#));
    let driver = bed.script("v/half", script);
    let file = bed.manifest("two.yaml", &pods(&["one", "two"], "{driver: v/half}"));
    bed.run(["up", "--jobs", "1", &file]).fails(1, &["default/two"]);
    driver.forget().unwrap();
    bed.ok(["down", "one"]);
    assert!(!driver.verbs().unwrap().contains(&"mount".to_owned()), "{:?}", driver.verbs());
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn a_pod_keeps_its_own_volume_when_the_plain_name_gets_free() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.script("v/staged", staged());
    let one = bed.manifest("one.yaml", &pods(&["one"], "{driver: v/staged, options: {which: first}}"));
    let two = bed.manifest("two.yaml", &pods(&["two"], "{driver: v/staged, options: {which: second}}"));
    bed.ok(["up", &one]);
    bed.ok(["up", &two]);
    bed.ok(["down", "one"]);
    driver.forget().unwrap();
    assert_eq!(bed.json(["up", &two])[0]["changed"], false);
    assert!(!driver.verbs().unwrap().contains(&"attach".to_owned()), "the volume was attached a second time");
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn a_driver_that_changed_its_kind_does_not_lose_the_old_volumes() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/d", direct());
    let file = bed.manifest("pod.yaml", &pods(&["web"], "{driver: v/d}"));
    bed.ok(["up", &file]);
    let path = bed.path_of("web", "data");
    fs::write(path.join("kept"), "x").unwrap();
    bed.script("v/d", staged());
    bed.run(["up", &file]).fails(4, &["another way", "old driver"]);
    assert!(path.join("kept").exists(), "the living pod's volume was touched");
    bed.script("v/d", direct());
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn h_83_a_device_that_is_open_in_another_namespace_is_not_detached() {
    let Some(bed) = Bed::new() else { return };
    let disk = bed.sandbox.path().join("disk");
    image(&disk, 16);
    let driver = bed.script("v/loop", attachable(&disk));
    let file = bed.manifest("pod.yaml", &pods(&["web"], "{driver: v/loop}"));
    bed.ok(["up", &file]);
    let mut holder = holding(&bed, "web");
    bed.run(["down", "web"]).fails(5, &["still in use", "not detached"]);
    assert!(!driver.verbs().unwrap().contains(&"detach".to_owned()));
    holder.kill().unwrap();
    holder.wait().unwrap();
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn mounts_of_another_namespace_are_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.script("v/d", direct());
    let file = bed.manifest("pod.yaml", &pods(&["web"], "{driver: v/d}"));
    bed.ok(["up", &file]);
    let elsewhere = |verb: &str| {
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(bed.exe())
            .args([verb, &file])
            .envs(bed.env())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for verb in ["down", "up"] {
        let (code, words) = elsewhere(verb);
        assert!(code == Some(4) && words.contains("another mount namespace"), "{verb}: {code:?} {words}");
    }
    assert!(!driver.verbs().unwrap().contains(&"unmount".to_owned()));
    bed.ok(["down", "web"]);
    // What was mounted in a namespace that is gone is gone, and no reason to refuse.
    assert_eq!(elsewhere("up").0, Some(0));
    bed.ok(["up", &file]);
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn exec_never_runs_beside_the_volume() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/d", direct());
    let file = bed.manifest("pod.yaml", &pods(&["web"], "{driver: v/d}"));
    bed.ok(["up", &file]);
    let path = bed.path_of("web", "data");
    flexvolume_linux::mount::unmount(&path, flexvolume_linux::mount::Unmount::Plain).unwrap();
    bed.run(["exec", "web", "--", "touch", "/data/data/stray"]).fails(5, &["not mounted", "flexvol up"]);
    assert!(!path.join("stray").exists());
    assert!(state_of(&bed, "web").starts_with("lost"));
    bed.ok(["up", &file]);
    bed.ok(["exec", "web", "--", "touch", "/data/data/there"]);
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn a_command_in_one_pod_keeps_no_other_pods_volume() {
    let Some(bed) = Bed::new() else { return };
    for name in ["one", "two"] {
        let disk = bed.sandbox.path().join(name);
        image(&disk, 16);
        bed.script(&format!("v/{name}"), attachable(&disk));
        let file = bed.manifest("pod.yaml", &pods(&[name], &format!("{{driver: v/{name}}}")));
        bed.ok(["up", &file]);
    }
    let mut holder = holding(&bed, "one");
    bed.ok(["down", "two"]);
    assert_eq!(bed.sandbox.loops().unwrap().len(), 1, "the other pod's device was kept");
    holder.kill().unwrap();
    holder.wait().unwrap();
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}
