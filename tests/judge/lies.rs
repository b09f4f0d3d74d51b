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

use crate::{
    bed::{Bed, Ran},
    ours::is_of_the_moment,
};

/// What a driver can lie about that mounts and does not attach; each is found by the check of its name. What follows a colon
/// tells lies apart that one check finds.
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
    "unmount.dead",
    "data.bytes",
    "data.kept",
    "paths.root",
    "paths.blanks",
    "paths.unicode",
    "paths.quotes",
    "paths.shell",
    "paths.lines",
    "paths.dash",
    "paths.long",
    "paths.beside",
    "paths.links",
    "options.unknown",
    "options.fs-group-new",
    "options.fs-group-old",
    "options.fs-group-both",
    "options.no-fs-type",
    "options.base-only",
    "options.blanks",
    "options.quotes",
    "options.lines",
    "options.unicode",
    "options.large",
    "options.injection",
    "options.injection-own",
    "options.injection-type",
    "secrets.answer",
    "secrets.answer:stderr",
    "secrets.answer:unmount",
    "secrets.argv",
    "secrets.files",
    "secrets.logs",
    "secrets.injection",
    "together.volumes",
    "leftovers.mounts",
    "leftovers.processes",
    "leftovers.files",
    "kill.mount",
    "kill.mount:data",
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
    "mount.mounts:nobody",
    "paths.blanks:device",
    "paths.beside:device",
    "options.injection:attach",
    "options.injection-own:mountdevice",
    "expandfs.again",
    "expandfs.grows",
    "unmountdevice.undoes",
    "unmountdevice.again",
    "unmount.shut-down:device",
    "detach.undoes",
    "detach.again",
    "detach.unknown",
    "leftovers.devices",
    "kill.attach",
    "kill.detach",
    "kill.mountdevice",
    "kill.mountdevice:data",
    "kill.unmountdevice",
];

/// What one can lie about that serves every extension.
const EXTENDED: &[&str] = &[
    "extensions.known",
    "extensions.stdin",
    "extensions.staged",
    "extensions.strangers",
    "extensions.block",
    "unmount.shut-down",
    "provision.creates",
    "provision.again",
    "provision.conflict",
    "provision.size",
    "provision.deletes-again",
    "provision.long-name",
    "provision.hostile-id",
    "provision.hostile-name",
    "snapshot.creates",
    "snapshot.listed",
    "snapshot.filters:id",
    "snapshot.filters:snapshot",
    "snapshot.filters:nothing",
    "snapshot.deletes-again",
    "snapshot.unknown",
    "clone.holds-the-same",
    "clone.of-a-snapshot",
    "capacity.answers",
    "list.has-it",
    "list.pages",
    "health.of-a-volume",
    "health.of-a-volume:degraded",
    "health.of-the-storage",
    "health.unknown",
    "expand.grows",
    "modify.all-or-nothing",
    "kill.createvolume",
    "kill.deletevolume",
    "kill.format",
    "kill.expandvolume",
    "kill.createsnapshot",
    "kill.deletesnapshot",
];

/// A lie without what tells it apart.
fn check_of(lie: &str) -> &str {
    lie.split(':').next().unwrap_or(lie)
}

/// What `flexvol check` is asked for. To be killed takes time and changes nothing about the other lies, and what an extension
/// is about is found by the checks of that extension.
fn asked(kind: &str, lie: &str) -> Vec<String> {
    let check = check_of(lie);
    let group = check.split_once('.').map_or("", |(group, _)| group);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match (kind, group, lie) {
        ("extended", "", "") => words(&["--level", "flexvol"]),
        ("extended", "", _) => ["snapshot.", "clone.", "modify.", "expand.", "health."]
            .iter()
            .flat_map(|group| words(&["--only", group]))
            .chain(words(&["--level", "flexvol"]))
            .collect(),
        ("extended", "kill", _) | ("extended", _, "provision.creates") => {
            words(&["--level", "flexvol", "--only", check])
        }
        ("extended", ..) => words(&["--level", "flexvol", "--only", &format!("{group}.")]),
        (_, "", _) => words(&["--destroy"]),
        (_, "kill", _) => words(&["--destroy", "--only", "kill"]),
        (_, "options", "options.injection-own" | "options.injection-own:mountdevice") => {
            words(&["--destroy", "--skip", "kill", "--skip", "paths"])
        }
        (_, "expandfs", _) => {
            words(&["--destroy", "--skip", "kill", "--skip", "options", "--skip", "secrets", "--skip", "paths"])
        }
        (_, "paths", _) => {
            words(&["--only", "paths", "--only", "mount", "--only", "unmount", "--only", "data", "--only", "leftovers"])
        }
        (_, "unmount", "unmount.shut-down:device") => words(&["--destroy", "--only", "unmount."]),
        _ if check.contains("injection") => words(&["--skip", "paths"]),
        // Only then is it ended.
        (_, _, "answer.in-time") => {
            words(&["--destroy", "--skip", "kill", "--skip", "options.injection", "--skip", "paths"])
        }
        ("attached", ..) => words(&["--skip", "options", "--skip", "secrets", "--skip", "data", "--skip", "paths"]),
        _ => words(&["--skip", "options.injection", "--skip", "secrets.injection", "--skip", "paths"]),
    }
}

