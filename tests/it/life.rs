//! A volume that never came up may be asked for anew, with other settings.

use crate::bed::{Bed, pod};

#[test]
fn a_volume_that_never_came_up_may_be_asked_for_anew() {
    let Some(bed) = Bed::with_drivers() else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let manifest = |size: &str| {
        let source = format!(
            "{{driver: flexvol.io/loopback, options: {{volumeID: v, size: {size}, create: \"true\", directory: {}}}}}",
            images.display()
        );
        bed.manifest("pod.yaml", &pod("web", &[("data", &source)]))
    };
    bed.run(["up", &manifest("many")]).fails(1, &["size", "many"]);
    let scratch = |size: &str| {
        let source = format!("{{driver: flexvol.io/tmpfs, options: {{size: {size}}}}}");
        bed.manifest("scratch.yaml", &pod("scratch", &[("s", &source)]))
    };
    bed.run(["up", &scratch("many")]).fails(1, &["size", "many"]);
    bed.ok(["up", &scratch("1m")]);
    bed.ok(["down", "scratch"]);
    bed.ok(["up", &manifest("16m")]);
    bed.run(["up", &manifest("32m")]).fails(4, &["size", "16m", "32m", "flexvol down"]);
    bed.ok(["down", "web"]);
    bed.assert_clean();
    bed.assert_no_locks();
}
