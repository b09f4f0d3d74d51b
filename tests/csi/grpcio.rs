//! A client that is none of ours: grpc-core, by way of Python. It names the socket's path as the authority of its calls, which HTTP/2 does
//! not allow, and reads messages made of `csi.proto` by the compiler of Protocol Buffers itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use flexvolume_testkit::{binary, skip};

use crate::bed::Bed;

/// The Python that has grpcio, as `cargo xtask test` has left it beside the tests.
fn python() -> Option<PathBuf> {
    let python = binary("grpcio.python").and_then(fs::read_to_string).map(PathBuf::from);
    if let Some(python) = python.ok().filter(|python| python.is_file()) {
        return Some(python);
    }
    let reason = binary("grpcio.reason").and_then(fs::read_to_string);
    let reason = reason.unwrap_or_else(|_| "`cargo xtask test grpcio` installs it".to_owned());
    skip(&format!("no gRPC for Python: {reason}"));
    None
}

const STEPS: [&str; 13] = [
    "GetPluginInfo",
    "Probe",
    "capabilities",
    "CreateVolume",
    "an error of the driver's",
    "errors of the bridge's",
    "NodeStageVolume",
    "NodePublishVolume",
    "NodeGetVolumeStats",
    "NodeUnpublishVolume",
    "NodeUnstageVolume",
    "DeleteVolume",
    "many at once",
];

#[test]
fn a_client_in_python_plays_an_orchestrator() {
    let Some(python) = python() else { return };
    let Some(mut bed) = Bed::of("loopback") else { return };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let images = bed.command.sandbox.dir("images").unwrap();
    for _ in 0..2 {
        let mut client = Command::new(&python);
        client.arg("-B").arg(here.join("grpcio/client.py")).arg(here.join("../crates/flexvolume-csi/proto"));
        let came = client.arg(bed.socket()).arg(bed.kubelet()).arg(&images).output().unwrap();
        let (said, why) = (String::from_utf8_lossy(&came.stdout), String::from_utf8_lossy(&came.stderr));
        assert!(came.status.success(), "{said}{why}");
        assert_eq!(said.lines().collect::<Vec<_>>(), [&STEPS[..], &["done"]].concat(), "{why}");
        bed.assert_clean();
        bed.restart();
    }
}
