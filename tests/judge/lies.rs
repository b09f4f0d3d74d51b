//! A driver in shell that is clean, and as many that lie in exactly one way.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use flexvolume_testkit::skip;
use serde_json::{Value, json};

use crate::bed::{Bed, Ran};

/// What a driver can lie about that mounts and does not attach; each is found by the check of its name.
const DIRECT: &[&str] = &[
    "init.answers",
    "init.capabilities",
    "init.again",
    "init.bare",
    "init.offline",
    "verbs.unknown",
    "verbs.bad-options",
    "mount.mounts",
    "mount.again",
    "mount.two-pods",
    "mount.read-only",
    "mount.all-or-nothing",
    "unmount.undoes",
    "unmount.again",
    "unmount.never-mounted",
    "unmount.no-directory",
    "unmount.stacked",
    "data.kept",
    "options.unknown",
    "options.fs-group-new",
    "options.fs-group-old",
    "options.base-only",
    "options.blanks",
    "options.quotes",
    "options.lines",
    "options.unicode",
    "options.large",
    "options.injection",
    "secrets.answer",
    "secrets.argv",
    "secrets.files",
    "together.volumes",
    "leftovers.mounts",
    "leftovers.processes",
    "leftovers.files",
    "kill.mount",
    "kill.unmount",
    "answer.one-json",
    "answer.types",
    "answer.status",
    "answer.exit",
    "answer.crash",
    "answer.in-time",
    "answer.held",
    "answer.not-supported",
    "answer.failure-message",
    "answer.stdout",
    "answer.keys",
];

/// What one can lie about that attaches.
const ATTACHED: &[&str] = &[
    "verbs.getvolumename",
    "attach.succeeds",
    "attach.again",
    "isattached.true",
    "waitforattach.device",
    "waitforattach.strange",
    "mountdevice.mounts",
    "mountdevice.again",
    "unmountdevice.undoes",
    "unmountdevice.again",
    "detach.undoes",
    "detach.again",
    "detach.unknown",
    "leftovers.devices",
    "kill.attach",
    "kill.detach",
    "kill.mountdevice",
    "kill.unmountdevice",
];

/// The driver with one lie, or none, judged in a bed of its own.
fn judged(kind: &str, lie: &str) -> Option<Value> {
    let bed = Bed::new()?;
    if Command::new("jq").arg("--version").output().is_err() {
        skip("no jq, which the scripted driver needs");
        return None;
    }
    let driver = bed.sandbox.dir("driver").unwrap().join("driver");
    let (state, folder, scratch) =
        (bed.sandbox.dir("driver-state").unwrap(), bed.sandbox.dir("folder").unwrap(), bed.sandbox.dir("s").unwrap());
    // A bare environment is one of the things it is judged in, so what it does stands in itself.
    let net = fs::read_link("/proc/self/ns/net").unwrap();
    let mut text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("judge/driver.sh")).unwrap();
    for (word, value) in [("@KIND@", kind), ("@LIE@", lie), ("@STATE@", text_of(&state)), ("@NET@", text_of(&net))] {
        text = text.replace(word, value);
    }
    fs::write(&driver, text).unwrap();
    fs::set_permissions(&driver, PermissionsExt::from_mode(0o755)).unwrap();
    let volume = bed.sandbox.path().join("volume.json");
    let described = json!({"options": {"folder": folder}, "secrets": {"password": "correct horse battery staple"}});
    fs::write(&volume, described.to_string()).unwrap();
    let hangs = ["answer.in-time", "waitforattach.strange"].contains(&lie);
    let mut command = bed.command(["-o", "json", "check", "--timeout", if hangs { "3s" } else { "1m" }, "--options"]);
    command.arg(&volume).arg("--scratch").arg(&scratch);
    // To be killed takes time, and changes nothing about the other lies.
    if lie.is_empty() || lie.starts_with("kill.") {
        command.arg("--destroy");
    }
    // A mount that hangs is ended only where what it may cost may be lost.
    if lie == "answer.in-time" {
        command.args(["--destroy", "--skip", "kill"]);
    }
    let ran = Ran::of(command.arg(&driver).output().unwrap());
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert_eq!(ran.code, i32::from(!report["fit"].as_bool().unwrap()), "{ran:?}");
    assert!(!ran.stdout.contains("battery staple"), "a secret is in the report");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "the judge left something: {}", report["left"]);
    assert_eq!(report["left"], json!([]));
    // What the driver left elsewhere is the driver's.
    bed.sandbox.unmount_all().unwrap();
    for bound in bed.sandbox.loops().unwrap() {
        bound.detach().unwrap();
    }
    Some(report)
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn failed(report: &Value) -> Vec<&str> {
    let all = report["findings"].as_array().unwrap().iter();
    all.filter(|finding| finding["outcome"] == "failed").map(|finding| finding["name"].as_str().unwrap()).collect()
}

fn clean(kind: &str, skipped: &[&str]) {
    let Some(report) = judged(kind, "") else { return };
    assert_eq!(failed(&report), Vec::<&str>::new(), "{report:#}");
    assert_eq!(report["fit"], true);
    let all = report["findings"].as_array().unwrap().iter().filter(|finding| finding["outcome"] == "skipped");
    let groups: std::collections::BTreeSet<_> = all.map(|finding| finding["name"].as_str().unwrap()).collect();
    assert_eq!(groups.into_iter().collect::<Vec<_>>(), skipped, "{report:#}");
}

#[test]
fn a_clean_driver_that_mounts_is_fit() {
    let attaching = [
        "attach.again",
        "attach.succeeds",
        "detach.again",
        "detach.undoes",
        "detach.unknown",
        "isattached.true",
        "kill.attach",
        "kill.detach",
        "kill.mountdevice",
        "kill.unmountdevice",
        "mountdevice.again",
        "mountdevice.mounts",
        "unmountdevice.again",
        "unmountdevice.undoes",
        "verbs.getvolumename",
        "waitforattach.device",
        "waitforattach.strange",
    ];
    clean("direct", &attaching);
}

/// It leaves `mount` to the host.
#[test]
fn a_clean_driver_that_attaches_is_fit() {
    let hosts = [
        "kill.mount",
        "kill.unmount",
        "mount.again",
        "mount.all-or-nothing",
        "mount.read-only",
        "options.injection",
        "secrets.argv",
        "together.volumes",
        "unmount.stacked",
    ];
    clean("attached", &hosts);
}

/// Every lie is found out for what it is.
fn found_out(kind: &str, lies: &[&str]) {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    // Two at a time: most of it is waiting for processes.
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(lie) = lies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Some(report) = judged(kind, lie) else { return };
                    if failed(&report) != [*lie] {
                        let all = report["findings"].as_array().unwrap().iter();
                        let told: Vec<_> =
                            all.filter(|one| one["name"] == *lie || one["outcome"] == "failed").collect();
                        wrong.lock().unwrap().push(format!("{lie}: {told:#?}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn who_mounts_and_lies_is_found_out() {
    found_out("direct", DIRECT);
}

#[test]
fn who_attaches_and_lies_is_found_out() {
    found_out("attached", ATTACHED);
}
