//! What lives on after a driver's answer, and how long a driver may take over one.

use std::{fs, path::Path, process::Command, time::Duration};

use flexvolume_testkit::{
    binary,
    scripted::{Answer, Script},
    skip,
};
use serde_json::json;

use crate::{
    bed::pod,
    cases::{claimed, claiming},
    faults::Started,
    one::{MOUNT, One, UMOUNT},
    scripts::{direct, lives, pid_in, tool, until},
};

#[test]
fn w_20_a_call_may_take_as_long_as_the_settings_say_for_its_verb_and_driver() {
    // As long beside its limits as a call of two minutes is beside the usual ones.
    let slow = Answer::success().run(MOUNT).sleep(Duration::from_millis(700));
    let Some(one) = One::new(direct().on_each("mount", [slow.clone(), slow])) else { return };
    one.set(json!({"limits": {"mount": {"answer": 0.1}, "unmount": {"answer": 0.1, "kill": 0.2}}}));
    one.works("without an end").fails(0, &["still running mount"]);
    one.set(json!({"limits": {"mount": {"answer": 0.1, "kill": 0.2}}}));
    one.up().fails(1, &["did not answer mount within"]);
    // Those of another driver, or of another verb, are not its own.
    let limits = json!({"limits": {"mount": {"answer": 0.1, "kill": 0.2}}});
    one.bed.manifest("flexvol.json", &json!({"drivers": {"v/other": limits}}).to_string());
    let ran = one.works("of another driver");
    assert!(!ran.stderr.contains("still running"), "{ran:?}");
}

#[test]
fn w_28_a_daemon_left_behind_by_a_success_is_left_alone() {
    let daemon = r#"mount -t tmpfs none "$2" && { sleep 600 </dev/null >/dev/null 2>&1 & echo $! >"$_d/../pid"; }"#;
    let Some(one) = One::new(direct().on("mount", Answer::success().run(daemon))) else { return };
    one.comes("with a daemon");
    let pid = pid_in(&one.driver.exe().with_file_name("pid"));
    assert!(lives(pid));
    one.comes("again");
    one.bed.ok(["ls"]);
    assert!(lives(pid), "it was ended by a later run");
    one.goes("daemon");
    assert!(lives(pid), "the driver's own daemon is the driver's to end");
    tool("kill", &[&pid.to_string()]);
}

#[test]
fn w_28_the_server_of_a_fuse_mount_lives_as_long_as_the_mount() {
    let server = binary("hungfs").unwrap();
    let mount = format!("{} \"$2\" always", server.display());
    let Some(one) = One::new(direct().on("mount", Answer::success().run(mount))) else { return };
    one.comes("served");
    let serves = || beneath(&one.path()).len();
    assert_eq!(serves(), 1);
    one.bed.ok(["ls"]);
    one.comes("again");
    assert_eq!((serves(), one.count("mount")), (1, 1));
    let path = one.path();
    one.goes("served");
    until("the server to end by itself", || beneath(&path).is_empty());
}

/// The processes that have this path among their arguments.
fn beneath(path: &Path) -> Vec<u32> {
    let names = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == path.as_os_str().as_encoded_bytes())
    };
    names.filter(has).collect()
}

/// Answers, and then is the daemon itself.
const TURNS: &str = r#"#include <stdio.h>
#include <unistd.h>
int main(int count, char **words) {
    FILE *file = fopen(words[1], "w");
    fprintf(file, "%d\n", getpid());
    fclose(file);
    puts("{\"status\": \"Success\"}");
    fflush(stdout);
    for (;;) pause();
}
"#;

#[test]
fn w_28_an_answering_process_that_becomes_the_daemon_itself_is_believed_and_left_alone() {
    let Some(one) = One::new(Script::sh()) else { return };
    let folder = one.driver.exe().parent().unwrap();
    let [source, program, pid] = ["turns.c", "turns", "pid"].map(|name| folder.join(name));
    fs::write(&source, TURNS).unwrap();
    match Command::new("cc").arg("-o").args([&program, &source]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => return skip(&format!("cc: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => return skip(&format!("cc: {error}")),
    }
    let mount = format!("{MOUNT} || exit 1\nexec {} {}", program.display(), pid.display());
    one.bed.script("v/d", direct().on("mount", Answer::shell(mount)));
    one.set(json!({"limits": {"mount": {"answer": 0.2, "kill": 0.4}}}));
    one.comes("it answered");
    let pid = pid_in(&pid);
    assert!(lives(pid), "it was ended after its answer");
    one.comes("again");
    one.goes("the volume");
    assert!(lives(pid), "it was ended with the volume");
    tool("kill", &[&pid.to_string()]);
}

#[test]
fn w_28_as_the_first_process_of_a_container_the_host_works_beside_orphans_that_have_ended() {
    let orphan = format!("{MOUNT} && {{ (sleep 0.05 & :) ; sleep 0.3; }}");
    let Some(one) = One::new(direct().on("mount", Answer::success().run(orphan))) else { return };
    one.wants(&pod("web", &[("a", "{driver: v/d}"), ("b", "{driver: v/d}")]));
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(one.bed.exe());
    let output = command.args(["up", "--jobs", "1", &one.file]).envs(one.bed.env()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // Its mounts have gone with its namespace; the records follow.
    one.bed.ok(["down", "--all"]);
    one.bed.assert_clean();
}

/// Fails when another call for the same volume is at work, since nothing but the host keeps them apart.
fn alone(work: &str) -> Answer {
    let text =
        format!(r#"mkdir "$_d/../busy" && {{ {work} && sleep 0.05; e=$?; rmdir "$_d/../busy"; [ $e -eq 0 ]; }}"#);
    Answer::success().run(text)
}

#[test]
fn w_29_calls_of_one_volume_never_meet_though_many_commands_are_at_it() {
    let init = json!({"status": "Success"});
    let device = r#"{"status":"Success","device":"d7"}"#;
    let script = Script::bash()
        .on("init", Answer::json(&init))
        .on("attach", alone("true"))
        .on("waitforattach", Answer::text(device))
        .on("mountdevice", alone(MOUNT))
        .on("mount", alone(MOUNT))
        .on("unmount", alone(UMOUNT))
        .on("unmountdevice", alone(UMOUNT))
        .on("detach", alone("true"));
    let Some(one) = One::new(script) else { return };
    let claim = claimed("1Mi", "{driver: v/d}").replace(&claiming("web", false), "");
    let files = ["one", "two", "three"]
        .map(|name| one.bed.manifest(&format!("{name}.yaml"), &format!("{claim}{}", claiming(name, false))));
    for verb in ["up", "down"] {
        let mut all: Vec<_> = files.iter().map(|file| Started::new(&one.bed, &[verb, file])).collect();
        for command in &mut all {
            let ran = command.end();
            assert_eq!(ran.code, 0, "{verb}: {ran:?}");
        }
    }
    assert_eq!((one.count("attach"), one.count("mount"), one.count("unmount"), one.count("detach")), (1, 3, 3, 1));
    one.bed.assert_clean();
}
