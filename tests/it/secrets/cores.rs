//! A core file is all of a process's memory: none is written of one that holds secrets.

use std::{
    fs,
    io::Write,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use flexvolume_testkit::binary;
use rustix::process::{Pid, Signal, kill_process};

use super::{Case, direct, six};
use crate::{bed::Bed, scripts::until};

/// The soft limit of a core file's size, as the kernel shows it to others.
fn limit(pid: u32) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap_or_default();
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Starts it with cores allowed, in an empty folder for them, and with an open pipe on standard input.
fn start(command: &Command, folder: &Path) -> Child {
    let envs = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    Command::new("sh")
        .args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(envs)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn is_past_the_shell(child: &Child) -> bool {
    fs::read(format!("/proc/{}/cmdline", child.id())).is_ok_and(|line| !line.starts_with(b"sh\0"))
}

/// Crashes it; whether a core was dumped.
fn crash(mut child: Child) -> bool {
    kill_process(Pid::from_child(&child), Signal::ABORT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status:?}");
    status.core_dumped()
}

#[test]
fn no_core_is_dumped_of_what_holds_secrets() {
    let Some(bed) = Bed::new() else { return };
    let [_, (name, secret), ..] = six();
    let case = Case::new(name, secret, bed);
    let folder = case.bed.sandbox.dir("cores").unwrap();
    // The control: on this machine, as it is set now, a process with these limits is dumped.
    let control = start(Command::new("sleep").arg("60"), &folder);
    until("the control to be started", || limit(control.id()) == "unlimited" && is_past_the_shell(&control));
    let dumps = crash(control);
    for core in super::files(&folder) {
        fs::remove_file(core).unwrap();
    }

    // While the command reads manifests, while a driver of the kit reads options, each in the middle of a secret.
    case.bed.script("v/direct", direct(&case, &["stdin"]));
    let place = case.bed.sandbox.dir("place").unwrap();
    let mut driver = Command::new(binary("tmpfs").unwrap());
    driver.args(["mount", place.to_str().unwrap(), "-"]);
    let call = case.bed.command(["call", "v/direct", "mount", place.to_str().unwrap(), "-"]);
    for command in [case.bed.command(["up", "-"]), case.bed.command(["down", "-"]), call, driver] {
        let mut child = start(&command, &folder);
        child.stdin.as_mut().unwrap().write_all(&case.secret).unwrap();
        until("core dumps to be off", || is_past_the_shell(&child) && limit(child.id()) == "1");
        assert!(!crash(child), "{command:?} was dumped");
    }
    assert_eq!(super::files(&folder), Vec::<std::path::PathBuf>::new());
    if !dumps {
        flexvolume_testkit::skip("this machine dumps no cores at all: only the limits were looked at");
    }
}

/// What the command starts inherits that.
#[test]
fn drivers_and_workers_dump_no_core() {
    let Some(bed) = Bed::new() else { return };
    let [_, (name, secret), ..] = six();
    let case = Case::new(name, secret, bed);
    let seen = case.bed.sandbox.path().join("seen");
    let look = format!("mount -t tmpfs none \"$2\"; grep core /proc/self/limits >{}", seen.display());
    let answer = flexvolume_testkit::scripted::Answer::success().run(look);
    case.bed.script("v/direct", direct(&case, &[]).on("mount", answer));
    let file = case.manifest("v/direct");
    let mut up = start(&case.bed.command(["up", &file]), &case.bed.sandbox.dir("cores").unwrap());
    assert!(up.wait().unwrap().success());
    let line = fs::read_to_string(seen).unwrap();
    assert_eq!(line.split_whitespace().nth(4), Some("1"), "{line}");
    case.bed.ok(["down", &file]);
}

/// What a person runs in a pod's view is theirs.
#[test]
fn a_command_in_a_pods_view_is_dumped_as_its_user_has_it() {
    let Some(bed) = Bed::with_drivers() else { return };
    let file = bed.manifest("pod.yaml", &crate::bed::pod("web", &[("data", "{driver: flexvol.io/tmpfs}")]));
    bed.ok(["up", &file]);
    let seen = bed.sandbox.path().join("seen");
    let look = format!("ulimit -S -c >{}", seen.display());
    let mut exec = start(&bed.command(["exec", "web", "--", "sh", "-c", &look]), &bed.sandbox.dir("cores").unwrap());
    assert!(exec.wait().unwrap().success());
    assert_eq!(fs::read_to_string(seen).unwrap().trim(), "unlimited");
    bed.ok(["down", &file]);
}
