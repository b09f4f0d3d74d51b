//! A secret is nowhere but where the driver gets it: not in output, log, ledger, and not in argv where the driver spares it.

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Stdio, time::Duration};

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

use crate::{
    bed::{Bed, pod},
    scripts::{direct, tool, until},
};

/// Secrets of every shape; none holds a part that anything else would print by chance.
const MARKERS: [&str; 5] = [
    "Zq7-plain-marker-Vx3",
    "Zq8 \"quoted\" \\back\\slash $HOME `id` 'and' %41 <tag> & Vx4",
    "Zq9-first-line-of-a-key\nZq9-second-line-of-a-key\nZq9-third-line-of-a-key\n",
    "Zq10-ümlaut-und-\u{2028}-Vx5",
    "  Zq11-blanks-around-it-Vx6  ",
];

/// A Secret of the driver's type with this value, and a pod that uses it.
fn manifest(bed: &Bed, value: &str) -> String {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "type": "v/direct",
        "stringData": {"password": value},
    });
    let pod = pod("web", &[("data", "{driver: v/direct, secretRef: {name: keys}, options: {user: ann}}")]);
    bed.manifest("pod.yaml", &format!("---\n{secret}\n---\n{pod}"))
}

/// What must be found nowhere: the value, its lines, and what programs make of them.
fn needles(value: &str) -> Vec<String> {
    let mut all = Vec::new();
    let lines = value.lines().filter(|line| line.len() > 3);
    for text in [value, value.trim()].into_iter().chain(lines) {
        for before in ["", "x", "xy"] {
            let base64 = base64(&format!("{before}{text}"));
            // The first group depends on what precedes, the last on what follows.
            let whole = base64.trim_end_matches('=');
            let part = &whole[if before.is_empty() { 0 } else { 4 }..whole.len() - 2];
            all.extend([part.to_owned(), part.replace('+', "-").replace('/', "_")]);
        }
        all.push(text.bytes().map(|byte| format!("%{byte:02x}")).collect());
        all.push(text.bytes().map(|byte| format!("{byte:02x}")).collect());
        all.push(text.bytes().map(|byte| format!("{byte:02X}")).collect());
        let quoted = json!(text).to_string();
        all.push(quoted[1..quoted.len() - 1].to_owned());
        all.push(text.to_owned());
    }
    all.sort();
    all.dedup();
    all
}

fn base64(text: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    tool("base64", &["-w0", file.path().to_str().unwrap()])
}

fn assert_none(needles: &[String], text: &[u8], what: &str) {
    let text = String::from_utf8_lossy(text);
    for needle in needles {
        assert!(!text.contains(needle.as_str()), "{needle:?} in {what}:\n{text}");
    }
}

/// Every file beneath the root that lies on the root's own disk.
fn assert_none_in_files(needles: &[String], dir: &Path) {
    let device = fs::metadata(dir).unwrap().dev();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        if meta.is_dir() && meta.dev() == device {
            assert_none_in_files(needles, &entry.path());
        } else if meta.is_file() {
            assert_none(needles, &fs::read(entry.path()).unwrap(), &entry.path().display().to_string());
        }
    }
}

/// Shell text that says all it knows on both streams: its arguments, the secret itself, and other spellings of it.
const CHATTER: &str = r#"
s=$(printf '%s' "$3" | sed -n 's/.*"kubernetes.io\/secret\/password":"\([^"]*\)".*/\1/p')
chatter() {
    echo "called with $*"
    printf '%s' "$s" | base64 -d
    echo
    printf 'user:%s@host' "$(printf '%s' "$s" | base64 -d)" | base64 -w0
    echo
    printf '%s' "$s" | base64 -d | od -An -v -tx1 | tr -d ' \n'
    echo
    printf '%s' "$s" | base64 -d | od -An -v -tx1 | tr -d '\n' | sed 's/ /%/g'
    echo
}
chatter "$@"
chatter "$@" >&2
"#;

/// The options, JSON and all, as the message of an answer.
const MESSAGE: &str = r#"m=$(printf '%s' "$3" | sed 's/\\/\\\\/g; s/"/\\"/g')"#;

fn chatty() -> Script {
    let fails = format!("{CHATTER}{MESSAGE}\nprintf '{{\"status\":\"Failure\",\"message\":\"%s\"}}\\n' \"$m\"; _end 1");
    let nonsense = format!("{CHATTER}echo no answer at all; _end 0");
    let succeeds = format!(
        "{CHATTER}{MESSAGE}\nmount -t tmpfs none \"$2\"; printf '{{\"status\":\"Success\",\"message\":\"%s\"}}\\n' \"$m\""
    );
    direct().on_each("mount", [Answer::shell(fails), Answer::shell(nonsense), Answer::shell(succeeds)])
}

#[test]
fn a_driver_that_tells_all_it_knows_tells_nobody() {
    for value in MARKERS {
        let Some(bed) = Bed::new() else { return };
        let driver = bed.script("v/direct", chatty());
        let file = manifest(&bed, value);
        let needles = needles(value);
        for (args, code) in [
            (vec!["-vv", "up", &file], 1),
            (vec!["-vv", "-o", "json", "up", &file], 1),
            (vec!["-vv", "-o", "json", "ls"], 0),
            (vec!["-vv", "up", &file], 0),
            (vec!["-o", "yaml", "ls"], 0),
            (vec!["-vv", "up", &file], 0),
            (vec!["-vv", "down", &file], 0),
        ] {
            let ran = bed.run(&args);
            assert_eq!(ran.code, code, "{args:?}: {ran:?}");
            assert_none(&needles, ran.stdout.as_bytes(), &format!("stdout of {args:?}"));
            assert_none(&needles, ran.stderr.as_bytes(), &format!("stderr of {args:?}"));
            assert_none_in_files(&needles, &bed.sandbox.root());
            if args.contains(&"up") && code == 1 {
                assert!(ran.stderr.contains("[redacted]"), "the driver's words are shown without the secret: {ran:?}");
            }
        }
        // It did get the secret, else all this proves nothing.
        let calls = driver.calls().unwrap();
        let mount = calls.iter().find(|call| call.verb() == "mount").unwrap();
        let options: serde_json::Value = serde_json::from_str(&mount.argv[2]).unwrap();
        let got = options["kubernetes.io/secret/password"].as_str().unwrap();
        assert_eq!(got, base64(value));
        for call in calls.iter().filter(|call| call.verb() != "mount") {
            assert!(!format!("{call:?}").contains(got), "{} got the secret", call.verb());
        }
        bed.assert_clean();
    }
}

