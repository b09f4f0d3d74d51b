//! The command as people type it: every verb, every format, what is passed over and what is told.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use flexvolume_testkit::{
    binary,
    scripted::{Answer, Script},
};
use serde_json::json;

use crate::{
    bed::{Bed, pod},
    scripts::direct,
};

const SCRATCH: &str = "{driver: flexvol.io/tmpfs, options: {size: 4Mi}}";

#[test]
fn install_is_whole_and_named() {
    let Some(bed) = Bed::new() else { return };
    let tmpfs = binary("tmpfs").unwrap();
    let rows = bed.json(["install", tmpfs.to_str().unwrap(), "--as", "example.com/scratch"]);
    let path = rows[0]["path"].as_str().unwrap();
    assert!(path.ends_with("/plugins/example.com~scratch/scratch"), "{path}");
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o755);
    // A second time replaces the file by another, and nothing half-made stays beside it.
    bed.ok(["install", tmpfs.to_str().unwrap(), "--as", "example.com/scratch"]);
    let folder = bed.sandbox.plugins().join("example.com~scratch");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    let rows = bed.json(["drivers"]);
    assert_eq!(rows[0]["driver"], "example.com/scratch");
    assert_eq!(rows[0]["kind"], "direct");
    let nothing = bed.run(["install", "/nonexistent", "--as", "example.com/x"]);
    nothing.fails(3, &["/nonexistent"]);
    assert!(!nothing.stderr.contains("plugin-dir"), "the plugin directory is not to blame: {nothing:?}");
    bed.run(["install", tmpfs.to_str().unwrap(), "--as", "../x"]).fails(2, &["driver name", "--as"]);
}

#[test]
fn install_copies_to_no_place_that_others_choose() {
    let Some(bed) = Bed::new() else { return };
    let tmpfs = binary("tmpfs").unwrap();
    let install = |name: &str| bed.run(["install", tmpfs.to_str().unwrap(), "--as", name]);
    let elsewhere = bed.sandbox.dir("elsewhere").unwrap();
    std::os::unix::fs::symlink(&elsewhere, bed.sandbox.plugins().join("v~linked")).unwrap();
    install("v/linked").fails(4, &["v~linked is not a directory", "hint:"]);
    let plugins = bed.sandbox.plugins();
    fs::set_permissions(&plugins, fs::Permissions::from_mode(0o777)).unwrap();
    install("v/x").fails(4, &["cannot trust", "chmod go-w"]);
    assert!(!plugins.join("v~x").exists() && fs::read_dir(&elsewhere).unwrap().count() == 0);
    fs::set_permissions(&plugins, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(install("v/x").code, 0);
}

#[test]
fn a_pod_goes_up_is_used_listed_and_goes_down() {
    let Some(bed) = Bed::with_drivers() else { return };
    let file = bed.manifest("pod.yaml", &pod("web", &[("scratch", SCRATCH)]));
    let up = bed.json(["up", &file]);
    assert_eq!(up[0]["changed"], true);
    assert_eq!(bed.json(["up", &file])[0]["changed"], false);
    assert_eq!(bed.ok(["exec", "web", "--", "sh", "-c", "echo hi > /data/scratch/x && cat /data/scratch/x"]), "hi\n");
    // What was written in the pod's view is in the volume, and the host's tree has no such path.
    assert_eq!(fs::read_to_string(bed.path_of("web", "scratch").join("x")).unwrap(), "hi\n");
    assert!(!std::path::Path::new("/data/scratch").exists());
    assert_eq!(bed.run(["exec", "default/web", "--", "sh", "-c", "exit 7"]).code, 7);
    let rows = bed.json(["ls", "--usage"]);
    assert_eq!(rows[0]["totalBytes"], 4 << 20);
    assert_eq!(rows[0]["state"], "mounted");
    let yaml = bed.ok(["-o", "yaml", "ls"]);
    assert!(yaml.contains("pod: web"), "{yaml}");
    assert!(bed.ok(["ls"]).starts_with("POD"), "a table has a head");
    bed.ok(["down", "web"]);
    bed.assert_clean();
    assert_eq!(bed.ok(["down", &file]).trim(), "nothing to take down");
}

#[test]
fn exec_says_what_it_cannot_find() {
    let Some(bed) = Bed::with_drivers() else { return };
    let file = bed.manifest("pod.yaml", &pod("web", &[("scratch", SCRATCH)]));
    bed.run(["exec", "web", "--", "true"]).fails(3, &["web", "no pod has a volume"]);
    bed.ok(["up", &file]);
    bed.run(["exec", "wep", "--", "true"]).fails(3, &["default/web"]);
    bed.run(["exec", "web", "-c", "other", "--", "true"]).fails(3, &["other", "main"]);
    bed.run(["exec", "web", "--", "no-such-command"]).fails(127, &["no-such-command"]);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn a_sub_path_and_a_read_only_mount_are_what_the_container_sees() {
    let Some(bed) = Bed::with_drivers() else { return };
    let text = pod("web", &[("scratch", SCRATCH)]).replace(
        "    - {name: scratch, mountPath: /data/scratch}\n",
        "    - {name: scratch, mountPath: /data/part, subPath: a/b}\n    - {name: scratch, mountPath: /data/all, readOnly: true}\n",
    );
    let file = bed.manifest("pod.yaml", &text);
    bed.ok(["up", &file]);
    bed.ok(["exec", "web", "--", "sh", "-c", "echo in > /data/part/x"]);
    assert_eq!(bed.ok(["exec", "web", "--", "cat", "/data/all/a/b/x"]), "in\n");
    let refused = bed.run(["exec", "web", "--", "sh", "-c", "echo no > /data/all/y"]);
    assert!(refused.stderr.contains("Read-only"), "{refused:?}");
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn manifests_come_from_files_folders_and_standard_input() {
    let Some(bed) = Bed::with_drivers() else { return };
    let folder = bed.sandbox.dir("manifests").unwrap();
    fs::write(folder.join("a.yaml"), pod("a", &[("s", SCRATCH)])).unwrap();
    fs::write(
        folder.join("b.yml"),
        format!("{}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\n", pod("b", &[("s", SCRATCH)])),
    )
    .unwrap();
    let ran = bed.run(["up", folder.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("Deployment d"), "{ran:?}");
    assert_eq!(bed.feed(["up", "-"], &pod("c", &[("s", SCRATCH)])).code, 0);
    assert_eq!(bed.json(["ls"]).as_array().unwrap().len(), 3);
    assert_eq!(bed.feed(["down", "-"], &pod("c", &[("s", SCRATCH)])).code, 0);
    bed.ok(["down", "a", folder.join("b.yml").to_str().unwrap()]);
    bed.assert_clean();
}

#[test]
fn a_claim_leads_to_its_volume() {
    let Some(bed) = Bed::with_drivers() else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let text = format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: pv-1}}
spec:
  capacity: {{storage: 16Mi}}
  accessModes: [ReadWriteOnce]
  claimRef: {{namespace: default, name: claim-1}}
  flexVolume:
    driver: flexvol.io/loopback
    fsType: ext4
    options: {{volumeID: pv-1, size: 16m, create: \"true\", directory: {}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: claim-1}}
spec:
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 16Mi}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: db}}
spec:
  containers:
  - {{name: c, image: none, volumeMounts: [{{name: data, mountPath: /var/lib/db}}]}}
  volumes:
  - {{name: data, persistentVolumeClaim: {{claimName: claim-1}}}}
",
        images.display()
    );
    let file = bed.manifest("claim.yaml", &text);
    bed.ok(["up", &file]);
    let path = bed.path_of("db", "pv-1");
    assert!(path.ends_with("flexvol.io~loopback/pv-1"), "{path:?}");
    bed.ok(["exec", "db", "--", "sh", "-c", "echo rows > /var/lib/db/table"]);
    assert_eq!(fs::read_to_string(path.join("table")).unwrap(), "rows\n");
    bed.ok(["down", &file]);
    bed.assert_clean();
}

