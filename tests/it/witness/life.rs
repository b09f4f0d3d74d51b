//! Volumes live and die under the original with our drivers, real and scripted; after each step the kernel is asked what is there.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use flexvolume_linux::{fs::usage, mount::table};
use flexvolume_testkit::scripted::{Answer, Scripted};
use serde_json::{Value, json};

use super::{MOUNT, UNMOUNT, Witness, inline, install, persistent, pod};
use crate::{
    bed::Bed,
    scripts::{attachable, direct, image, tool, until},
};

const MIB: u64 = 1 << 20;

fn fs_type_at(path: &Path) -> Option<String> {
    table::at(path).unwrap().map(|there| there.fs_type)
}

fn taken_down(driver: &str, name: &str, pod: &str) -> Value {
    json!({"driver": driver, "name": name, "uid": format!("uid-{pod}")})
}

/// Nothing is mounted, attached or kept as a directory of a pod.
fn assert_bare(bed: &Bed, dirs: &[&Path]) {
    assert_eq!(bed.sandbox.mounts().unwrap(), [], "mounts left");
    // A namespace of another test that has a copy of a mount keeps its device for a while.
    until("the loop devices to be gone", || bed.sandbox.loops().unwrap().is_empty());
    for dir in dirs {
        assert!(!dir.exists(), "{} is left", dir.display());
    }
}

fn count(driver: &Scripted, verb: &str) -> usize {
    driver.verbs().unwrap().iter().filter(|other| *other == verb).count()
}

#[test]
fn tmpfs_serves_the_original() {
    let Some(bed) = Bed::with_drivers() else { return };
    let Some(mut witness) = Witness::start(&bed) else { return };
    let found = witness.ok("find", json!({"driver": "flexvol.io/tmpfs"}));
    assert_eq!(found, json!({"name": "flexvol.io/tmpfs", "attachable": false, "requiresFSResize": false}));
    let source = json!({"driver": "flexvol.io/tmpfs", "options": {"size": "4m", "mode": "1770"}});
    let ask = json!({"volume": inline("scratch", source), "pod": pod("web")});
    let dir = PathBuf::from(witness.word("setup", ask.clone()));
    assert_eq!(dir, bed.sandbox.root().join("pods/uid-web/volumes/flexvol.io~tmpfs/scratch"));
    assert_eq!(fs_type_at(&dir).unwrap(), "tmpfs");
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o1770);
    fs::write(dir.join("file"), "bytes").unwrap();
    witness.ok("setup", ask);
    assert_eq!(bed.sandbox.mounts().unwrap().len(), 1, "asked twice, mounted once");
    assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "bytes");
    witness.ok("teardown", taken_down("flexvol.io/tmpfs", "scratch", "web"));
    assert_bare(&bed, &[&dir]);

    let source = json!({"driver": "flexvol.io/tmpfs", "readOnly": true});
    let dir = PathBuf::from(witness.word("setup", json!({"volume": inline("ro", source), "pod": pod("web")})));
    assert!(fs::write(dir.join("file"), "").is_err(), "a read-only volume was written to");
    witness.ok("teardown", taken_down("flexvol.io/tmpfs", "ro", "web"));

    let source = json!({"driver": "flexvol.io/tmpfs", "options": {"size": "plenty"}});
    witness.fails("setup", json!({"volume": inline("bad", source), "pod": pod("web")}), &["size", "plenty"]);
    assert_bare(&bed, &[&dir, &dir.with_file_name("bad")]);
}

