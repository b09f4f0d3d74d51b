//! `flexvol doctor` on real faults: one broken driver for each, healed by the very command that is printed.

mod machine;
mod volumes;

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use flexvolume_testkit::skip;
use serde_json::Value;

use crate::bed::{Bed, Ran};

/// A driver in plain sh in which there is nothing to be found.
pub(crate) const GOOD: &str = r#"#!/bin/sh
case "$1" in
init) echo '{"status": "Success", "capabilities": {"attach": false}}' ;;
mount) mount -t tmpfs none "$2" >/dev/null 2>&1 && echo '{"status": "Success"}' ;;
unmount) umount "$2" >/dev/null 2>&1; echo '{"status": "Success"}' ;;
*) echo '{"status": "Not supported"}' ;;
esac
"#;

/// One finding, as programs see it.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) group: String,
    pub(crate) severity: String,
    pub(crate) check: String,
    pub(crate) about: String,
    /// Seen, why and mend on one line.
    pub(crate) words: String,
    pub(crate) run: Vec<String>,
}

/// What the doctor finds, and the exit code.
pub(crate) fn examined(bed: &Bed, drivers: &[&str]) -> (i32, Vec<Finding>) {
    let ran = bed.run([&["-o", "json", "doctor"], drivers].concat());
    (ran.code, findings(&ran))
}

pub(crate) fn findings(ran: &Ran) -> Vec<Finding> {
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    for finding in report["findings"].as_array().unwrap() {
        let (group, check) = (text(finding, "group"), text(finding, "check"));
        assert!(is_in_the_book(&group, &check), "docs/doctor.md does not list the check {check} of {group}");
    }
    let findings = report["findings"].as_array().unwrap().iter().map(|finding| Finding {
        group: text(finding, "group"),
        severity: text(finding, "severity"),
        check: text(finding, "check"),
        about: text(finding, "about"),
        words: ["seen", "why", "mend"].map(|key| text(finding, key)).join(" | "),
        run: finding["run"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect(),
    });
    findings.collect()
}

/// Whether the book's table of checks has this one: programs compare it.
fn is_in_the_book(group: &str, check: &str) -> bool {
    let page = include_str!("../../docs/doctor.md");
    let mut rows =
        page.lines().filter(|line| line.starts_with(&format!("| `{group}` |")) || line.starts_with("| any |"));
    rows.any(|row| row.contains(&format!("`{check}`")))
}

/// The finding of that check about that subject.
pub(crate) fn of<'a>(findings: &'a [Finding], check: &str, about: &str) -> &'a Finding {
    let found = findings.iter().find(|finding| finding.check == check && finding.about.contains(about));
    found.unwrap_or_else(|| panic!("no {check} about {about} in {findings:#?}"))
}

/// What is worse than in order.
pub(crate) fn bad(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.severity != "ok").collect()
}

