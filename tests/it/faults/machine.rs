//! Fault 14: a root that was copied from another machine. Its records speak of that one's devices: nothing is touched.

use std::{fs, process::Command};

use super::loopback;
use crate::bed::{Bed, pod};

#[test]
fn what_another_machine_attached_is_not_detached_here() {
    let Some(bed) = Bed::with_drivers() else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", &loopback(&images, "one"))]));
    if fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().is_empty() {
        return flexvolume_testkit::skip("this machine has no /etc/machine-id");
    }
    bed.ok(["up", &file]);
    let other = bed.manifest("machine-id", "0123456789abcdef0123456789abcdef\n");
    let before = bed.sandbox.mounts().unwrap();
    // In a mount namespace of its own another machine-id is seen; what it unmounted there, it would detach for all.
    for verb in ["down", "up"] {
        let script = "mount --bind \"$0\" /etc/machine-id && exec \"$@\"";
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script, &other])
            .arg(bed.exe())
            .args([verb, &file])
            .envs(bed.env())
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{words}");
        assert!(words.contains("another machine") && words.contains("hint:"), "{words}");
    }
    assert_eq!(bed.sandbox.mounts().unwrap(), before);
    assert_eq!(bed.sandbox.loops().unwrap().len(), 1);
    bed.ok(["up", &file]);
    bed.ok(["down", &file]);
    bed.assert_clean();
}