/// The cold life of a staged driver, from the first pod to the last, with a restart of the host and growth in between.
#[test]
fn loopback_serves_the_original() {
    let Some(bed) = Bed::with_drivers() else { return };
    let Some(mut witness) = Witness::start(&bed) else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let source = |size: &str| {
        let options = json!({"volumeID": "v", "size": size, "create": "true", "directory": images});
        json!({"driver": "flexvol.io/loopback", "fsType": "xfs", "options": options})
    };
    let found = witness.ok("find", json!({"driver": "flexvol.io/loopback"}));
    assert_eq!((&found["attachable"], &found["requiresFSResize"]), (&json!(false), &json!(true)));
    let volume = persistent("pv", 320 * MIB, source("320m"));
    let ask = |who: &str| {
        let mut pod = pod(who);
        pod["spec"]["securityContext"] = json!({"fsGroup": 4711});
        json!({"persistentVolume": volume, "pod": pod})
    };

    let one = PathBuf::from(witness.word("setup", ask("one")));
    assert_eq!(fs_type_at(&one).unwrap(), "xfs");
    assert_eq!(bed.sandbox.loops().unwrap().len(), 1);
    let root = fs::metadata(&one).unwrap();
    assert_eq!((root.gid(), root.mode() & 0o2070), (4711, 0o2070), "the group of the pod");
    fs::write(one.join("rows"), "kept").unwrap();
    let two = PathBuf::from(witness.word("setup", ask("two")));
    assert_eq!(fs::read_to_string(two.join("rows")).unwrap(), "kept", "one volume, two pods");
    assert_eq!(bed.sandbox.loops().unwrap().len(), 1, "one device for both");

    let before = usage(&one).unwrap().total;
    let grow = json!({
        "persistentVolume": persistent("pv", 480 * MIB, source("320m")),
        "path": one, "new": 480 * MIB, "old": 320 * MIB,
    });
    assert_eq!(witness.ok("nodeexpand", grow), true);
    assert!(usage(&one).unwrap().total > before + 100 * MIB, "{before} became {}", usage(&one).unwrap().total);
    assert_eq!(fs::metadata(images.join("v.img")).unwrap().len(), 480 * MIB);

    witness.ok("teardown", taken_down("flexvol.io/loopback", "pv", "one"));
    assert!(!one.exists());
    assert_eq!(fs::read_to_string(two.join("rows")).unwrap(), "kept", "the other pod keeps it");
    // A kubelet that was restarted knows driver and name alone.
    drop(witness);
    let Some(mut witness) = Witness::start(&bed) else { return };
    witness.ok("teardown", taken_down("flexvol.io/loopback", "pv", "two"));
    witness.ok("teardown", taken_down("flexvol.io/loopback", "pv", "two"));
    assert_bare(&bed, &[&one, &two]);

    let again = PathBuf::from(witness.word("setup", ask("one")));
    assert_eq!(fs::read_to_string(again.join("rows")).unwrap(), "kept");
    witness.ok("teardown", taken_down("flexvol.io/loopback", "pv", "one"));
    assert_bare(&bed, &[&again]);
}

