//! Who shares a volume with whom, who may write, and what may not change beneath a pod.

use std::{fs, path::PathBuf};

use crate::{
    bed::{Bed, pod},
    scripts::{attachable, direct, image, staged},
};

/// A PersistentVolume of the driver, and its claim.
fn claim(mode: &str, driver: &str, options: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: pv1}}\nspec:\n  capacity: {{storage: 16Mi}}\n  accessModes: [{mode}]\n  flexVolume: {{driver: {driver}, options: {{{options}}}}}\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: c1}}\nspec: {{accessModes: [{mode}], volumeName: pv1, resources: {{requests: {{storage: 16Mi}}}}}}\n---\n"
    )
}

/// A pod that has it.
fn claimed(name: &str, read_only: bool) -> String {
    pod(name, &[("data", "{}")])
        .replace("flexVolume: {}", &format!("persistentVolumeClaim: {{claimName: c1, readOnly: {read_only}}}"))
}

#[test]
fn h_66_two_pods_share_one_attachment() {
    for kind in ["v/disk", "v/staged"] {
        let Some(bed) = Bed::new() else { return };
        let disk = bed.sandbox.path().join("image");
        image(&disk, 16);
        let driver = bed.script(kind, if kind == "v/disk" { attachable(&disk) } else { staged() });
        let [one, two] = ["one", "two"].map(|name| bed.manifest(&format!("{name}.yaml"), &claimed(name, false)));
        let claim = bed.manifest("claim.yaml", &claim("ReadWriteOnce", kind, ""));
        bed.ok(["up", &claim, &one, &two]);
        fs::write(bed.path_of("one", "pv1").join("file"), "shared").unwrap();
        assert_eq!(fs::read_to_string(bed.path_of("two", "pv1").join("file")).unwrap(), "shared");
        bed.ok(["down", &one]);
        assert_eq!(fs::read_to_string(bed.path_of("two", "pv1").join("file")).unwrap(), "shared");
        let count = |verb: &str| driver.verbs().unwrap().iter().filter(|other| *other == verb).count();
        assert_eq!((count("attach"), count("mountdevice"), count("detach")), (1, 1, 0), "{kind}");
        bed.ok(["down", &two]);
        assert_eq!(count("detach"), 1, "{kind}");
        bed.assert_clean();
        if kind == "v/disk" {
            bed.ok(["up", &claim, &two]);
            let kept = fs::read_to_string(bed.path_of("two", "pv1").join("file")).unwrap();
            assert_eq!(kept, "shared", "what was written is lost");
            bed.ok(["down", "--all"]);
            bed.assert_clean();
        }
    }
}

/// The driver knows that both stand on one device, and lets go of it with the last.
#[test]
fn two_volumes_of_one_storage_go_in_any_order() {
    let Some(bed) = Bed::with_drivers() else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let source = format!(
        "{{driver: flexvol.io/loopback, options: {{volumeID: one, size: 16m, create: \"true\", directory: {}}}}}",
        images.display()
    );
    let [one, two] =
        ["one", "two"].map(|name| bed.manifest(&format!("{name}.yaml"), &pod(name, &[(name, source.as_str())])));
    for order in [["one", "two"], ["two", "one"]] {
        bed.ok(["up", &one, &two]);
        fs::write(bed.path_of("one", "one").join("file"), "shared").unwrap();
        bed.ok(["down", order[0]]);
        let path = bed.path_of(order[1], order[1]).join("file");
        assert_eq!(fs::read_to_string(path).unwrap(), "shared");
        bed.ok(["down", order[1]]);
        bed.assert_clean();
    }
}

