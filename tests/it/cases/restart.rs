//! A host that begins anew: what is wanted stays, what is not goes with nothing but names, and no data goes with it.

use std::fs;

use flexvolume_testkit::scripted::{Answer, Script};

use super::{claimed, claiming, whole};
use crate::{
    bed::{Bed, pod},
    one::{MOUNT, One, is_mounted},
    scripts::{direct, staged, tool},
};

#[test]
fn h_90_what_is_wanted_and_there_is_left_as_it_is_and_what_is_gone_is_made_again() {
    let Some(one) = One::new(whole()) else { return };
    one.comes("the first host");
    one.driver.forget().unwrap();
    // Every command is a host of its own. Kubernetes would call waitforattach here.
    let ran = one.comes("the second");
    assert!(ran.stdout.contains("unchanged"), "{ran:?}");
    assert_eq!(one.verbs(), Vec::<String>::new());
    let [path, global] = [one.path(), one.global()];
    tool("umount", &[path.to_str().unwrap()]);
    one.comes("the pod's mount is gone");
    // What was lost is undone through the driver before it is made again; Kubernetes only mounts.
    assert_eq!(one.verbs(), ["unmount", "mount"]);
    assert!(is_mounted(&path) && is_mounted(&global));
    one.goes("as ever");
}

#[test]
fn h_91_what_nobody_wants_goes_with_names_alone() {
    for ledger in [true, false] {
        let Some(one) = One::new(whole()) else { return };
        let secret = "{apiVersion: v1, kind: Secret, metadata: {name: keys}, type: v/d, stringData: {a: b}}";
        let pod = pod("web", &[("data", "{driver: v/d, secretRef: {name: keys}, options: {size: 1Gi}}")]);
        one.wants(&format!("---\n{secret}\n---\n{pod}"));
        one.comes("with secrets and options");
        let [path, global] = [one.path(), one.global()].map(|path| path.to_str().unwrap().to_owned());
        one.driver.forget().unwrap();
        fs::remove_file(&one.file).unwrap();
        if !ledger {
            fs::remove_file(one.bed.sandbox.root().join("ledger.db")).unwrap();
        }
        one.bed.ok(["down", "--all"]);
        let argv: Vec<_> = one.driver.calls().unwrap().into_iter().map(|call| call.argv).collect();
        let argv: Vec<_> = argv.iter().filter(|argv| argv[0] != "init").map(|argv| &argv[..2]).collect();
        assert_eq!(argv, [["unmount", &path], ["unmountdevice", &global], ["detach", "data"]], "ledger: {ledger}");
        one.bed.assert_clean();
    }
}

#[test]
fn h_92_without_its_driver_a_volume_stays_and_goes_once_the_driver_is_back() {
    let Some(one) = One::new(whole()) else { return };
    one.comes("mounted");
    let path = one.path();
    fs::write(path.join("file"), "kept").unwrap();
    let away = one.driver.exe().with_file_name(".away");
    fs::rename(one.driver.exe(), &away).unwrap();
    for _ in 0..2 {
        one.down().fails(3, &["no driver v/d", "hint:"]);
        one.up().fails(3, &["no driver v/d"]);
    }
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "kept");
    assert!(is_mounted(&one.global()));
    fs::rename(&away, one.driver.exe()).unwrap();
    one.bed.ok(["down", "--all"]);
    one.bed.assert_clean();
}

#[test]
fn h_93_of_two_pods_on_one_volume_each_survives_a_new_host_and_each_goes_whole() {
    for ledger in [true, false] {
        let Some(one) = One::new(whole()) else { return };
        one.wants(&format!("{}---\n{}", claimed("1Mi", "{driver: v/d}"), claiming("other", false)));
        one.comes("two pods");
        let [web, other] = ["web", "other"].map(|pod| one.bed.path_of(pod, "pv"));
        let global = one.global().with_file_name("pv");
        // The name of a pod is lost with the ledger, its uid is in the paths.
        let uid = web.components().rev().nth(3).unwrap().as_os_str().to_str().unwrap().to_owned();
        if !ledger {
            // Pieced together from what is mounted: with both of its pods.
            fs::remove_file(one.bed.sandbox.root().join("ledger.db")).unwrap();
        }
        assert_eq!(one.bed.json(["ls"]).as_array().unwrap().len(), 2, "ledger: {ledger}");
        one.bed.ok(["down", &uid]);
        assert!(!web.exists() && is_mounted(&other) && is_mounted(&global), "ledger: {ledger}");
        assert_eq!((one.count("unmount"), one.count("unmountdevice"), one.count("detach")), (1, 0, 0));
        one.bed.ok(["down", "--all"]);
        assert_eq!((one.count("unmount"), one.count("unmountdevice"), one.count("detach")), (2, 1, 1));
        one.bed.assert_clean();
    }
}

/// Whatever a driver makes of `unmount`, what it mounted is at most unmounted.
#[test]
fn h_94_no_file_of_a_volume_is_ever_deleted() {
    let bind = r#"mount --bind "$_d/../precious" "$2""#;
    let answers = [
        ("a no-op", Answer::success()),
        ("not supported", Answer::not_supported()),
        ("a failure", Answer::failure("no")),
        ("nonsense", Answer::text("unmounted!\n")),
    ];
    for (what, unmount) in answers {
        let Some(one) = One::new(direct().on("mount", Answer::success().run(bind)).on("unmount", unmount)) else {
            return;
        };
        let precious = one.driver.exe().with_file_name("precious");
        fs::create_dir_all(precious.join("deep/deeper")).unwrap();
        fs::write(precious.join("deep/deeper/file"), "data").unwrap();
        one.comes(what);
        // With the record, and once more without it.
        let first = one.down();
        fs::remove_file(one.bed.sandbox.root().join("ledger.db")).unwrap();
        one.bed.run(["down", "--all"]);
        assert_eq!(fs::read_to_string(precious.join("deep/deeper/file")).unwrap(), "data", "{what}: {first:?}");
    }
    // Nor of one that was given out by a bind of ours, with a file left where the mount was.
    let Some(bed) = Bed::new() else { return };
    let script: Script = staged().on("unmountdevice", Answer::success());
    bed.script("v/d", script.on("mountdevice", Answer::success().run(MOUNT)));
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/d}")]));
    bed.ok(["up", &file]);
    let path = bed.path_of("web", "data");
    tool("umount", &[path.to_str().unwrap()]);
    fs::create_dir(path.join("deep")).unwrap();
    fs::write(path.join("deep/stray"), "data").unwrap();
    let ran = bed.run(["down", &file]);
    assert_ne!(ran.code, 0, "{ran:?}");
    ran.fails(ran.code, &["deep", "hint:"]);
    assert_eq!(fs::read_to_string(path.join("deep/stray")).unwrap(), "data");
}
