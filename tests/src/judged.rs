//! A driver judged by `flexvol check` with all that may be done, and what must come of it where nothing may fail.

use std::{collections::BTreeMap, fs, process::Command};

use flexvolume_testkit::Sandbox;
use serde_json::{Value, json};

/// The words that choose checks: these, without those.
pub fn only(only: &[&str], skip: &[&str]) -> Vec<String> {
    let flag = |flag: &str, names: &[&str]| -> Vec<String> {
        names.iter().flat_map(|name| [flag.to_owned(), (*name).to_owned()]).collect()
    };
    [flag("--only", only), flag("--skip", skip)].concat()
}

/// The report of an installed driver, or of an executable, judged by this volume. `command` is the command in the case's own bed.
///
/// # Panics
/// There is none.
#[track_caller]
pub fn report(
    volume: &Value,
    driver: &str,
    chosen: &[String],
    sandbox: &Sandbox,
    command: impl FnOnce(&[&str]) -> Command,
) -> Value {
    let file = sandbox.path().join("judged.json");
    let scratch = sandbox.dir("judged").and_then(|dir| fs::write(&file, volume.to_string()).map(|()| dir));
    let scratch = scratch.unwrap_or_else(|error| panic!("{error}"));
    let mut check = command(&["-o", "json", "check", "--level", "flexvol", "--destroy"]);
    let ran = check.args(chosen).arg("--options").arg(&file).arg("--scratch").arg(&scratch).arg(driver).output();
    let ran = ran.unwrap_or_else(|error| panic!("{error}"));
    let said = String::from_utf8_lossy(&ran.stdout);
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!(fs::read_dir(&scratch).map_or(0, Iterator::count), 0, "the judge left something: {}", report["left"]);
    report
}

/// Every check passed that was asked for, and no others were skipped than these.
///
/// # Panics
/// That is not so.
#[track_caller]
pub fn assert_fit(report: &Value, skipped: &[&str]) {
    let is_asked = |finding: &&Value| {
        !["not asked for", "left out by name"].contains(&finding["reason"].as_str().unwrap_or_default())
    };
    let findings = report["findings"].as_array().into_iter().flatten().filter(is_asked);
    let mut of: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for finding in findings {
        of.entry(finding["outcome"].as_str().unwrap_or_default()).or_default().push(finding);
    }
    let failed = of.remove("failed").unwrap_or_default();
    assert!(failed.is_empty(), "{failed:#?}");
    let named = of.remove("skipped").unwrap_or_default();
    let mut names: Vec<_> = named.iter().filter_map(|finding| finding["name"].as_str()).collect();
    names.sort_unstable();
    let reasons: Vec<_> = named.iter().map(|one| format!("{}: {}", one["name"], one["reason"])).collect();
    assert_eq!(names, skipped, "{reasons:#?}");
    assert_eq!(report["fit"], true);
    assert_eq!(report["left"], json!([]));
}
