//! Faults 7 and 12: one writer for one image, and images that would attack the kernel.

use std::fs;

use super::loopback;
use crate::{
    bed::{Bed, pod},
    scripts::tool,
};

#[test]
fn an_image_that_somebody_attached_by_hand_gets_no_second_device() {
    let Some(bed) = Bed::with_drivers() else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", &loopback(&images, "one"))]));
    bed.ok(["up", &file]);
    fs::write(bed.path_of("web", "data").join("file"), "kept").unwrap();
    bed.ok(["down", &file]);
    let image = images.join("one.img");
    let by_hand = tool("losetup", &["-f", "--show", image.to_str().unwrap()]);
    let by_hand = by_hand.trim();
    let ran = bed.run(["up", &file]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains(by_hand) && ran.stderr.contains("losetup -d"), "{ran:?}");
    let loops = bed.sandbox.loops().unwrap();
    assert_eq!(loops.len(), 1, "a second device: {loops:?}");
    assert_eq!(bed.sandbox.mounts().unwrap(), []);
    tool("losetup", &["-d", by_hand]);
    bed.ok(["up", &file]);
    assert_eq!(fs::read_to_string(bed.path_of("web", "data").join("file")).unwrap(), "kept");
    // And the other way round: what we attached, losetup can have no second time for writing by our driver's lock.
    let second = bed.manifest("two.yaml", &pod("other", &[("data", &loopback(&images, "one"))]));
    bed.ok(["up", &second]);
    assert_eq!(bed.sandbox.loops().unwrap().len(), 1, "shared, not doubled");
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

/// `errors=panic` inside an image would be honoured by the kernel: any tenant could stop the node.
#[test]
fn an_image_cannot_make_the_kernel_panic_and_a_tenant_cannot_set_mount_options() {
    let Some(bed) = Bed::with_drivers() else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let source = loopback(&images, "evil");
    let plain = bed.manifest("plain.yaml", &pod("web", &[("data", &source)]));
    bed.ok(["up", &plain]);
    bed.ok(["down", &plain]);
    tool("tune2fs", &["-e", "panic", images.join("evil.img").to_str().unwrap()]);
    let wishes = "size: 16m, mountOptions: \"suid,dev,errors=panic\", options: \"errors=panic\", mountFlags: \"suid\"";
    let wishing = bed.manifest("wishing.yaml", &pod("web", &[("data", &source.replace("size: 16m", wishes))]));
    for manifest in [&plain, &wishing] {
        bed.ok(["up", manifest]);
        let path = bed.path_of("web", "data");
        let options = tool("findmnt", &["-n", "-o", "OPTIONS", "--mountpoint", path.to_str().unwrap()]);
        let options: Vec<_> = options.trim().split(',').collect();
        // The kernel shows what differs from the image's own word, so it must be shown.
        assert!(options.contains(&"errors=remount-ro"), "{options:?}");
        assert!(options.contains(&"nosuid") && options.contains(&"nodev"), "{options:?}");
        bed.ok(["down", manifest]);
    }
    bed.assert_clean();
}