/// Types a command as a person would.
pub(crate) fn type_in(bed: &Bed, command: &str) {
    let output = Command::new("/bin/sh").args(["-c", command]).envs(bed.env()).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Puts a file into a driver's directory.
pub(crate) fn put(bed: &Bed, driver: &str, file: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
    let folder = bed.sandbox.dir(&format!("plugins/{}", driver.replace('/', "~"))).unwrap();
    let path = folder.join(file);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn dash_is_sh() -> bool {
    let dash = fs::canonicalize("/bin/sh").is_ok_and(|shell| shell.ends_with("dash"));
    if !dash {
        skip("/bin/sh is not dash here");
    }
    dash
}

/// The finding is there, and nothing is once its command was typed.
fn healed_by_its_command(bed: &Bed, driver: &str, severity: &str, check: &str, words: &[&str]) {
    let (code, findings) = examined(bed, &[driver]);
    assert_eq!(code, i32::from(severity == "problem"), "{findings:#?}");
    let found = of(&findings, check, driver);
    assert_eq!(found.severity, severity, "{found:?}");
    for word in words {
        assert!(found.words.contains(word), "no {word:?} in {found:?}");
    }
    assert_eq!(bad(&findings).len(), 1, "told once: {findings:#?}");
    assert!(!found.run.is_empty(), "{found:?}");
    found.run.iter().for_each(|command| type_in(bed, command));
    let (code, after) = examined(bed, &[driver]);
    assert!(code == 0 && bad(&after).is_empty(), "after {:?}: {after:#?}", found.run);
}

#[test]
fn a_healthy_driver_has_nothing_to_be_found() {
    let Some(bed) = Bed::with_drivers() else { return };
    put(&bed, "v/good", "good", GOOD, 0o755);
    let (code, findings) = examined(&bed, &["v/good", "flexvol.io/tmpfs", "flexvol.io/loopback"]);
    assert!(code == 0 && bad(&findings).is_empty(), "{findings:#?}");
    assert!(of(&findings, "init", "v/good").words.contains("direct"), "{findings:#?}");
    let text = bed.ok(["doctor", "v/good"]);
    assert_eq!(
        text,
        "In order: drivers (flexvol doctor -v shows what was looked at)\n0 problems, 0 warnings, 0 notes\n"
    );
    assert!(bed.ok(["-v", "doctor", "v/good"]).contains("v/good: init: Success in"));
}

#[test]
fn what_a_command_mends_is_mended_by_the_command_that_is_printed() {
    let Some(bed) = Bed::new() else { return };
    put(&bed, "v/crlf", "crlf", GOOD.replace('\n', "\r\n"), 0o755);
    healed_by_its_command(&bed, "v/crlf", "problem", "lineEnds", &["carriage return"]);
    put(&bed, "v/halfcrlf", "halfcrlf", GOOD.replace("#!/bin/sh\n", "#!/bin/sh -e\r\n"), 0o755);
    healed_by_its_command(&bed, "v/halfcrlf", "problem", "lineEnds", &["one line ends"]);
    put(&bed, "v/mode", "mode", GOOD, 0o644);
    healed_by_its_command(&bed, "v/mode", "problem", "start", &["not executable"]);
    put(&bed, "v/mark", "mark", format!("\u{feff}{GOOD}"), 0o755);
    healed_by_its_command(&bed, "v/mark", "problem", "start", &["byte-order mark"]);
    put(&bed, "v/named", "named.sh", GOOD, 0o755);
    healed_by_its_command(&bed, "v/named", "problem", "file", &["named.sh", "must be called named"]);
    put(&bed, "v/open", "open", GOOD, 0o777);
    healed_by_its_command(&bed, "v/open", "problem", "trust", &["written to by others", "not run"]);
    put(&bed, "v/beside", "beside", GOOD, 0o755);
    put(&bed, "v/beside", "settings", "x", 0o666);
    healed_by_its_command(&bed, "v/beside", "warning", "beside", &["settings can be written"]);
    if dash_is_sh() {
        let text = GOOD.replace("case \"$1\" in\n", "if [[ -z $1 ]]; then exit 1; fi\ncase \"$1\" in\n");
        put(&bed, "v/dash", "dash", text, 0o755);
        healed_by_its_command(&bed, "v/dash", "problem", "dash", &["line 2: [[", "written for bash"]);
        put(&bed, "v/echo", "echo", GOOD.replace("echo '{", "echo -ne '{"), 0o755);
        healed_by_its_command(&bed, "v/echo", "problem", "dash", &["echo -e"]);
    }
}

#[test]
fn what_cannot_be_started_is_told_in_words() {
    let Some(bed) = Bed::new() else { return };
    put(&bed, "v/gone", "gone", GOOD.replace("#!/bin/sh", "#!/usr/bin/no-such-shell"), 0o755);
    put(&bed, "v/env", "env", "#!/usr/bin/env no-such-python\n", 0o755);
    put(&bed, "v/empty", "empty", "", 0o755);
    let machine = |number: u16, loader: &str| {
        let mut program = fs::read("/bin/true").unwrap();
        program[18..20].copy_from_slice(&number.to_le_bytes());
        let at = program.windows(5).position(|bytes| bytes == b"/lib6" || bytes == b"/lib/").unwrap_or(0);
        if !loader.is_empty() && at > 0 {
            program[at..at + loader.len()].copy_from_slice(loader.as_bytes());
        }
        program
    };
    let own = u16::from_le_bytes(fs::read("/bin/true").unwrap()[18..20].try_into().unwrap());
    put(&bed, "v/other", "other", machine(if own == 183 { 62 } else { 183 }, ""), 0o755);
    put(&bed, "v/loader", "loader", machine(own, "/nix"), 0o755);
    let folder = bed.sandbox.dir("plugins/v~dangling").unwrap();
    symlink("/nowhere/driver", folder.join("dangling")).unwrap();
    bed.sandbox.dir("plugins/v~bare").unwrap();
    let (code, findings) = examined(&bed, &[]);
    assert_eq!(code, 1);
    for (driver, check, words) in [
        ("v/gone", "start", "interpreter /usr/bin/no-such-shell"),
        ("v/env", "interpreter", "no-such-python"),
        ("v/empty", "start", "empty"),
        ("v/other", "start", "built for"),
        ("v/loader", "start", "its loader /nix"),
        ("v/dangling", "file", "/nowhere/driver"),
        ("v/bare", "file", "directory is empty"),
    ] {
        let found = of(&findings, check, driver);
        assert!(found.severity == "problem" && found.words.contains(words), "{found:?}");
        assert_eq!(findings.iter().filter(|finding| finding.about == driver).count(), 1, "{driver} is told once");
    }
}

#[test]
fn what_a_driver_prints_is_held_against_the_contract() {
    let Some(bed) = Bed::new() else { return };
    let answering =
        |name: &str, body: &str| put(&bed, &format!("v/{name}"), name, format!("#!/bin/sh\n{body}\n"), 0o755);
    answering("noise", "echo \"starting $1\"\necho '{\"status\": \"Success\", \"capabilities\": {\"attach\": false}}'");
    answering("status", "echo '{\"status\": \"success\"}'");
    let later = "case $1 in\ninit) echo '{\"status\": \"Success\"}' ;;\n*) echo '{\"status\": \"SUCCESS\"}' ;;\nesac";
    answering("later", later);
    answering("silent", "exit 3");
    answering("usage", "echo usage: usage VERB");
    answering("exit", "echo '{\"status\": \"Success\"}'\nexit 1");
    answering("shape", "echo '{\"status\": \"Success\", \"capabilities\": {\"attach\": \"false\"}}'");
    answering("unknown", "echo '{\"status\": \"Not supported\"}'");
    answering("failure", "echo '{\"status\": \"Failure\", \"message\": \"no ceph here\"}'");
    let (code, findings) = examined(&bed, &[]);
    assert_eq!(code, 1);
    for (driver, severity, check, words) in [
        ("v/noise", "warning", "noise", &["standard output: starting init", "Kubernetes", "(line 2)"][..]),
        ("v/status", "problem", "status", &["\"success\"", "line 2", "\"Success\""]),
        ("v/later", "warning", "status", &["\"SUCCESS\"", "line 4", "\"Success\""]),
        ("v/silent", "problem", "init", &["printed nothing", "exit code 3"]),
        ("v/usage", "problem", "init", &["no JSON", "usage: usage VERB"]),
        ("v/exit", "problem", "init", &["exit code 1", "exit with 0"]),
        ("v/shape", "problem", "init", &["malformed", "attach"]),
        ("v/unknown", "problem", "init", &["does not know init"]),
        ("v/failure", "problem", "init", &["no ceph here"]),
    ] {
        let found = of(&findings, check, driver);
        assert_eq!(found.severity, severity, "{found:?}");
        for word in words {
            assert!(found.words.contains(word), "no {word:?} in {found:?}");
        }
    }
    // The same answer where the settings want it read as Kubernetes reads it.
    let config = bed.sandbox.path().join("flexvol.json");
    fs::write(&config, r#"{"drivers": {"v/noise": {"strict": true}, "v/nosie": {}}}"#).unwrap();
    let (_, findings) = examined(&bed, &[]);
    assert_eq!(of(&findings, "noise", "v/noise").severity, "problem");
    assert!(of(&findings, "driver", "flexvol.json").words.contains("v/nosie"), "a misspelt name in the settings");
    fs::write(&config, "{").unwrap();
    let (code, findings) = examined(&bed, &[]);
    assert!(code == 1 && of(&findings, "settings", "flexvol.json").severity == "problem");
    assert_eq!(of(&findings, "noise", "v/noise").severity, "warning", "the rest is looked at all the same");
}

#[test]
fn helpers_that_are_not_there_are_told_by_line() {
    let Some(bed) = Bed::new() else { return };
    let text = GOOD.replace(
        "mount) ",
        "mount) SIZE=$(echo \"$3\" | no-such-jq -r .size)\n       if [ -n \"$SIZE\" ]; then no-such-tool; fi\n       command -v no-such-lvs && no-such-lvs\n       helper-beside\n       ",
    );
    put(&bed, "v/jq", "jq", &text, 0o755);
    put(&bed, "v/jq", "helper-beside", "#!/bin/sh\n", 0o755);
    let (code, findings) = examined(&bed, &["v/jq"]);
    assert_eq!(code, 1);
    let helpers: Vec<_> = findings
        .iter()
        .filter(|finding| finding.check == "helper")
        .map(|f| (f.severity.as_str(), f.words.as_str()))
        .collect();
    assert_eq!(helpers.len(), 3, "{helpers:#?}");
    for (severity, words) in [
        ("problem", "line 4 calls no-such-jq"),
        ("problem", "line 7 calls helper-beside"),
        ("warning", "line 5 calls no-such-tool in some case"),
    ] {
        assert!(helpers.iter().any(|(s, w)| *s == severity && w.contains(words)), "{severity} {words} in {helpers:#?}");
    }
    assert!(of(&findings, "helper", "v/jq").words.len() > 10);
    assert!(findings.iter().any(|finding| finding.words.contains("$(dirname \"$0\")/helper-beside")), "{findings:#?}");
    assert!(of(&findings, "optional", "v/jq").words.contains("no-such-lvs"));
    // With the helper in place there is nothing left to say of it.
    let bin = bed.sandbox.dir("bin").unwrap();
    for tool in ["no-such-jq", "no-such-tool", "no-such-lvs", "helper-beside"] {
        fs::copy("/bin/true", bin.join(tool)).unwrap();
    }
    let path = format!("{}:{}", std::env::var("PATH").unwrap(), bin.display());
    let output = bed.command(["doctor", "v/jq"]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_no_host_takes_for_a_driver_is_told() {
    let Some(bed) = Bed::new() else { return };
    let plugins = bed.sandbox.plugins();
    put(&bed, "v/good", "good", GOOD, 0o755);
    put(&bed, "a~b~c", "b-c", GOOD, 0o755);
    put(&bed, ".hidden~x", "x", GOOD, 0o755);
    fs::write(plugins.join("stray.sh"), GOOD).unwrap();
    fs::write(plugins.join("README"), "nothing to see").unwrap();
    symlink(plugins.join("v~good"), plugins.join("w~good")).unwrap();
    let (code, findings) = examined(&bed, &[]);
    assert_eq!(code, 1);
    assert_eq!(of(&findings, "hidden", ".hidden~x").severity, "note");
    assert!(findings.iter().all(|finding| !finding.about.contains("README")), "{findings:#?}");
    for (check, about, then) in [("name", "a~b~c", "a/b-c"), ("link", "w~good", "w/good")] {
        let found = of(&findings, check, about);
        assert_eq!(found.severity, "problem");
        type_in(&bed, &found.run[0]);
        assert_eq!(examined(&bed, &[then]).0, 0, "{then} after {:?}", found.run);
    }
    let stray = of(&findings, "misplaced", "stray.sh");
    assert!(stray.severity == "warning" && stray.run[0].contains("--as VENDOR/stray"), "{stray:?}");
    // A driver that is asked for by name and is not there.
    let (code, findings) = examined(&bed, &["v/goood"]);
    assert!(code == 1 && of(&findings, "file", "v/goood").words.contains("did you mean v/good"), "{findings:#?}");
    bed.run(["doctor", "../x"]).fails(2, &["driver name"]);
}

/// A tree with its own root: of each type and mode, size, time of change, owner, content. A file that was made and taken
/// away again shows in its directory's time.
fn tree(path: &Path, into: &mut BTreeMap<PathBuf, String>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let content = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
    let about = (meta.mode(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.uid(), meta.ino());
    into.insert(path.to_owned(), format!("{about:?} {content:?}"));
    if meta.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| tree(&entry.unwrap().path(), into));
    }
}

#[test]
fn it_changes_nothing() {
    let Some(bed) = Bed::with_drivers() else { return };
    put(&bed, "v/good", "good", GOOD, 0o755);
    put(&bed, "v/bad", "bad.sh", GOOD, 0o644);
    let file = bed.manifest("pod.yaml", &crate::bed::pod("web", &[("one", "{driver: v/good}")]));
    bed.ok(["up", &file]);
    let state = || {
        let mut files = BTreeMap::new();
        tree(&bed.sandbox.root(), &mut files);
        tree(&bed.sandbox.plugins(), &mut files);
        let mounts: Vec<_> = bed.sandbox.mounts().unwrap().into_iter().map(|mount| format!("{mount:?}")).collect();
        (files, mounts, bed.sandbox.loops().unwrap().len())
    };
    let before = state();
    assert_eq!(examined(&bed, &[]).0, 1);
    assert!(state() == before, "something was changed");
    bed.ok(["down", "--all"]);
    bed.assert_clean();

    // A root, settings and plugins that are not there are not made.
    let nowhere = bed.sandbox.path().join("nowhere");
    let run = |args: &[&str]| {
        bed.command(args).env("FLEXVOL_ROOT", &nowhere).env("FLEXVOL_PLUGIN_DIR", &nowhere).output().unwrap()
    };
    assert!(run(&["doctor"]).status.success());
    assert!(!nowhere.exists());
}

#[test]
fn inits_run_side_by_side_and_one_that_hangs_delays_no_other() {
    let Some(bed) = Bed::new() else { return };
    // The first waits for a file that only the last one makes, and the last for the first's: in turn neither would answer.
    let waits = |own: &str, other: &str| {
        let dir = bed.sandbox.path().display();
        let meet = format!("touch {dir}/{own}; while [ ! -e {dir}/{other} ]; do sleep 0.02; done\ncase");
        GOOD.replacen("case", &meet, 1)
    };
    put(&bed, "v/a", "a", waits("a", "z"), 0o755);
    put(&bed, "v/z", "z", waits("z", "a"), 0o755);
    put(&bed, "v/hang", "hang", "#!/bin/sh\nsleep 1000\n", 0o755);
    let limits = r#"{"drivers": {"v/hang": {"limits": {"init": {"answer": 0.2, "kill": 1}}}}}"#;
    fs::write(bed.sandbox.path().join("flexvol.json"), limits).unwrap();
    let ran = bed.run(["-o", "json", "doctor"]);
    let findings = findings(&ran);
    for name in ["v/a", "v/z"] {
        assert_eq!(of(&findings, "init", name).severity, "ok", "{findings:#?}");
    }
    let hang = of(&findings, "init", "v/hang");
    assert!(hang.severity == "problem" && hang.words.contains("did not answer init within"), "{hang:?}");
    assert!(ran.stderr.contains("v/hang is still running init"), "{ran:?}");
}
