//! Kubernetes' own suite for CSI drivers over the bridge: every case of what the driver announces runs, and none fails.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use flexvol_tests::sanity::{Access, Report, Sanity};
use flexvolume_testkit::skip;
use serde_json::{Value, json};

use crate::{bed::Bed, command};

/// What the suite runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Loopback,
    Shell,
    Python,
    Tmpfs,
}
use Over::{Loopback, Python, Shell, Tmpfs};

const ALL: &[Over] = &[Loopback, Shell, Python, Tmpfs];
const EXAMPLES: &[Over] = &[Shell, Python, Tmpfs];

/// What is not announced, and by whom: see `docs/csi.md`. What lives on one node is made larger there, and never attached from elsewhere.
const LACKS: &[(&str, &[Over])] = &[
    ("PUBLISH_UNPUBLISH_VOLUME", ALL),
    ("PUBLISH_READONLY", ALL),
    ("controller EXPAND_VOLUME", ALL),
    ("GROUP_CONTROLLER_SERVICE", ALL),
    ("CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT", ALL),
    ("SNAPSHOT_ACCESSIBILITY_CONSTRAINTS", ALL),
    ("STAGE_UNSTAGE_VOLUME", EXAMPLES),
    ("node EXPAND_VOLUME", EXAMPLES),
    ("MODIFY_VOLUME", EXAMPLES),
    ("controller GET_VOLUME_HEALTH", EXAMPLES),
    ("node GET_VOLUME_HEALTH", EXAMPLES),
    ("LIST_VOLUME_HEALTH", EXAMPLES),
    ("GET_STORAGE_HEALTH", EXAMPLES),
    ("CREATE_DELETE_SNAPSHOT", &[Shell, Tmpfs]),
    ("LIST_SNAPSHOTS", &[Shell, Tmpfs]),
    ("GET_SNAPSHOT", &[Shell, Tmpfs]),
    ("CLONE_VOLUME", &[Shell, Tmpfs]),
    ("CONTROLLER_SERVICE", &[Tmpfs]),
    ("CREATE_DELETE_VOLUME", &[Tmpfs]),
    ("LIST_VOLUMES", &[Tmpfs]),
    ("GET_CAPACITY", &[Tmpfs]),
];

/// Runs the suite over a bridge that serves, and looks that nothing is left.
fn run(bed: &mut Bed, over: Over, told: impl FnOnce(Sanity) -> Sanity, passed: usize) -> Option<Report> {
    let dir = bed.kubelet().join("sanity");
    fs::create_dir(&dir).unwrap();
    let report = told(Sanity::new(&bed.socket(), &dir)?).run().unwrap();
    let lacks = LACKS.iter().filter(|(_, who)| who.contains(&over)).map(|(capability, _)| *capability);
    report.assert(&lacks.collect::<Vec<_>>());
    assert_eq!(report.passed.len(), passed, "another number than the pages say\n{report}");
    fs::remove_dir_all(&dir).unwrap();
    bed.assert_clean();
    Some(report)
}

/// The loopback driver, with its images in the bed.
fn loopback() -> Option<Bed> {
    let command = command::Bed::with_drivers()?;
    let images = command.sandbox.dir("images").unwrap();
    fs::set_permissions(&images, PermissionsExt::from_mode(0o700)).unwrap();
    settings(&command, "flexvol.io~loopback", &images);
    Some(Bed::running(command, "flexvol.io/loopback", &[]))
}

fn settings(command: &command::Bed, driver: &str, directory: &Path) {
    let file = command.sandbox.dir("settings").unwrap().join(format!("{driver}.json"));
    fs::write(file, json!({"directory": directory}).to_string()).unwrap();
}

fn example(file: &str, tool: &str) -> Option<Bed> {
    let command = command::Bed::new()?;
    if Command::new(tool).arg("--version").output().is_err() {
        skip(&format!("no {tool}, which examples/{file} needs"));
        return None;
    }
    let copy = command.sandbox.dir("copy").unwrap().join(file);
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(file), &copy).unwrap();
    fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    command.ok(["install", copy.to_str().unwrap(), "--as", "example.com/folders"]);
    let folder = command.sandbox.dir("folder").unwrap();
    settings(&command, "example.com~folders", &folder);
    Some(Bed::running(command, "example.com/folders", &[]))
}

/// What can be changed of a loopback volume.
fn through() -> Value {
    json!({"directIO": "false"})
}

/// An xfs, which also whoever may not reserve blocks can make larger while it is mounted.
#[test]
fn the_loopback_driver_with_file_systems() {
    let Some(mut bed) = loopback() else { return };
    let xfs = json!({"csi.storage.k8s.io/fstype": "xfs"});
    run(
        &mut bed,
        Loopback,
        |suite| suite.parameters(xfs).sizes(300 << 20, 400 << 20).mutable_parameters(through()),
        82,
    );
}

#[test]
fn the_loopback_driver_with_raw_devices() {
    let Some(mut bed) = loopback() else { return };
    run(&mut bed, Loopback, |suite| suite.access(Access::Block).mutable_parameters(through()), 82);
}

#[test]
fn the_example_in_shell() {
    let Some(mut bed) = example("folders.sh", "jq") else { return };
    run(&mut bed, Shell, |suite| suite, 37);
}

#[test]
fn the_example_in_python() {
    let Some(mut bed) = example("folders.py", "python3") else { return };
    run(&mut bed, Python, |suite| suite, 59);
}

/// It makes no volumes: cases that do so without asking are left out by name, the others say that they miss it. So is the one that
/// wants to hear of a volume that it does not exist: who has neither a list nor health cannot tell.
#[test]
fn the_tmpfs_driver() {
    let Some(mut bed) = Bed::of("tmpfs") else { return };
    let Some(report) = run_tmpfs(&mut bed) else { return };
    assert!(report.not_run().contains_key("left out by name"), "{report}");
}

fn run_tmpfs(bed: &mut Bed) -> Option<Report> {
    let untold = "ValidateVolumeCapabilities should fail when the requested volume does not exist";
    run(bed, Tmpfs, |suite| suite.without_provisioning().leave_out(untold), 15)
}
