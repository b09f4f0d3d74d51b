//! A PersistentVolume whose stated size rises is grown while it is mounted.

use std::fs;

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

use crate::{
    bed::Bed,
    scripts::{attachable, image},
};

/// A pod, its claim, and a volume of that size.
fn claimed(size: &str, source: &str) -> String {
    format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: pv}}
spec:
  capacity: {{storage: {size}}}
  accessModes: [ReadWriteOnce]
  claimRef: {{namespace: default, name: claim}}
  flexVolume: {source}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: claim}}
spec:
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: {size}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: db}}
spec:
  containers:
  - {{name: c, image: none, volumeMounts: [{{name: data, mountPath: /data}}]}}
  volumes:
  - {{name: data, persistentVolumeClaim: {{claimName: claim}}}}
"
    )
}

#[test]
fn a_loopback_volume_grows_under_its_pod_and_keeps_its_data() {
    let Some(bed) = Bed::with_drivers() else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let source = format!(
        "{{driver: flexvol.io/loopback, fsType: xfs, options: {{volumeID: v, size: 320m, create: \"true\", directory: {}}}}}",
        images.display()
    );
    let manifest = |size: &str| bed.manifest("db.yaml", &claimed(size, &source));
    let total = || bed.json(["ls", "--usage"])[0]["totalBytes"].as_u64().unwrap();
    bed.ok(["up", &manifest("320Mi")]);
    let path = bed.path_of("db", "pv");
    fs::write(path.join("rows"), "kept").unwrap();
    let before = total();
    bed.ok(["up", &manifest("480Mi")]);
    assert!(total() > before + (100 << 20), "{before} became {}", total());
    assert_eq!(fs::metadata(images.join("v.img")).unwrap().len(), 480 << 20);
    assert_eq!(fs::read_to_string(path.join("rows")).unwrap(), "kept");
    assert_eq!(bed.json(["up", &manifest("480Mi")])[0]["changed"], false);
    // Less than it is changes nothing: a volume never shrinks.
    assert_eq!(bed.json(["up", &manifest("100Mi")])[0]["changed"], false);
    bed.ok(["down", "db"]);
    bed.assert_clean();
}

#[test]
fn a_driver_without_the_extension_is_told_when_the_size_rises_and_only_then() {
    let Some(bed) = Bed::new() else { return };
    let script = Script::sh()
        .on("init", Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}})))
        .on("mount", Answer::success().run(r#"mount -t tmpfs none "$2""#))
        .on("unmount", Answer::success().run(r#"umount "$2""#))
        .on("expandfs", Answer::success())
        .otherwise(Answer::failure("not for this driver"));
    let driver = bed.script("v/d", script);
    let manifest = |size: &str| bed.manifest("db.yaml", &claimed(size, "{driver: v/d}"));
    bed.ok(["up", &manifest("1Mi")]);
    assert!(!driver.verbs().unwrap().contains(&"expandfs".to_owned()), "nothing rose yet");
    bed.ok(["up", &manifest("2Mi")]);
    let calls = driver.calls().unwrap();
    let call = calls.iter().find(|call| call.verb() == "expandfs").unwrap();
    let path = bed.path_of("db", "pv");
    assert_eq!(call.argv[2..], ["".to_owned(), path.to_str().unwrap().to_owned(), "2097152".into(), "1048576".into()]);
    bed.ok(["down", "db"]);
    bed.assert_clean();
}

#[test]
fn the_default_grows_what_the_host_formatted() {
    let Some(bed) = Bed::new() else { return };
    let disk = bed.sandbox.path().join("disk");
    image(&disk, 320);
    bed.script("v/loop", attachable(&disk));
    let manifest = |size: &str| bed.manifest("db.yaml", &claimed(size, "{driver: v/loop, fsType: xfs}"));
    bed.ok(["up", &manifest("320Mi")]);
    let path = bed.path_of("db", "pv");
    let size = || rustix::fs::statvfs(&path).map(|stat| stat.f_blocks * stat.f_frsize).unwrap();
    let before = size();
    image_grown(&disk, 480);
    let device = bed.sandbox.loops().unwrap().remove(0).device;
    crate::scripts::tool("losetup", &["-c", device.to_str().unwrap()]);
    bed.ok(["up", &manifest("480Mi")]);
    assert!(size() > before + (100 << 20), "{before} became {}", size());
    bed.ok(["down", "db"]);
    bed.assert_clean();
}

fn image_grown(path: &std::path::Path, mib: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(mib << 20).unwrap();
}