#[test]
fn inline_volumes_of_one_name_with_other_options_never_share() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.script("v/staged", staged());
    let [one, two] = ["one", "two"].map(|name| {
        let volume = format!("{{driver: v/staged, options: {{share: {name}}}}}");
        bed.manifest(&format!("{name}.yaml"), &pod(name, &[("data", &volume)]))
    });
    bed.ok(["up", &one, &two]);
    let rows = bed.json(["ls"]);
    let path = |pod: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["pod"] == pod).unwrap();
        PathBuf::from(row["path"].as_str().unwrap())
    };
    fs::write(path("one").join("file"), "of one").unwrap();
    assert!(!path("two").join("file").exists(), "two pods share what they did not ask to share");
    let names: std::collections::BTreeSet<String> = driver
        .calls()
        .unwrap()
        .iter()
        .filter(|call| call.verb() == "attach")
        .map(|call| {
            let options: serde_json::Value = serde_json::from_str(&call.argv[1]).unwrap();
            options["kubernetes.io/pvOrVolumeName"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    // Each finds its own again, in any order.
    let again = bed.ok(["up", &two, &one]);
    assert_eq!(again.matches("unchanged").count(), 2, "{again}");
    bed.ok(["down", &one]);
    assert!(path("two").exists());
    bed.ok(["down", &two]);
    bed.assert_clean();
}

#[test]
fn a_second_pod_on_a_volume_for_one_pod_is_refused() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/staged", staged());
    let [one, two] = ["one", "two"].map(|name| bed.manifest(&format!("{name}.yaml"), &claimed(name, false)));
    let claim = bed.manifest("claim.yaml", &claim("ReadWriteOncePod", "v/staged", ""));
    bed.ok(["up", &claim, &one]);
    bed.run(["up", &claim, &two]).fails(4, &["ReadWriteOncePod", "one", "hint:"]);
    bed.ok(["up", &claim, &one]);
    bed.ok(["down", &one]);
    bed.ok(["up", &claim, &two]);
    bed.ok(["down", &two]);
    bed.assert_clean();
}

#[test]
fn a_changed_spec_is_told_and_changes_nothing() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/staged", staged());
    let with = |options: &str| {
        bed.manifest("pod.yaml", &format!("{}{}", claim("ReadWriteOnce", "v/staged", options), claimed("web", false)))
    };
    bed.ok(["up", &with("size: 1Gi, tier: fast")]);
    let path = bed.path_of("web", "pv1");
    fs::write(path.join("file"), "").unwrap();
    bed.run(["up", &with("size: 2Gi, pool: a")]).fails(
        4,
        &[
            "other settings",
            "option size \"1Gi\", asked for \"2Gi\"",
            "option pool absent",
            "option tier",
            "flexvol down",
        ],
    );
    assert!(path.join("file").exists());
    // By the changed manifest it still goes down, and then comes up as changed.
    let changed = with("size: 2Gi, pool: a");
    bed.ok(["down", &changed]);
    bed.ok(["up", &changed]);
    bed.ok(["down", &changed]);
    bed.assert_clean();

    // The same for a volume described in the pod itself.
    let inline = |options: &str| {
        bed.manifest("inline.yaml", &pod("web", &[("data", &format!("{{driver: v/staged, options: {{{options}}}}}"))]))
    };
    bed.ok(["up", &inline("a: b")]);
    bed.run(["up", &inline("a: c")]).fails(4, &["other settings", "option a \"b\", asked for \"c\""]);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn a_read_only_pod_cannot_write_beside_one_that_can() {
    for kind in ["v/direct", "v/disk", "v/staged"] {
        let Some(bed) = Bed::new() else { return };
        let disk = bed.sandbox.path().join("image");
        image(&disk, 16);
        bed.script(
            kind,
            match kind {
                "v/direct" => direct(),
                "v/disk" => attachable(&disk),
                _ => staged(),
            },
        );
        let claim = bed.manifest("claim.yaml", &claim("ReadWriteMany", kind, ""));
        let write = bed.manifest("write.yaml", &claimed("writer", false));
        let read = bed.manifest("read.yaml", &claimed("reader", true));
        bed.ok(["up", &claim, &write, &read]);
        fs::write(bed.path_of("writer", "pv1").join("file"), "").unwrap();
        let refused = fs::write(bed.path_of("reader", "pv1").join("other"), "").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(30), "{kind}: {refused}");
        // In the view of a command the same holds.
        let ran = bed.run(["exec", "reader", "--", "sh", "-c", "echo x >/data/data/other"]);
        assert!(ran.code != 0 && ran.stderr.contains("Read-only"), "{kind}: {ran:?}");
        bed.ok(["exec", "writer", "--", "sh", "-c", "echo x >/data/data/other"]);
        bed.ok(["down", &read]);
        bed.ok(["down", &write]);
        bed.assert_clean();
        if kind == "v/direct" {
            continue;
        }
        // With a reader alone the whole volume is read-only on the node; then a writer is told why not.
        bed.ok(["up", &claim, &read]);
        bed.run(["up", &claim, &write]).fails(4, &["read-only on this node", "reader", "hint:"]);
        bed.ok(["down", &read]);
        bed.ok(["up", &claim, &write]);
        bed.ok(["down", &write]);
        bed.assert_clean();
    }
}
