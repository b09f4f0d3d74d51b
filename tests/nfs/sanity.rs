//! Kubernetes' own suite for CSI drivers over the bridge: every case of what the driver announces runs, and none fails.

use std::fs;

use flexvol_tests::sanity::Sanity;

use crate::bridged::{assert_empty, served};

/// What the driver never announces.
const LACKS: [&str; 5] = [
    "PUBLISH_READONLY",
    "MODIFY_VOLUME",
    "GROUP_CONTROLLER_SERVICE",
    "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT",
    "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS",
];

/// No driver can pass it whose storage is on every node at once: attaching is nothing there, so nobody keeps a list of the nodes, and none
/// is unknown.
const NO_NODES: &str = "ControllerPublishVolume should fail when the node does not exist";

/// A case that would attach one volume too many, and finds that no number is too many.
const NO_LIMIT: &str = "No MaxVolumesPerNode";

/// The way that announces more; of where the node attaches, LVM's and the loopback driver's runs tell. In the end nothing is left in the pool.
#[test]
fn the_controller_attaches() {
    let Some((node, mut bridge)) = served(&["--attach=controller"]) else { return };
    let dir = bridge.kubelet().join("sanity");
    fs::create_dir(&dir).unwrap();
    let Some(suite) = Sanity::new(&bridge.socket(), &dir) else { return };
    let report = suite.leave_out(NO_NODES).attach_limit().run().unwrap();
    report.note();
    report.assert(&[&LACKS[..], &[NO_LIMIT]].concat());
    assert_eq!(report.passed.len(), 84, "another number than the pages say\n{report}");
    assert_eq!(report.not_run().get("left out by name").map(Vec::len), Some(1), "{report}");
    fs::remove_dir_all(&dir).unwrap();
    assert_empty(&node, &mut bridge);
}
