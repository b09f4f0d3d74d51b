//! What the command is asked that makes no sense: refused in words before anything is served or printed.

use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use flexvolume_testkit::scripted::{Answer, Script};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::command::{Bed, Ran};

fn says(attach: bool, extensions: &[&str]) -> Script {
    let init = json!({"status": "Success", "capabilities": {"attach": attach}, "extensions": extensions});
    Script::sh().on("init", Answer::json(&init)).otherwise(Answer::success())
}

fn bed() -> Option<Bed> {
    let bed = Bed::new()?;
    bed.script("v/direct", says(false, &[]));
    bed.script("v/local", says(true, &["local", "provision"]));
    bed.script("v/plain", says(true, &["provision"]));
    bed.sandbox.dir("kubelet").unwrap();
    Some(bed)
}

#[test]
fn what_makes_no_sense_is_not_served() {
    let Some(bed) = bed() else { return };
    let kubelet = bed.sandbox.path().join("kubelet").display().to_string();
    for (line, words) in [
        ("--driver v/direct --attach controller", "attaches nothing"),
        ("--driver v/plain --driver v/direct --attach controller", "v/direct, which attaches nothing"),
        ("--driver v/local --attach controller", "live on one node"),
        ("--driver v/direct --serve controller", "nothing that a controller could do"),
        ("--driver v/plain --serve controller --allow-inline size", "--allow-inline is for the node's part"),
        ("--driver v/direct --allow-inline flexvol/id", "the host's own"),
        ("--driver v/direct --name v/plain=x.example.com", "v/plain, which is not served"),
        ("--driver v/direct --name v/direct=x --name v/direct=y", "two names"),
        ("--all --name v/direct=x --name v/plain=x", "would both be called x"),
        ("--driver v/direct --driver v/plain --endpoint /x/s", "there are several drivers"),
        ("--driver v/direct --endpoint unix://x", "unix://x is no absolute path of a socket"),
        ("--driver v/direct --kubelet-dir /none/such", "there is no such folder"),
    ] {
        let mut args = vec!["csi", "--kubelet-dir", &kubelet];
        if line.contains("--kubelet-dir") {
            args.truncate(1);
        }
        args.extend(line.split(' '));
        bed.run(args).fails(2, &[words, "hint: "]);
    }
    // What clients show would be taken for ours there.
    let within = bed.sandbox.root().join("clients");
    fs::create_dir_all(&within).unwrap();
    let within = within.display().to_string();
    bed.run(["csi", "--driver", "v/direct", "--kubelet-dir", &within]).fails(2, &["own root", "hint: "]);
}

/// Who serves there and is stopped answers nobody, and has the socket all the same.
#[test]
fn a_socket_of_one_who_hangs_is_taken() {
    let Some(mut bed) = crate::bed::Bed::of("tmpfs") else { return };
    let pid = Pid::from_raw(bed.pid().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let mut second = bed.command.command(bed.arguments()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while second.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // It would serve for ever.
    let serves = second.try_wait().unwrap().is_none();
    second.kill().unwrap();
    kill_process(pid, Signal::CONT).unwrap();
    assert!(!serves, "a second bridge has taken the socket");
    Ran::of(second.wait_with_output().unwrap()).fails(1, &["somebody else answers at", "end that first"]);
    bed.until_it_answers();
    bed.assert_clean();
}

#[test]
fn what_makes_no_sense_is_not_printed() {
    let Some(bed) = bed() else { return };
    for (line, code, words) in [
        ("v/nobody", 3, "v/nobody"),
        ("v/direct --attach controller", 2, "attaches nothing"),
        ("v/local --attach controller", 2, "live on one node"),
        ("v/direct --secrets", 2, "needs no sidecar"),
        ("v/direct --namespace Kube_System", 2, "--namespace"),
        ("v/direct --allow-inline ,", 2, "without a name"),
        ("v/direct --name Box", 2, "no domain name"),
    ] {
        let ran = bed.run(["csi", "manifests", "--image", "i"].into_iter().chain(line.split(' ')));
        ran.fails(code, &[words, "hint: "]);
        assert_eq!(ran.stdout, "", "{line}");
    }
    let deep = format!("/{}", "k".repeat(90));
    bed.run(["csi", "manifests", "v/direct", "--image", "i", "--kubelet-dir", &deep])
        .fails(2, &["more than 107 bytes"]);
}

/// It is a matter of the flags and the driver: the shell it is printed in has folders of its own.
#[test]
fn manifests_take_nothing_from_the_shell() {
    let Some(bed) = bed() else { return };
    let own = bed.sandbox.path().display().to_string();
    for driver in ["v/direct", "v/local", "v/plain"] {
        let line = ["csi", "manifests", driver, "--image", "i"];
        let printed = bed.ok(line);
        assert!(!printed.contains(&own), "{printed}");
        let plugins = bed.sandbox.plugins().display().to_string();
        let printed = bed.ok(line.into_iter().chain(["--plugin-dir", &plugins]));
        assert!(printed.contains(&format!("- {plugins}")), "what is said is said: {printed}");
    }
}
