//! What the ledger says is believed only where it can be true: in this boot, on this machine, of the mounts it named.

use std::{fs, path::Path, process::Stdio};

use flexvolume_host::{
    ledger::{Durability, Ledger},
    volume::record::Record,
};
use flexvolume_testkit::scripted::Script;

use crate::{
    bed::{Bed, pod},
    scripts::{attachable, direct, image, staged, tool},
};

/// Changes every record as its own program would have written it, checksum and all.
fn edit(bed: &Bed, change: impl Fn(&mut Record)) {
    let ledger = Ledger::open(&bed.sandbox.root().join("ledger.db")).unwrap().ledger;
    for record in ledger.all().unwrap() {
        let mut record = record.unwrap();
        change(&mut record);
        ledger.put(&mut record, Durability::Power, false).unwrap();
    }
}

fn is_mounted(path: &Path) -> bool {
    flexvolume_linux::mount::table::at(path).unwrap().is_some()
}

/// A folder that is not ours, with a file in it, bound over `path`.
fn put_something_else_at(bed: &Bed, path: &Path) {
    let precious = bed.sandbox.dir("precious").unwrap();
    fs::write(precious.join("file"), "precious").unwrap();
    tool("mount", &["--bind", precious.to_str().unwrap(), path.to_str().unwrap()]);
}

fn assert_precious(bed: &Bed) {
    assert_eq!(fs::read_to_string(bed.sandbox.path().join("precious/file")).unwrap(), "precious");
}

/// Each kind of driver, with what its test needs.
fn kinds(bed: &Bed) -> [(&'static str, Script); 3] {
    let file = bed.sandbox.path().join("image");
    image(&file, 16);
    [("v/direct", direct()), ("v/staged", staged()), ("v/disk", attachable(&file))]
}

#[test]
fn a_lost_ledger_is_rebuilt_for_every_kind_of_driver_and_everything_can_go() {
    for kind in 0..3 {
        let Some(bed) = Bed::new() else { return };
        let (name, script) = kinds(&bed)[kind].clone();
        let driver = bed.script(name, script);
        let files = ["one", "two"].map(|pod_name| {
            let text = pod(pod_name, &[("data", &format!("{{driver: {name}}}"))]);
            let file = bed.manifest(&format!("{pod_name}.yaml"), &text);
            bed.ok(["up", &file]);
            file
        });
        let path = bed.path_of("one", "data");
        fs::write(path.join("kept"), "data").unwrap();
        fs::remove_file(bed.sandbox.root().join("ledger.db")).unwrap();

        let ran = bed.run(["ls"]);
        assert!(ran.code == 0 && ran.stderr.contains("recorded anew from what is mounted"), "{name}: {ran:?}");
        bed.run(["up", &files[0]]).fails(4, &["pieced together", "flexvol down"]);
        assert_eq!(fs::read_to_string(path.join("kept")).unwrap(), "data", "{name}");
        bed.ok(["down", &files[0]]);
        assert!(!is_mounted(&path));
        bed.ok(["down", "--all"]);
        bed.assert_clean();
        if name != "v/direct" {
            assert_eq!(driver.verbs().unwrap().iter().filter(|verb| *verb == "detach").count(), 1, "{name}");
        }
        bed.ok(["up", &files[0]]);
        bed.ok(["down", &files[0]]);
        bed.assert_clean();
    }
}

#[test]
fn a_ledger_lost_together_with_the_driver_waits_for_the_driver() {
    let Some(bed) = Bed::new() else { return };
    let [_, _, (name, script)] = kinds(&bed);
    let driver = bed.script(name, script.clone());
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/disk}")]));
    bed.ok(["up", &file]);
    fs::remove_file(bed.sandbox.root().join("ledger.db")).unwrap();
    fs::remove_file(driver.exe()).unwrap();
    bed.run(["down", "--all"]).fails(3, &["v/disk"]);
    assert_eq!(bed.sandbox.mounts().unwrap().len(), 2, "its mounts are left as they are");
    bed.script(name, script);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn a_foreign_mount_at_a_pods_path_is_never_taken_for_ours() {
    for kind in 0..3 {
        let Some(bed) = Bed::new() else { return };
        let (name, script) = kinds(&bed)[kind].clone();
        bed.script(name, script);
        let file = bed.manifest("pod.yaml", &pod("web", &[("data", &format!("{{driver: {name}}}"))]));
        bed.ok(["up", &file]);
        let path = bed.path_of("web", "data");

        // In place of ours, and on top of ours.
        for replace in [true, false] {
            if replace {
                tool("umount", &[path.to_str().unwrap()]);
            }
            put_something_else_at(&bed, &path);
            let ran = bed.run(["up", &file]);
            assert!(ran.code == 0 && ran.stderr.contains("replaced"), "{name}: {ran:?}");
            assert!(is_mounted(&path) && !path.join("file").exists(), "{name}: the foreign mount passed for ours");
            assert_precious(&bed);
        }
        // The path is ours: what lies there goes as any mount goes, and nothing in it is touched.
        tool("umount", &[path.to_str().unwrap()]);
        put_something_else_at(&bed, &path);
        bed.ok(["down", &file]);
        assert_precious(&bed);
        bed.assert_clean();
    }
}

#[test]
fn a_foreign_mount_at_the_global_directory_is_never_bound_for_a_pod() {
    for kind in 1..3 {
        let Some(bed) = Bed::new() else { return };
        let (name, script) = kinds(&bed)[kind].clone();
        bed.script(name, script);
        let volume = format!("{{driver: {name}}}");
        let [one, two] = ["one", "two"].map(|p| bed.manifest(&format!("{p}.yaml"), &pod(p, &[("data", &volume)])));
        bed.ok(["up", &one]);
        let path = bed.path_of("one", "data");
        let global = bed.sandbox.root().join("plugins/kubernetes.io/flexvolume").join(name).join("mounts/data");
        assert!(is_mounted(&global));
        tool("umount", &[global.to_str().unwrap()]);
        put_something_else_at(&bed, &global);
        // While a pod lives on the volume nothing is pulled from under it; a second one waits, and is told for what.
        let ran = bed.run(["up", &two]);
        ran.fails(4, &["something nobody recorded is mounted at", global.to_str().unwrap(), "umount"]);
        assert!(is_mounted(&path), "{name}: the first pod lost its volume");
        tool("umount", &[global.to_str().unwrap()]);
        bed.ok(["up", &two]);
        fs::write(bed.path_of("two", "data").join("shared"), "").unwrap();
        // Taken down with a foreign mount there: it goes as any mount goes, and nothing in it is touched.
        tool("umount", &[global.to_str().unwrap()]);
        put_something_else_at(&bed, &global);
        bed.ok(["down", &one]);
        bed.ok(["down", &two]);
        assert_precious(&bed);
        bed.assert_clean();
    }
}

#[test]
fn after_a_reboot_nothing_is_taken_for_mounted_or_attached() {
    for kind in 0..3 {
        let Some(bed) = Bed::new() else { return };
        let (name, script) = kinds(&bed)[kind].clone();
        let driver = bed.script(name, script);
        let file = bed.manifest("pod.yaml", &pod("web", &[("data", &format!("{{driver: {name}}}"))]));
        let reboot = || {
            bed.sandbox.unmount_all().unwrap();
            edit(&bed, |record| record.boot = "another".into());
        };
        bed.ok(["up", &file]);
        let path = bed.path_of("web", "data");
        reboot();
        bed.ok(["up", &file]);
        assert!(is_mounted(&path), "{name}");
        // A mount id of the boot before may well be that of another mount now.
        edit(&bed, |record| record.boot = "another".into());
        driver.forget().unwrap();
        let ran = bed.run(["up", &file]);
        let again = if ran.code == 0 { ran } else { bed.run(["up", &file]) };
        assert_eq!(again.code, 0, "{name}: {again:?}");
        assert!(is_mounted(&path), "{name}");
        let made = if kind == 0 { "mount" } else { "attach" };
        assert!(driver.verbs().unwrap().contains(&made.to_owned()), "{name}: an old record was believed");
        reboot();
        bed.ok(["down", &file]);
        bed.assert_clean();
    }
}

#[test]
fn a_root_from_another_machine_detaches_nothing() {
    let Some(bed) = Bed::new() else { return };
    let [_, _, (name, script)] = kinds(&bed);
    let driver = bed.script(name, script);
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/disk}")]));
    bed.ok(["up", &file]);
    let path = bed.path_of("web", "data");
    edit(&bed, |record| record.machine = Some("0123456789abcdef".into()));
    driver.forget().unwrap();
    for args in [["up", &file], ["down", &file], ["down", "--all"]] {
        bed.run(args).fails(4, &["another machine", "hint:"]);
    }
    let called: Vec<_> = driver.verbs().unwrap().into_iter().filter(|verb| verb != "init").collect();
    assert_eq!(called, Vec::<String>::new());
    assert!(is_mounted(&path));
    let here = fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned();
    edit(&bed, |record| record.machine = (!here.is_empty()).then(|| here.clone()));
    bed.ok(["down", &file]);
    bed.assert_clean();
}

