//! Every output of every verb, with drivers that tell all they know in their message, their device, around their answer and in
//! place of one.

use std::{io::Write, process::Stdio};

use flexvolume_testkit::{
    needles::Needles,
    scripted::{Answer, Script},
};
use serde_json::json;

use super::{Case, direct, six};
use crate::bed::{Bed, Ran, pod};

/// Says the noise on standard error, then what is in the file on standard output.
fn says(noise: &str, file: &str, code: u8) -> String {
    format!("cat '{noise}' >&2; cat '{file}'; _end {code}")
}

/// Tells everything it knows in each of its answers, in each place of one.
fn talker(case: &Case) -> Script {
    let everything = case.everything();
    let told = String::from_utf8_lossy(&everything).into_owned();
    let raw = String::from_utf8_lossy(&case.secret).into_owned();
    let noise = case.said("noise", &everything);
    let answer = |name: &str, value: serde_json::Value| case.said(name, value.to_string().as_bytes());
    let failure = answer("failure", json!({"status": "Failure", "message": told, "code": raw}));
    let odd = answer("odd", json!({"status": told, "message": raw}));
    let misshapen = answer("misshapen", json!({"status": "Success", "capabilities": {&raw: 1, "attach": told}}));
    let success = answer("success", json!({"status": "Success", "message": told, "device": raw, "volumeName": told}));
    let fails = Answer::shell(says(&noise, &failure, 1));
    let mounts = format!("mount -t tmpfs none \"$2\"; {}", says(&noise, &success, 0));
    direct(case, &[])
        .on_each(
            "mount",
            [
                fails.clone(),
                Answer::shell(says(&noise, &noise, 0)),
                Answer::shell(says("/dev/null", &odd, 1)),
                Answer::shell(says(&noise, &misshapen, 0)),
                Answer::shell(mounts),
            ],
        )
        .on_each(
            "unmount",
            [fails.clone(), fails, Answer::shell(format!("umount \"$2\"; {}", says(&noise, &success, 0)))],
        )
}

#[test]
fn a_driver_that_tells_all_it_knows_tells_nobody() {
    for case in Case::all() {
        let driver = case.bed.script("v/direct", talker(&case));
        let file = case.manifest("v/direct");
        let shown = |ran: &Ran| {
            let words = if case.is_told() { "[redacted]" } else { "[withheld: a secret is too short" };
            assert!(
                ran.stderr.contains(words),
                "{}: the driver's words are shown without the secret: {ran:?}",
                case.name
            );
        };
        let formats: [&[&str]; 4] = [&["-vv"], &["-v", "-o", "json"], &["-vv", "-o", "yaml"], &["-v"]];
        for format in formats {
            let ran = case.run([format, &["up", &file]].concat());
            ran.fails(1, &["v/direct"]);
            shown(&ran);
            let rows = case.run(["-vv", "-o", "json", "ls"]);
            assert!(rows.stdout.contains("failed:"), "{rows:?}");
        }
        assert_eq!(case.run(["-vv", "up", &file]).code, 0);
        assert_eq!(case.run(["up", &file]).code, 0);
        for args in
            [&["ls"][..], &["-o", "yaml", "ls"], &["-v", "ls", "--usage"], &["-o", "json", "drivers"], &["drivers"]]
        {
            assert_eq!(case.run(args).code, 0, "{args:?}");
        }
        let seen = case.run(["-vv", "exec", "web", "--", "sh", "-c", "env; cat /proc/self/cmdline; ls /data/data"]);
        assert_eq!(seen.code, 0, "{seen:?}");
        // Without the manifest nobody knows the secret: then nothing that the driver says is shown.
        case.run(["-vv", "down", "web"]).fails(1, &["[withheld: the volume's secret is not at hand", "hint:"]);
        case.run(["-vv", "-o", "json", "ls"]);
        shown(case.run(["-vv", "down", &file]).fails(1, &["v/direct"]));
        assert_eq!(case.run(["-vv", "-o", "json", "down", &file]).code, 0);
        // It did get the secret, else all this proves nothing.
        let calls = driver.calls().unwrap();
        let given = |verb: &str| {
            let call = calls.iter().find(|call| call.verb() == verb).unwrap();
            case.needles.find(call.argv.join("\n").as_bytes())
        };
        assert!(given("mount").is_some());
        for verb in ["init", "unmount"] {
            assert_eq!(given(verb), None, "{verb} got the secret");
        }
        case.bed.assert_clean();
    }
}

/// A device is recorded and shown: one that holds a secret is refused, also where the driver knows it from before only.
#[test]
fn a_device_is_no_place_for_a_secret() {
    for case in Case::all().filter(Case::is_told) {
        for extensions in [&[][..], &["stdin"]] {
            let raw = String::from_utf8_lossy(&case.secret).into_owned();
            let init = json!({"status": "Success", "extensions": extensions});
            let device = |text: String| Answer::json(&json!({"status": "Success", "device": text}));
            let script = Script::sh()
                .on("init", Answer::json(&init))
                .on_each("attach", [device(raw.clone()), device("/dev/none".into())])
                .on("waitforattach", device(format!("/dev/disk/by-id/{raw}")))
                .on("detach", Answer::success());
            case.bed.script("v/disk", script);
            let file = case.manifest("v/disk");
            for _ in 0..2 {
                case.run(["-vv", "up", &file]).fails(1, &["a device that is too long or holds a secret"]);
                case.run(["-vv", "-o", "json", "ls"]);
            }
            assert_eq!(case.run(["-vv", "down", &file]).code, 0);
            case.bed.assert_clean();
        }
    }
}