/// The driver with one lie, or none, judged in a bed of its own.
fn judged(kind: &str, lie: &str) -> Option<Value> {
    let bed = Bed::new()?;
    for tool in ["jq", "perl", "mkfs.xfs"] {
        if !is_there(tool) {
            skip(&format!("no {tool}, which the scripted driver needs"));
            return None;
        }
    }
    let dir = |name: &str| bed.sandbox.dir(name).unwrap();
    let (driver, state, folder, scratch) = (dir("driver").join("driver"), dir("driver-state"), dir("folder"), dir("s"));
    // A bare environment is one of the things it is judged in, so what it does stands in itself.
    let net = fs::read_link("/proc/self/ns/net").unwrap();
    let script = if kind == "extended" { "judge/extended.sh" } else { "judge/driver.sh" };
    let mut text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(script)).unwrap();
    let flat = Path::new(env!("CARGO_MANIFEST_DIR")).join("judge/flat.pl");
    let words = [
        ("@FLAT@", text_of(&flat)),
        ("@KIND@", kind),
        ("@LIE@", lie),
        ("@STATE@", text_of(&state)),
        ("@NET@", text_of(&net)),
        ("@FOLDER@", text_of(&folder)),
    ];
    for (word, value) in words {
        text = text.replace(word, value);
    }
    fs::write(&driver, text).unwrap();
    fs::set_permissions(&driver, PermissionsExt::from_mode(0o755)).unwrap();
    let volume = bed.sandbox.path().join("volume.json");
    let described = match kind {
        "extended" => json!({"create": {}, "fsType": "xfs", "bytes": 300 << 20}),
        _ => json!({
            "options": {"folder": folder},
            "second": {"folder": dir("second")},
            "fsType": "ext4",
            "secrets": {"password": "correct horse battery staple"},
        }),
    };
    fs::write(&volume, described.to_string()).unwrap();
    let hangs = ["answer.in-time", "waitforattach.strange"].contains(&lie);
    let mut command = bed.command(["-o", "json", "check", "--timeout", if hangs { "3s" } else { "1m" }, "--options"]);
    command.arg(&volume).arg("--scratch").arg(&scratch).args(asked(kind, lie));
    let ran = Ran::of(command.arg(&driver).output().unwrap());
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert_eq!(ran.code, i32::from(!report["fit"].as_bool().unwrap()), "{ran:?}");
    assert!(!ran.stdout.contains("battery staple"), "a secret is in the report");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "{lie}: the judge left something: {}", report["left"]);
    // A volume without an id can be deleted by nobody.
    let left = report["left"].as_array().unwrap();
    assert!(left.is_empty() || lie == "provision.creates", "{lie}: {left:?}");
    // What the driver left elsewhere is the driver's.
    bed.sandbox.unmount_all().unwrap();
    for bound in bed.sandbox.loops().unwrap() {
        bound.detach().unwrap();
    }
    Some(report)
}

fn is_there(tool: &str) -> bool {
    // Each of them says its version; how it exits is its own affair.
    Command::new(tool).arg("-V").output().is_ok()
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
    let is_skipped = |finding: &&Value| finding["outcome"] == "skipped" && !is_of_the_moment(finding);
    let all = report["findings"].as_array().unwrap().iter().filter(is_skipped);
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
        "expandfs.again",
        "expandfs.grows",
        "isattached.true",
        "kill.attach",
        "kill.detach",
        "kill.mountdevice",
        "kill.unmountdevice",
        "mountdevice.again",
        "mountdevice.mounts",
        "unmount.shut-down",
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
        "secrets.argv",
        "secrets.injection",
        "together.volumes",
        "unmount.dead",
        "unmount.stacked",
    ];
    clean("attached", &hosts);
}

#[test]
fn a_clean_driver_with_every_extension_is_fit() {
    clean("extended", &[]);
}

/// Who answers "In progress", takes snapshots that are not ready, and whose pool is nearly full, is fit for all that.
#[test]
fn a_slow_driver_is_waited_for() {
    for honest in ["progress", "full"] {
        let Some(report) = judged("extended", honest) else { return };
        assert_eq!(failed(&report), Vec::<&str>::new(), "{report:#}");
        assert_eq!(report["fit"], true);
    }
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
                    if failed(&report) != [check_of(lie)] {
                        let all = report["findings"].as_array().unwrap().iter();
                        let told: Vec<_> =
                            all.filter(|one| one["name"] == check_of(lie) || one["outcome"] == "failed").collect();
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

#[test]
fn who_serves_extensions_and_lies_is_found_out() {
    found_out("extended", EXTENDED);
}
