//! One volume, several pods: who only reads does not write, who goes leaves it to the others, and the last one lets go of it.

use super::home::{Home, claim, claiming};

#[test]
fn two_pods_have_one_volume_and_the_last_lets_go_of_it() {
    let Some(home) = Home::new(&[64]) else { return };
    let source = home.source("ext4", "vol1", &[("create", "true"), ("size", "24m")]);
    let claim = home.bed.manifest("claim.yaml", &claim("data", "24Mi", &source));
    let writer = home.bed.manifest("writer.yaml", &claiming("writer", &["data"], false));
    let reader = home.bed.manifest("reader.yaml", &claiming("reader", &["data"], true));
    // Another volume by its name, and the same logical volume.
    let other = home.pod("other", &[("mine", &source)]);

    home.bed.ok(["up", &claim, &writer, &reader]);
    home.exec("writer", "echo one >/data/data/file");
    assert_eq!(home.exec("reader", "cat /data/data/file"), "one");
    let said = home.exec_fails("reader", "echo two >/data/data/file");
    assert!(said.contains("Read-only file system"), "{said}");
    home.bed.ok(["up", &other]);
    home.exec("other", "echo two >>/data/mine/file");

    home.bed.ok(["down", "reader"]);
    home.exec("writer", "echo three >>/data/data/file; sync");
    home.bed.ok(["up", &claim, &reader]);
    home.bed.ok(["down", "writer"]);
    assert_eq!(home.exec("reader", "cat /data/data/file"), "one\ntwo\nthree");
    assert!(home.vg.is_active("vol1"));
    home.bed.ok(["down", "reader"]);
    assert!(home.vg.is_active("vol1"), "the other pod has it still");
    home.exec("other", "echo four >>/data/mine/file; sync");
    // Nobody has it whose name is not told.
    let said = home.delete("vol1");
    assert_eq!((said["status"].as_str(), said["code"].as_str()), (Some("Failure"), Some("busy")), "{said}");
    home.bed.ok(["down", "other"]);
    home.assert_down();

    home.bed.ok(["up", &claim, &reader]);
    assert_eq!(home.exec("reader", "tail -n 1 /data/data/file"), "four");
    home.bed.ok(["down", &reader]);
    home.assert_down();
}