#[test]
fn call_shows_both_verdicts() {
    let Some(bed) = Bed::new() else { return };
    let answer =
        Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}})).stderr("a line of noise\n");
    bed.script("v/noisy", Script::sh().on("init", answer));
    let seen = bed.json(["call", "v/noisy", "init"]);
    assert!(seen["kubernetes"].as_str().unwrap().starts_with("failed"), "{seen}");
    assert!(seen["flexvol"].as_str().unwrap().starts_with("Success"), "{seen}");
    assert_eq!(seen["forgiven"].as_array().unwrap().len(), 1, "{seen}");
    assert!(seen["stderr"].as_str().unwrap().contains("noise"));
    assert!(seen["argv"][0].as_str().unwrap().ends_with("/v~noisy/noisy"));
    let text = bed.ok(["call", "v/noisy", "mount", "/nowhere", "{}"]);
    assert!(text.contains("argv[2]: /nowhere") && text.contains("Kubernetes would say"), "{text}");
    bed.run(["call", "v/nobody", "init"]).fails(3, &["v/nobody", "v/noisy"]);
}

#[test]
fn help_and_version_are_answers_and_nonsense_is_not() {
    let Some(bed) = Bed::new() else { return };
    let help = bed.ok(["--help"]);
    assert!(help.contains("Exit codes:\n  0  done"), "{help}");
    assert!(bed.ok(["--version"]).starts_with("flexvol "));
    bed.run(["upp"]).fails(2, &["upp"]);
    bed.run(["up"]).fails(2, &["FILE"]);
    bed.run(["up", "/nonexistent.yaml"]).fails(2, &["/nonexistent.yaml"]);
}

#[test]
fn call_tells_of_a_process_left_behind_for_which_kubernetes_would_wait() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/d", direct().on("init", Answer::success().hold(Duration::from_secs(20))));
    let seen = bed.json(["call", "v/d", "init"]);
    assert!(seen["forgiven"][0].as_str().unwrap().contains("holds its output open"), "{seen}");
    bed.script("v/d", direct());
    assert_eq!(bed.json(["call", "v/d", "init"])["forgiven"], json!([]));
}
