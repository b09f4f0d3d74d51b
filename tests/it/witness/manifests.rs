//! What `flexvol csi manifests` prints, judged by the rules of Kubernetes' own API server, for every kind of driver.

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::{Value, json};

use super::{Witness, install};
use crate::bed::Bed;

/// A driver that says this of itself.
fn says(attach: bool, fs_group: bool, extensions: &[&str]) -> Script {
    let capabilities = json!({"attach": attach, "fsGroup": fs_group});
    let init = json!({"status": "Success", "capabilities": capabilities, "extensions": extensions});
    Script::sh().on("init", Answer::json(&init)).otherwise(Answer::success())
}

#[test]
fn what_is_printed_for_kubernetes_is_taken_by_its_api_server() {
    let Some(bed) = Bed::new() else { return };
    let Some(mut original) = Witness::start(&bed) else { return };
    let local =
        ["staged", "local", "stdin", "block", "provision", "expand", "snapshot", "clone", "capacity", "list", "modify"];
    let shared =
        ["staged", "stdin", "provision", "expand", "snapshot", "clone", "capacity", "list", "health", "modify"];
    let _direct = install(&bed, "v/direct", says(false, true, &[]));
    let _local = install(&bed, "v/local", says(false, true, &local));
    let _shared = install(&bed, "v/shared", says(false, false, &shared));
    let _plain = install(&bed, "v/plain", says(true, true, &["provision"]));
    let longest = format!("{}.example.com/{}", "v".repeat(40), "n".repeat(10));
    let _longest = install(&bed, &longest, says(false, true, &local));

    let rights =
        ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "CSIDriver", "DaemonSet"];
    let with = |rest: &[&'static str]| [&rights[..], rest].concat();
    let classes = ["StorageClass", "VolumeSnapshotClass"];
    let cases: [(&str, &[&str], Vec<&str>); 6] = [
        ("v/direct", &["--allow-inline", "size,mode"], vec!["ServiceAccount", "CSIDriver", "DaemonSet"]),
        ("v/local", &["--secrets"], with(&classes)),
        (
            "v/shared",
            &["--namespace", "storage", "--name", "share.example.com"],
            with(&["Deployment", classes[0], classes[1]]),
        ),
        ("v/plain", &["--attach", "controller"], with(&["Deployment", classes[0]])),
        ("v/plain", &[], with(&["Deployment", classes[0]])),
        (&longest, &["--metrics-port", "9000", "--kubelet-dir", "/data/kubelet"], with(&classes)),
    ];
    for (driver, flags, kinds) in cases {
        let line = ["csi", "manifests", driver, "--image", "registry.example.com/flexvol:0.1.0"];
        let text = bed.ok(line.iter().chain(flags));
        let taken = original.ok("validate", json!({"text": text}));
        let taken: Vec<_> = taken.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
        assert_eq!(taken, kinds, "{driver} {flags:?}\n{text}");
        let list = bed.json(line.iter().chain(flags));
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.iter().map(|item| item["kind"].as_str().unwrap()).collect::<Vec<_>>(), kinds);
    }
}

#[test]
fn the_api_server_s_rules_do_find_what_is_wrong() {
    let Some(bed) = Bed::new() else { return };
    let Some(mut original) = Witness::start(&bed) else { return };
    let _local = install(&bed, "v/local", says(false, true, &["local", "provision", "capacity"]));
    let text = bed.ok(["csi", "manifests", "v/local", "--image", "i"]);
    let _: Value = original.ok("validate", json!({"text": text}));
    for (from, to, words) in [
        ("fsGroupPolicy: File", "fsGroupPolicy: Always", "fsGroupPolicy"),
        ("volumeBindingMode: WaitForFirstConsumer", "volumeBinding: Immediate", "unknown field"),
        ("hostNetwork: true", "hostNetwork: \"true\"", "hostNetwork"),
        ("mountPath: /csi", "mountPath: \"\"", "mountPath"),
        ("name: socket\n---", "name: other\n---", "volumeMounts"),
        ("kind: ClusterRole\n", "kind: ClusterRoll\n", "ClusterRoll"),
    ] {
        assert!(text.contains(from), "{from}\n{text}");
        original.fails("validate", json!({"text": text.replacen(from, to, 1)}), &[words]);
    }
}
