//! Kubernetes' own suite for CSI drivers over the bridge: every case of what the driver announces runs, and none fails.

use std::fs;

use flexvol_tests::sanity::{Report, Sanity};

use crate::bridged::{assert_empty, served};

/// What the driver never announces.
const LACKS: [&str; 5] = [
    "PUBLISH_READONLY",
    "MODIFY_VOLUME",
    "GROUP_CONTROLLER_SERVICE",
    "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT",
    "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS",
];

/// What only a controller that attaches announces.
const BY_CONTROLLER: &str = "PUBLISH_UNPUBLISH_VOLUME";

/// No driver can pass it whose storage is on every node at once: attaching is nothing there, so nobody keeps a list of the nodes, and none
/// is unknown.
const NO_NODES: &str = "ControllerPublishVolume should fail when the node does not exist";

/// A case that would attach one volume too many, and finds that no number is too many.
const NO_LIMIT: &str = "No MaxVolumesPerNode";

/// Runs the suite; in the end nothing is left in the pool.
fn passes(args: &[&str], told: impl FnOnce(Sanity) -> Sanity, missing: &[&str], passed: usize) -> Option<Report> {
    let (node, mut bridge) = served(args)?;
    let dir = bridge.kubelet().join("sanity");
    fs::create_dir(&dir).unwrap();
    let report = told(Sanity::new(&bridge.socket(), &dir)?).run().unwrap();
    report.note();
    report.assert(&[&LACKS, missing].concat());
    assert_eq!(report.passed.len(), passed, "another number than the pages say\n{report}");
    fs::remove_dir_all(&dir).unwrap();
    assert_empty(&node, &mut bridge);
    Some(report)
}

#[test]
fn the_node_attaches() {
    passes(&[], |suite| suite, &[BY_CONTROLLER], 77);
}

#[test]
fn the_controller_attaches() {
    let told = |suite: Sanity| suite.leave_out(NO_NODES).attach_limit();
    let Some(report) = passes(&["--attach=controller"], told, &[NO_LIMIT], 84) else { return };
    assert_eq!(report.not_run().get("left out by name").map(Vec::len), Some(1), "{report}");
}
