//! Kubernetes' own suite for CSI drivers over the bridge, with thin volumes: every case of what the driver announces runs, and none fails.

use std::{fs, sync::Arc};

use flexvol_tests::sanity::{Access, Sanity};
use serde_json::json;

use crate::{
    bridge::{
        bed::Bed,
        life::{Kind, lives},
        volume::map,
    },
    group::POOL,
    life::home::{DRIVER, Home},
};

/// What the driver does not announce: its volumes live on one node.
const LACKS: [&str; 7] = [
    "PUBLISH_UNPUBLISH_VOLUME",
    "PUBLISH_READONLY",
    "controller EXPAND_VOLUME",
    "MODIFY_VOLUME",
    "GROUP_CONTROLLER_SERVICE",
    "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT",
    "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS",
];

/// A machine whose pool may promise more than it has, and the bridge.
fn served() -> Option<(Home, Bed)> {
    let home = Home::with_pool(&[700], 600)?;
    home.set(r#"{"thinOvercommit": 10}"#);
    let bridge = Bed::running(Arc::clone(&home.bed.command), DRIVER, &[]);
    Some((home, bridge))
}

/// Runs the suite; in the end nothing is left in the group but the pool.
fn passes(access: Access) {
    let Some((home, mut bridge)) = served() else { return };
    let dir = bridge.kubelet().join("sanity");
    fs::create_dir(&dir).unwrap();
    let Some(suite) = Sanity::new(&bridge.socket(), &dir) else { return };
    let parameters = json!({"volumegroup": home.vg.name, "thinpool": POOL});
    let suite = suite.access(access).parameters(parameters).sizes(32 << 20, 48 << 20);
    let report = suite.run().unwrap();
    report.note();
    report.assert(&LACKS);
    assert_eq!(report.passed.len(), 74, "another number than the pages say\n{report}");
    fs::remove_dir_all(&dir).unwrap();
    bridge.assert_down();
    assert_eq!(home.vg.volumes(), [POOL]);
}

#[test]
fn thin_volumes_with_file_systems() {
    passes(Access::Mount);
}

#[test]
fn thin_volumes_as_raw_devices() {
    passes(Access::Block);
}

#[test]
fn a_whole_life() {
    let Some((home, mut bridge)) = served() else { return };
    let parameters = map([("volumegroup", &home.vg.name), ("thinpool", POOL)]);
    lives(&mut bridge, &Kind { parameters, ..Kind::plain("ext4", 32 << 20, 64 << 20) });
    bridge.assert_down();
    assert_eq!(home.vg.volumes(), [POOL]);
}