/// The half that it had written when it was ended is no less a secret.
#[test]
fn a_driver_that_is_ended_in_the_middle_of_a_secret_tells_nobody() {
    let init = r#"{"limits": {"mount": {"answer": 0.2, "kill": 0.4}}}"#;
    for case in Case::all() {
        case.bed.manifest("flexvol.json", &format!("{{\"defaults\": {init}}}"));
        let half = [&case.everything()[..], &case.secret[..case.secret.len() / 2]].concat();
        let half = case.said("half", &half);
        case.bed
            .script("v/direct", direct(&case, &[]).on("mount", Answer::shell(format!("cat '{half}' >&2; sleep 60"))));
        let file = case.manifest("v/direct");
        let words = if case.is_told() { "[redacted]" } else { "[withheld: " };
        case.run(["-vv", "up", &file]).fails(1, &["did not answer mount within", "it said:", words]);
        case.run(["-o", "yaml", "ls"]);
        assert_eq!(case.run(["down", &file]).code, 0);
        case.bed.assert_clean();
    }
}

/// What is typed is on the caller's own command line already; what is shown is often pasted elsewhere.
#[test]
fn a_call_by_hand_shows_no_secret_of_its_options() {
    for case in Case::all() {
        let driver = case.bed.script("v/direct", talker(&case).records_stdin());
        let options = json!({"kubernetes.io/secret/password": super::base64(&case.secret), "user": "ann"}).to_string();
        for format in ["table", "json", "yaml"] {
            let ran = case.run(["-vv", "-o", format, "call", "v/direct", "mount", "/nowhere/at/all", &options]);
            assert!(ran.code == 0 && (ran.stdout.contains("[redacted]") || !case.is_told()), "{ran:?}");
        }
        let mut child = case
            .bed
            .command(["-vv", "call", "v/direct", "mount", "/nowhere/at/all", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(options.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        for text in [&output.stdout, &output.stderr] {
            case.assert_not_in(text, "call with options on standard input");
        }
        assert!(case.needles.find(driver.calls().unwrap().last().unwrap().stdin.as_ref().unwrap()).is_some());
    }
}

/// What is wrong in a manifest is told without the values in it.
#[test]
fn manifests_that_are_wrong_and_installs_tell_no_secret() {
    for case in Case::all().filter(|case| case.name != "binary") {
        case.bed.script("v/direct", direct(&case, &[]));
        let value = std::str::from_utf8(&case.secret).unwrap();
        let good = case.secret("keys", "v/direct");
        let with = |field: &str, value: serde_json::Value| {
            let mut secret = good.clone();
            secret[field] = value;
            secret.to_string()
        };
        let pod = pod("web", &[("data", "{driver: v/direct, secretRef: {name: keys}}")]);
        for (secret, code) in [
            (with("data", json!({"password": value})), 2),
            (with("data", json!(value)), 2),
            (with("stringData", json!({"password": {value: 1}})), 2),
            (with("stringData", json!({"password": [value]})), 2),
            (with("type", json!("v/other")), 2),
            (format!("{}: broken", good.to_string().trim_end_matches('}')), 2),
            (good.to_string().replace("v1", "v9"), 2),
            (with("stringData", json!({"password": value})), 0),
        ] {
            let file = case.bed.manifest("pod.yaml", &format!("---\n{secret}\n---\n{pod}"));
            // Some of the six are base64 by chance of their letters: then there is nothing wrong.
            let ran = case.run(["-vv", "up", &file]);
            assert_eq!(ran.code, code, "{}: {secret:.300} {ran:?}", case.name);
            case.run(["-vv", "-o", "json", "down", &file]);
        }
        let exe = case.bed.sandbox.plugins().join("v~direct/direct");
        assert_eq!(case.run(["-vv", "-o", "json", "install", exe.to_str().unwrap(), "--as", "v/again"]).code, 0);
        case.bed.assert_clean();
    }
}

/// The control: a way that leaks is seen, in each of the six.
#[test]
fn what_leaks_is_seen() {
    let Some(bed) = Bed::new() else { return };
    for (name, secret) in six() {
        let case = Case::new(name, secret, Bed::new().unwrap());
        let shown = case.said("shown", &case.everything());
        case.bed.script("v/direct", Script::sh().on("init", Answer::shell(format!("cat '{shown}' >&2; _end 1"))));
        // Nobody told flexvol of a secret: it shows what the driver says.
        let ran = case.bed.run(["-vv", "drivers"]);
        assert!(case.needles.find(ran.stderr.as_bytes()).is_some(), "{name}: {ran:?}");
        let run = case.bed.sandbox.dir("run/deep/er").unwrap();
        std::fs::write(run.join("record"), [b"{\"key\":\"", &case.secret[..], b"\"}"].concat()).unwrap();
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.assert_not_in_files()));
        assert!(seen.is_err(), "{name} in a file");
        assert_eq!(Needles::of(b"another secret than this").find(ran.stderr.as_bytes()), None);
    }
    drop(bed);
}