#[test]
fn a_secret_that_is_too_short_to_find_withholds_the_drivers_words() {
    let Some(bed) = Bed::new() else { return };
    let talks = Answer::failure("the pin is 7q3, and other words").stderr("7q3 again");
    bed.script("v/direct", direct().on("mount", talks));
    let file = manifest(&bed, "7q3");
    let ran = bed.run(["-vv", "up", &file]);
    ran.fails(1, &["withheld"]);
    for word in ["7q3", "other words", "again"] {
        assert!(!ran.stderr.contains(word), "{ran:?}");
    }
    assert!(!bed.run(["-o", "json", "ls"]).stdout.contains("other words"));
    assert_none_in_files(&["other words".to_owned()], &bed.sandbox.root());
    bed.ok(["down", &file]);
    bed.assert_clean();
}

/// Command lines and environments of every process of the machine, ours and the test's own memory apart.
fn processes() -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            all.extend(fs::read(entry.path().join(file)).unwrap_or_default());
            all.push(b'\n');
        }
    }
    all
}

/// Brings the pod up with a driver that takes its time over `mount`, and looks at all processes meanwhile.
fn processes_during_mount(bed: &Bed, file: &str) -> (flexvolume_testkit::scripted::Scripted, Vec<u8>) {
    let stdin = bed.sandbox.path().join("stdin").exists();
    let extensions = if stdin { json!(["stdin"]) } else { json!([]) };
    let init = json!({"status": "Success", "capabilities": {"attach": false}, "extensions": extensions});
    let slow = Answer::success()
        .run(format!(
            r#"mount -t tmpfs none "$2"; while [ ! -e {}/go ]; do sleep 0.05; done"#,
            bed.sandbox.path().display()
        ))
        .sleep(Duration::from_millis(1));
    let mut script = direct().on("init", Answer::json(&init)).on("mount", slow);
    if stdin {
        script = script.records_stdin();
    }
    let driver = bed.script("v/direct", script);
    let up = bed.command(["-vv", "up", file]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("mount to be called", || driver.verbs().unwrap().contains(&"mount".to_owned()));
    let seen = processes();
    fs::write(bed.sandbox.path().join("go"), "").unwrap();
    let output = up.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    (driver, seen)
}

#[test]
fn a_driver_that_announces_stdin_gets_no_secret_in_argv() {
    let Some(bed) = Bed::new() else { return };
    fs::write(bed.sandbox.path().join("stdin"), "").unwrap();
    let value = MARKERS[0];
    let file = manifest(&bed, value);
    let (driver, seen) = processes_during_mount(&bed, &file);
    assert!(String::from_utf8_lossy(&seen).contains("v~direct/direct"), "the driver was not seen at all");
    assert_none(&needles(value), &seen, "the processes");
    let calls = driver.calls().unwrap();
    let mount = calls.iter().find(|call| call.verb() == "mount").unwrap();
    assert_eq!(mount.argv[2], "-");
    let options: serde_json::Value = serde_json::from_slice(mount.stdin.as_ref().unwrap()).unwrap();
    assert_eq!(options["kubernetes.io/secret/password"], "WnE3LXBsYWluLW1hcmtlci1WeDM=");
    assert_eq!(options["user"], "ann");
    bed.ok(["down", &file]);
    bed.assert_clean();
}

#[test]
fn a_driver_that_takes_secrets_in_argv_is_warned_of() {
    let Some(bed) = Bed::new() else { return };
    let value = MARKERS[0];
    let file = manifest(&bed, value);
    let (_, seen) = processes_during_mount(&bed, &file);
    // This is what the warning is about, and shows that the search above would find it.
    assert!(String::from_utf8_lossy(&seen).contains("WnE3LXBsYWluLW1hcmtlci1WeDM="));
    bed.ok(["down", &file]);
    let ran = bed.run(["up", &file]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("warning:") && ran.stderr.contains("takes secrets in argv"), "{ran:?}");
    bed.ok(["down", &file]);
    bed.assert_clean();
}

#[test]
fn settings_refuse_secrets_in_argv() {
    let Some(bed) = Bed::new() else { return };
    bed.manifest("flexvol.json", &json!({"drivers": {"v/direct": {"secrets": "refuse"}}}).to_string());
    let driver = bed.script("v/direct", direct());
    let file = manifest(&bed, MARKERS[0]);
    bed.run(["up", &file]).fails(4, &["takes secrets in argv", "settings refuse", "hint:"]);
    assert!(!driver.verbs().unwrap().contains(&"mount".to_owned()), "it was called all the same");
    // A volume without secrets is not concerned.
    let other = bed.manifest("other.yaml", &pod("other", &[("data", "{driver: v/direct}")]));
    bed.ok(["up", &other]);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
    fs::remove_file(bed.sandbox.path().join("flexvol.json")).unwrap();
    bed.ok(["up", &file]);
    bed.ok(["down", &file]);
    bed.assert_clean();
}