/// What a driver leaves to its host the original does itself: it formats, mounts, binds, grows and unmounts. Then our host does the
/// same with the same image, and the original again: each finds the other's bytes.
#[test]
fn an_attachable_driver_serves_both_hosts_in_turn() {
    let Some(bed) = Bed::new() else { return };
    let Some(mut witness) = Witness::start(&bed) else { return };
    let disk = bed.sandbox.path().join("disk");
    image(&disk, 320);
    let attached = Answer::shell(format!(
        r#"[ -n "$(losetup -n -O NAME -j {})" ] && a=true || a=false; printf '{{"status":"Success","attached":%s}}\n' $a"#,
        disk.display()
    ));
    let driver = install(&bed, "v/disk", attachable(&disk).on("isattached", attached));
    assert_eq!(witness.found("v/disk")["attachable"], true);
    let volume = persistent("pv", 320 * MIB, json!({"driver": "v/disk", "fsType": "xfs"}));
    let ask = |more: Value| {
        let mut ask = json!({"persistentVolume": volume, "node": "node", "pod": pod("web")});
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask
    };

    assert_eq!(witness.ok("attached", ask(json!({}))), false);
    let device = witness.word("attach", ask(json!({})));
    assert_eq!(bed.sandbox.loops().unwrap().len(), 1);
    assert_eq!(witness.ok("attached", ask(json!({}))), true);
    assert_eq!(witness.word("wait", ask(json!({"device": device}))), device);
    let gdir = PathBuf::from(witness.word("mountdevice", ask(json!({"device": device}))));
    assert_eq!(gdir, bed.sandbox.root().join("plugins/kubernetes.io/flexvolume/v/disk/mounts/pv"));
    assert_eq!(fs_type_at(&gdir).unwrap(), "xfs");
    let pdir = PathBuf::from(witness.word("setup", ask(json!({}))));
    assert_eq!(table::at(&pdir).unwrap().unwrap().source, device, "bound from the node's mount");
    fs::write(pdir.join("rows"), "of the original").unwrap();
    assert_eq!(fs::read_to_string(gdir.join("rows")).unwrap(), "of the original");

    let before = usage(&pdir).unwrap().total;
    fs::File::options().write(true).open(&disk).unwrap().set_len(480 * MIB).unwrap();
    tool("losetup", &["-c", &device]);
    let grow = ask(json!({"device": device, "path": pdir, "new": 480 * MIB, "old": 320 * MIB}));
    assert_eq!(witness.ok("nodeexpand", grow), true);
    assert!(usage(&pdir).unwrap().total > before + 100 * MIB);

    let down = |witness: &mut Witness| {
        witness.ok("teardown", taken_down("v/disk", "pv", "web"));
        assert_eq!(fs_type_at(&gdir).unwrap(), "xfs", "the node's mount outlives the pod's");
        witness.ok("unmountdevice", json!({"driver": "v/disk", "path": gdir}));
        assert_eq!(bed.sandbox.loops().unwrap().len(), 1);
        witness.ok("detach", json!({"driver": "v/disk", "name": "pv", "node": "node"}));
        assert_bare(&bed, &[&pdir, &gdir]);
    };
    down(&mut witness);

    // Ours.
    let source = "{driver: v/disk, fsType: xfs}";
    let file = bed.manifest("pod.yaml", &crate::bed::pod("web", &[("data", source)]));
    bed.ok(["up", &file]);
    let path = bed.path_of("web", "data");
    assert_eq!(fs::read_to_string(path.join("rows")).unwrap(), "of the original");
    assert!(usage(&path).unwrap().total > before + 100 * MIB);
    fs::write(path.join("rows"), "of ours").unwrap();
    bed.ok(["down", &file]);
    assert_bare(&bed, &[&path]);

    // And the original once more.
    let device = witness.word("attach", ask(json!({})));
    witness.ok("mountdevice", ask(json!({"device": device})));
    witness.ok("setup", ask(json!({})));
    assert_eq!(fs::read_to_string(pdir.join("rows")).unwrap(), "of ours");
    down(&mut witness);
    for verb in ["attach", "waitforattach", "mountdevice", "mount", "expandfs", "unmount", "unmountdevice", "detach"] {
        assert!(count(&driver, verb) > 0, "{verb} was never asked for");
    }
}

#[test]
fn a_direct_driver_serves_the_original_and_its_failures_are_told() {
    let Some(bed) = Bed::new() else { return };
    let Some(mut witness) = Witness::start(&bed) else { return };
    let busy = Answer::failure("somebody is in there");
    let mount = Answer::success().run(MOUNT);
    let script = direct()
        .on_each("mount", [Answer::failure("no disk today"), mount])
        .on_each("unmount", [busy, Answer::success().run(UNMOUNT)]);
    let driver = install(&bed, "v/direct", script);
    assert_eq!(witness.found("v/direct")["attachable"], false);
    let ask = json!({"volume": inline("data", json!({"driver": "v/direct"})), "pod": pod("web")});
    let dir = bed.sandbox.root().join("pods/uid-web/volumes/v~direct/data");
    witness.fails("setup", ask.clone(), &["mount command failed, status: Failure, reason: no disk today"]);
    assert_bare(&bed, &[&dir]);
    witness.ok("setup", ask);
    assert_eq!(fs_type_at(&dir).unwrap(), "tmpfs");
    fs::write(dir.join("file"), "bytes").unwrap();
    let down = taken_down("v/direct", "data", "web");
    witness.fails("teardown", down.clone(), &["somebody is in there"]);
    assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "bytes");
    witness.ok("teardown", down);
    assert_bare(&bed, &[&dir]);
    let verbs: Vec<_> = driver.verbs().unwrap().into_iter().filter(|verb| verb != "init").collect();
    assert_eq!(verbs, ["mount", "mount", "unmount", "unmount"]);
}