#[test]
fn many_commands_at_once_on_a_fresh_root_make_one_mount_each() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/direct", direct());
    let files: Vec<_> = (0..3)
        .map(|n| bed.manifest(&format!("{n}.yaml"), &pod(&format!("web-{n}"), &[("data", "{driver: v/direct}")])))
        .collect();
    let all = |verb: &str| {
        let runs: Vec<_> = (0..9)
            .map(|n| {
                let args = [verb, &files[n % files.len()]];
                bed.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for run in runs {
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{verb}: {output:?}");
            assert!(!String::from_utf8_lossy(&output.stderr).contains("recorded anew"), "{verb}: {output:?}");
        }
    };
    for _ in 0..3 {
        all("up");
        assert_eq!(bed.sandbox.mounts().unwrap().len(), files.len());
        all("down");
        bed.assert_clean();
    }
}

#[test]
fn what_was_forgotten_is_nowhere_in_the_files() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/direct", direct());
    let marker = "Zq-this-option-goes-Vx";
    let file =
        bed.manifest("pod.yaml", &pod("web", &[("data", &format!("{{driver: v/direct, options: {{o: {marker}}}}}"))]));
    let found = || {
        let files = fs::read_dir(bed.sandbox.root()).unwrap().flatten().filter(|entry| entry.path().is_file());
        files.filter(|entry| String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).contains(marker)).count()
    };
    bed.ok(["up", &file]);
    assert_eq!(found(), 1, "the search would not find it");
    bed.ok(["down", &file]);
    assert_eq!(found(), 0);
}
