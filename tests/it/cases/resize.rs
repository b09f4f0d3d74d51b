//! A PersistentVolume whose stated size rises is grown while it is mounted.

use std::fs;

use flexvolume_testkit::scripted::Answer;
use serde_json::json;

use super::{claimed, claiming, whole};
use crate::{
    bed::Bed,
    one::One,
    scripts::{attachable, direct, image, staged},
};

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
    let path = bed.path_of("web", "pv");
    fs::write(path.join("rows"), "kept").unwrap();
    let before = total();
    bed.ok(["up", &manifest("480Mi")]);
    assert!(total() > before + (100 << 20), "{before} became {}", total());
    assert_eq!(fs::metadata(images.join("v.img")).unwrap().len(), 480 << 20);
    assert_eq!(fs::read_to_string(path.join("rows")).unwrap(), "kept");
    assert_eq!(bed.json(["up", &manifest("480Mi")])[0]["changed"], false);
    // Less than it is changes nothing: a volume never shrinks.
    assert_eq!(bed.json(["up", &manifest("100Mi")])[0]["changed"], false);
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn h_95_expandfs_comes_when_the_stated_size_rises_with_the_pods_directory_and_both_sizes() {
    let Some(one) = One::new(direct().on("expandfs", Answer::success())) else { return };
    for (size, calls) in [("1Mi", 0), ("1Mi", 0), ("2Mi", 1), ("2Mi", 1), ("1Mi", 1)] {
        one.wants(&claimed(size, "{driver: v/d}"));
        one.comes(size);
        assert_eq!(one.count("expandfs"), calls, "{size}");
    }
    let path = one.bed.path_of("web", "pv");
    let argv = one.calls("expandfs")[0].argv[2..].to_vec();
    assert_eq!(argv, ["", path.to_str().unwrap(), "2097152", "1048576"]);
    one.goes("grown");
}

#[test]
fn h_95_a_failed_growth_is_told_and_tried_again() {
    let expand = [Answer::failure("the pool is full"), Answer::success()];
    let Some(one) = One::new(direct().on_each("expandfs", expand)) else { return };
    one.wants(&claimed("1Mi", "{driver: v/d}"));
    one.comes("small");
    one.wants(&claimed("2Mi", "{driver: v/d}"));
    one.up().fails(1, &["failed to expandfs", "the pool is full"]);
    // Meanwhile the pod works with what it has.
    let row = one.bed.json(["ls"])[0].clone();
    assert_eq!(row["state"], "mounted", "{row}");
    assert!(row["trouble"].to_string().contains("the pool is full"), "{row}");
    one.bed.ok(["exec", "web", "--", "test", "-d", "/data"]);
    one.comes("the second try");
    one.comes("and no third");
    assert_eq!(one.count("expandfs"), 2);
    one.goes("grown");
}

#[test]
fn h_95_a_pod_that_only_reads_grows_nothing_and_is_not_warned_of() {
    // One volume for all pods, so that its size is known when the next one comes.
    let Some(one) = One::new(whole()) else { return };
    let writes = |size: &str| claimed(size, "{driver: v/d}");
    one.wants(&writes("1Mi"));
    one.comes("small");
    // The size rises with a pod that only reads, whether it was there before or not; it is for the writer to grow it.
    let reads = |size: &str| writes(size).replace(&claiming("web", false), &claiming("other", true));
    for size in ["2Mi", "3Mi"] {
        one.wants(&reads(size));
        let ran = one.comes(size);
        assert!(!ran.stderr.contains("warning:"), "{ran:?}");
        assert_eq!(one.count("expandfs"), 0, "{size}");
    }
    one.wants(&writes("3Mi"));
    one.comes("who writes");
    assert_eq!(one.calls("expandfs")[0].argv[4..], ["3145728", "1048576"]);
    one.bed.ok(["down", "--all"]);
    one.bed.assert_clean();
}

#[test]
fn h_96_expandvolume_is_called_for_a_driver_that_announces_it_and_for_no_other() {
    for announced in [false, true] {
        let extensions = if announced { json!(["staged", "expand"]) } else { json!(["staged"]) };
        let init = json!({"status": "Success", "capabilities": {"attach": false}, "extensions": extensions});
        let script = staged().on("init", Answer::json(&init)).on("expandfs", Answer::success());
        let Some(one) = One::new(script.on("expandvolume", Answer::success())) else { return };
        for size in ["1Mi", "2Mi"] {
            one.wants(&claimed(size, "{driver: v/d}"));
            one.comes(size);
        }
        let sizes: Vec<_> = one.calls("expandvolume").iter().map(|call| call.argv[3..].join(" ")).collect();
        let wanted: &[&str] = if announced { &["1048576 0", "2097152 1048576"] } else { &[] };
        assert_eq!(sizes, wanted);
        for call in one.calls("expandvolume") {
            assert!(call.argv[1].starts_with('{') && call.argv[2].ends_with("/v/d/mounts/pv"), "{:?}", call.argv);
        }
        one.goes("grown or not");
    }
}

/// Who announces an extension serves its calls: the file system must not be grown over a device that was not.
#[test]
fn a_driver_that_announces_expand_and_does_not_know_expandvolume_is_at_fault() {
    let init = json!({"status": "Success", "capabilities": {"attach": false}, "extensions": ["staged", "expand"]});
    let script = staged().on("init", Answer::json(&init)).on("expandfs", Answer::success());
    let Some(one) = One::new(script.on_each("expandvolume", [Answer::not_supported(), Answer::success()])) else {
        return;
    };
    one.wants(&claimed("1Mi", "{driver: v/d}"));
    one.up().fails(1, &["announces expand and does not know expandvolume", "fault of the driver"]);
    assert_eq!((one.count("expandvolume"), one.count("expandfs")), (1, 0));
    // It is not remembered: the author mends it, and it is asked again.
    one.comes("mended");
    assert_eq!((one.count("expandvolume"), one.count("expandfs")), (2, 1));
    one.goes("grown");
}

#[test]
fn h_95_without_expandfs_the_generic_tools_grow_what_the_host_formatted() {
    let Some(bed) = Bed::new() else { return };
    let disk = bed.sandbox.path().join("disk");
    image(&disk, 320);
    bed.script("v/loop", attachable(&disk));
    let manifest = |size: &str| bed.manifest("db.yaml", &claimed(size, "{driver: v/loop, fsType: xfs}"));
    bed.ok(["up", &manifest("320Mi")]);
    let path = bed.path_of("web", "pv");
    let size = || rustix::fs::statvfs(&path).map(|stat| stat.f_blocks * stat.f_frsize).unwrap();
    let before = size();
    image_grown(&disk, 480);
    let device = bed.sandbox.loops().unwrap().remove(0).device;
    crate::scripts::tool("losetup", &["-c", device.to_str().unwrap()]);
    bed.ok(["up", &manifest("480Mi")]);
    assert!(size() > before + (100 << 20), "{before} became {}", size());
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

fn image_grown(path: &std::path::Path, mib: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(mib << 20).unwrap();
}
