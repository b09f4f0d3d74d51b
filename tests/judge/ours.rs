//! Our own drivers, and the examples of the book, are fit.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use flexvol_tests::judged::{HEARD, PARTS};
use flexvolume_testkit::{binary, skip};
use serde_json::{Value, json};

use crate::bed::{Bed, Ran};

/// Whether a kill came too late for a call that was over: how long it takes is the machine's affair.
pub(crate) fn is_of_the_moment(finding: &Value) -> bool {
    finding["reason"].as_str().is_some_and(|why| why.ends_with("ends too soon to be killed in its middle"))
}

/// Judged at level flexvol, with all that may be done; nothing fails, and so many are skipped, but for kills that came too late.
fn fit(bed: &Bed, driver: &Path, volume: &Value, settings: Option<&Value>, skipped: u64) {
    let file = bed.sandbox.path().join("volume.json");
    fs::write(&file, volume.to_string()).unwrap();
    let scratch = bed.sandbox.dir("s").unwrap();
    let mut command = bed.command(["-o", "json", "check", "--level", "flexvol", "--destroy", "--options"]);
    command.arg(&file).arg("--scratch").arg(&scratch).arg(driver);
    if let Some(settings) = settings {
        let file = bed.sandbox.path().join("settings.json");
        fs::write(&file, settings.to_string()).unwrap();
        command.env("FLEXVOL_SETTINGS", file);
    }
    let ran = Ran::of(command.output().unwrap());
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let failed: Vec<_> =
        report["findings"].as_array().unwrap().iter().filter(|one| one["outcome"] == "failed").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(ran.code, 0);
    let all = report["findings"].as_array().unwrap().iter().filter(|one| one["outcome"] == "skipped");
    let counted = all.filter(|one| !is_of_the_moment(one)).count() as u64;
    assert_eq!(counted, skipped, "{report:#}");
    assert_eq!(report["left"], json!([]));
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "the judge left something");
    bed.assert_clean();
}

#[test]
fn tmpfs() {
    let Some(bed) = Bed::new() else { return };
    fit(&bed, &binary("tmpfs").unwrap(), &json!({"options": {}}), None, 56);
}

#[test]
fn loopback() {
    let Some(bed) = Bed::new() else { return };
    judge_loopback(&bed, &binary("loopback").unwrap());
}

fn judge_loopback(bed: &Bed, driver: &Path) {
    let images = bed.sandbox.dir("images").unwrap();
    fs::set_permissions(&images, PermissionsExt::from_mode(0o700)).unwrap();
    let volume = json!({"create": {}, "fsType": "xfs", "bytes": 300 << 20});
    fit(bed, driver, &volume, Some(&json!({"directory": images})), 1);
}

/// A driver of ours as it is built for musl.
fn for_musl(name: &str) -> Option<PathBuf> {
    let since = |file: &PathBuf| fs::metadata(file).and_then(|meta| meta.modified()).unwrap();
    let usual = since(&binary(name).unwrap());
    let driver = binary(&format!("musl/{name}")).ok().filter(|driver| since(driver) >= usual);
    if driver.is_none() {
        // Who tried to build it left the reason.
        let reason = binary("musl.reason").and_then(fs::read_to_string);
        let reason = reason.unwrap_or_else(|_| "`cargo xtask test musl` builds it as it is now".to_owned());
        skip(&format!("{name} is not built for musl: {reason}"));
    }
    driver
}

#[test]
fn tmpfs_for_musl() {
    let Some(bed) = Bed::new() else { return };
    let Some(driver) = for_musl("tmpfs") else { return };
    fit(&bed, &driver, &json!({"options": {}}), None, 56);
}

#[test]
fn loopback_for_musl() {
    let Some(bed) = Bed::new() else { return };
    let Some(driver) = for_musl("loopback") else { return };
    judge_loopback(&bed, &driver);
}

fn example(file: &str, tool: &str, skipped: u64) {
    let Some(bed) = Bed::new() else { return };
    if Command::new(tool).arg("--version").output().is_err() {
        skip(&format!("no {tool}, which examples/{file} needs"));
        return;
    }
    let folder = bed.sandbox.dir("folder").unwrap();
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(file);
    let volume = json!({"create": {}, "bytes": 1 << 20});
    fit(&bed, &driver, &volume, Some(&json!({"directory": folder})), skipped);
}

#[test]
fn the_example_in_shell() {
    example("folders.sh", "jq", 38);
}

#[test]
fn the_example_in_python() {
    example("folders.py", "python3", 29);
}

/// LVM and NFS are judged in guests, part by part.
#[test]
fn every_check_is_in_one_part_of_the_whole() {
    let Some(bed) = Bed::new() else { return };
    let listed = bed.json(["check", "--list"]);
    for check in listed.as_array().unwrap() {
        let name = check["name"].as_str().unwrap();
        let begun = PARTS.concat().into_iter().chain([HEARD]).filter(|begin| name.starts_with(begin)).count();
        assert_eq!(begun, 1, "{name}");
    }
}
