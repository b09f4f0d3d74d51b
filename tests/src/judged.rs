//! A driver judged by `flexvol check` with all that may be done, and what must come of it where nothing may fail.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    process::Command,
};

use flexvolume_testkit::Sandbox;
use serde_json::Value;

/// The whole judgement in parts, by how the names of checks begin. A call takes a second where the processor is emulated, and the whole is
/// many hundreds of them, so each case there has a part. Every check is in one; those that listen to all calls are in each.
pub const PARTS: [&[&str]; 5] = [MOUNTS, VALUES, VOLUMES, KILLS, KILLS_OF_VOLUMES];

/// What brings a volume up and takes it down.
pub const MOUNTS: &[&str] = &[
    "init",
    "verbs",
    "attach",
    "isattached",
    "waitforattach",
    "mountdevice",
    "unmountdevice",
    "detach",
    "mount.",
    "unmount.",
    "extensions",
];

/// What comes in and what stays: options, paths, secrets, bytes, leftovers.
pub const VALUES: &[&str] = &["options", "paths", "secrets", "data", "together", "leftovers"];

/// Volumes and snapshots, made by the driver.
pub const VOLUMES: &[&str] =
    &["provision", "snapshot", "clone", "capacity", "list", "health", "expand.", "expandfs", "modify"];

/// Calls that are killed on the way up and down.
pub const KILLS: &[&str] = &["kill.attach", "kill.detach", "kill.mount", "kill.unmount"];

/// Calls that are killed while they make, format, grow or delete.
pub const KILLS_OF_VOLUMES: &[&str] = &["kill.create", "kill.delete", "kill.format", "kill.expandvolume"];

/// Those that listen.
pub const HEARD: &str = "answer";

/// LVM's own watcher of snapshots and pools: LVM starts it when it makes one, and the judge names it and leaves it alone, as a service of the system.
const WATCHER: &str = "(dmeventd), which a call began and which may serve others by now";

/// The words that choose the checks whose names begin so, each in a row of [`PARTS`] or within one, and nothing of what they need from other
/// rows: that is judged where that row is asked for.
///
/// # Panics
/// One of them is in no part.
#[track_caller]
pub fn only(names: &[&str]) -> Vec<String> {
    let all = PARTS.concat();
    let is_within = |name: &&str| all.iter().any(|row| name.starts_with(row));
    assert!(names.iter().all(is_within), "{names:?} are not all in {all:?}");
    let others = all.iter().copied().filter(|row| !names.iter().any(|name| name.starts_with(row)));
    let asked = names.iter().copied().chain([HEARD]);
    let flag = |flag: &'static str| move |name: &str| [flag.to_owned(), name.to_owned()];
    asked.flat_map(flag("--only")).chain(others.flat_map(flag("--skip"))).collect()
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

/// Every check passed that was asked for, and no others were skipped than these. How many that were is noted.
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
    let calls = report["times"].as_array().into_iter().flatten().filter_map(|verb| verb["calls"].as_u64()).sum::<u64>();
    let passed = of.get("passed").map_or(0, Vec::len);
    let _ = writeln!(io::stderr(), "note: judged: {passed} checks passed, {calls} calls");
    let failed = of.remove("failed").unwrap_or_default();
    assert!(failed.is_empty(), "{failed:#?}");
    let named = of.remove("skipped").unwrap_or_default();
    let mut names: Vec<_> = named.iter().filter_map(|finding| finding["name"].as_str()).collect();
    names.sort_unstable();
    let reasons: Vec<_> = named.iter().map(|one| format!("{}: {}", one["name"], one["reason"])).collect();
    assert_eq!(names, skipped, "{reasons:#?}");
    assert_eq!(report["fit"], true);
    let left = report["left"].as_array().into_iter().flatten();
    let left: Vec<_> = left.filter(|one| !one.as_str().is_some_and(|one| one.contains(WATCHER))).collect();
    assert!(left.is_empty(), "{left:#?}");
}
