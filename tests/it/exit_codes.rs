//! Every exit code that the book names, by the way that leads there; and what becomes of a reader who goes away.

use std::{
    fs::{self, File},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use flexvolume_testkit::scripted::Answer;

use crate::{
    bed::{Bed, pod},
    scripts::{direct, until},
};

const SCRATCH: &str = "{driver: flexvol.io/tmpfs, options: {size: 4Mi}}";

#[test]
fn zero_is_done_or_nothing_to_do() {
    let Some(bed) = Bed::with_drivers() else { return };
    let file = bed.manifest("pod.yaml", &pod("web", &[("s", SCRATCH)]));
    for args in
        [&["up", &file][..], &["up", &file], &["ls"], &["drivers"], &["down", "--all"], &["down", "--all"], &["ls"]]
    {
        assert_eq!(bed.run(args).code, 0, "{args:?}");
    }
    for args in [["--help", "-h", "help"], ["--version", "-V", "help"]].concat() {
        assert_eq!(bed.run([args]).code, 0, "{args}");
    }
    bed.assert_clean();
}

#[test]
fn one_is_a_driver_or_a_system_that_failed() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/fails", direct().on("mount", Answer::failure("no such share")));
    let file = bed.manifest("pod.yaml", &pod("web", &[("s", "{driver: v/fails}")]));
    bed.run(["up", &file]).fails(1, &["no such share"]);
    bed.ok(["down", "--all"]);
    bed.script("v/mute", direct().on("init", Answer::text("")));
    bed.run(["drivers"]).fails(1, &["v/mute"]);
    // A folder where a file should be written: the system says no, whoever asks.
    fs::create_dir(bed.sandbox.plugins().join("v~x")).unwrap();
    fs::create_dir(bed.sandbox.plugins().join("v~x/x")).unwrap();
    bed.run(["install", "/bin/true", "--as", "v/x"]).fails(1, &["cannot install"]);
}

#[test]
fn two_is_a_command_line_a_manifest_or_settings_that_make_no_sense() {
    let Some(bed) = Bed::new() else { return };
    let bad = bed.manifest("bad.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: UPPER}\n");
    let none = bed.manifest("none.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n");
    for args in [
        &["nonsense"][..],
        &["up"],
        &["up", "--jobs", "0", &bad],
        &["ls", "--output", "xml"],
        &["up", &bad],
        &["up", &none],
        &["up", "/nonexistent.yaml"],
        &["install", "/bin/true", "--as", "../x"],
        &["call", "no-slash-here/..", "init"],
        &["man", "nonsense"],
        &["schema", "nonsense"],
        &["completions", "nonsense"],
    ] {
        bed.run(args).fails(2, &["error: "]);
    }
    bed.manifest("flexvol.json", "{");
    bed.run(["ls"]).fails(2, &["flexvol.json"]);
}

#[test]
fn three_is_what_is_not_there() {
    let Some(bed) = Bed::new() else { return };
    let file = bed.manifest("pod.yaml", &pod("web", &[("s", "{driver: v/nobody}")]));
    for args in [
        &["up", &file][..],
        &["down", "nobody"],
        &["exec", "nobody", "--", "true"],
        &["call", "v/nobody", "init"],
        &["install", "/nonexistent", "--as", "v/x"],
    ] {
        bed.run(args).fails(3, &["error: ", "hint: "]);
    }
}

#[test]
fn four_is_refused() {
    let Some(bed) = Bed::with_drivers() else { return };
    let exe = bed.sandbox.plugins().join("flexvol.io~tmpfs/tmpfs");
    fs::set_permissions(&exe, fs::Permissions::from_mode(0o777)).unwrap();
    let file = bed.manifest("pod.yaml", &pod("web", &[("s", SCRATCH)]));
    bed.run(["up", &file]).fails(4, &["hint: "]);
    bed.run(["call", "flexvol.io/tmpfs", "init"]).fails(4, &["hint: "]);
}

#[test]
fn five_is_busy() {
    let Some(bed) = Bed::with_drivers() else { return };
    let file = bed.manifest("pod.yaml", &pod("web", &[("s", SCRATCH)]));
    bed.ok(["up", &file]);
    // Somebody took the mount away: exec finds the pod and not its volume.
    rustix::mount::unmount(bed.path_of("web", "s"), rustix::mount::UnmountFlags::empty()).unwrap();
    bed.run(["exec", "web", "--", "true"]).fails(5, &["not mounted", "flexvol up"]);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn six_is_a_ledger_that_cannot_be_used() {
    let Some(bed) = Bed::new() else { return };
    bed.ok(["ls"]);
    let ledger = fs::read_dir(bed.sandbox.root()).unwrap().flatten().map(|entry| entry.path());
    let ledger = ledger
        .filter(|path| path.is_file())
        .find(|path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3")));
    let ledger = ledger.unwrap();
    fs::remove_file(&ledger).unwrap();
    fs::create_dir(&ledger).unwrap();
    bed.run(["ls"]).fails(6, &["ledger"]);
}

/// How the command ended, as a shell would see it.
fn status(bed: &Bed, args: &[&str]) -> ExitStatus {
    bed.command(args).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

#[test]
fn exec_ends_as_its_command_does() {
    let Some(bed) = Bed::with_drivers() else { return };
    let file = bed.manifest("pod.yaml", &pod("web", &[("s", SCRATCH)]));
    bed.ok(["up", &file]);
    for code in [0, 1, 2, 3, 6, 7, 125, 126, 127, 128, 255] {
        let exit = format!("exit {code}");
        assert_eq!(status(&bed, &["exec", "web", "--", "sh", "-c", &exit]).code(), Some(code));
    }
    // A shell makes 128 and the signal's number of these. PIPE also says that it is not ignored, as it is in our process.
    for (name, signal) in [("KILL", 9), ("TERM", 15), ("PIPE", 13), ("SEGV", 11)] {
        let kill = format!("kill -{name} $$");
        assert_eq!(status(&bed, &["exec", "web", "--", "sh", "-c", &kill]).signal(), Some(signal), "{name}");
    }
    let shell = format!("{} exec web -- sh -c 'kill -TERM $$'; echo $?", bed.exe().display());
    let seen = std::process::Command::new("sh").args(["-c", &shell]).envs(bed.env()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), "143");
    // As env, nohup and xargs have it.
    bed.run(["exec", "web", "--", "no-such-command"]).fails(127, &["no-such-command"]);
    bed.run(["exec", "web", "--", "/no/such/command"]).fails(127, &["/no/such/command"]);
    bed.run(["exec", "web", "--", "/etc/passwd"]).fails(126, &["/etc/passwd"]);
    bed.run(["exec", "web", "--", "/"]).fails(126, &["error: "]);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

/// The command with its output in a pipe that nobody reads any more.
fn unread(bed: &Bed, args: &[&str]) -> (ExitStatus, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = bed.command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_reader_who_goes_away_is_no_failure() {
    let Some(bed) = Bed::with_drivers() else { return };
    let file = bed.manifest("pod.yaml", &pod("web", &[("s", SCRATCH)]));
    for args in [
        &["up", &file][..],
        &["-v", "-o", "json", "up", &file],
        &["ls"],
        &["-o", "json", "ls"],
        &["-o", "yaml", "ls"],
        &["drivers"],
        &["call", "flexvol.io/tmpfs", "init"],
        &["completions", "bash"],
        &["man"],
        &["schema", "ls"],
        &["--help"],
        &["help", "up"],
        &["--version"],
        &["down", "--all"],
    ] {
        let (status, stderr) = unread(&bed, args);
        assert_eq!(status.code(), Some(0), "{args:?}: {stderr}");
        assert!(!stderr.contains("panic") && !stderr.contains("error"), "{args:?}: {stderr}");
    }
    // Nor does a closed standard error keep anything from being done.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = bed.command(["-v", "up", &file]).stdout(Stdio::null()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(bed.json(["ls"])[0]["state"], "mounted");
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn results_that_cannot_be_written_are_a_failure() {
    let Some(bed) = Bed::with_drivers() else { return };
    let file = bed.manifest("pod.yaml", &pod("web", &[("s", SCRATCH)]));
    let full = |args: &[&str]| {
        let full = File::options().write(true).open("/dev/full").unwrap();
        bed.command(args).stdout(full).stderr(Stdio::piped()).output().unwrap()
    };
    let up = full(&["-o", "json", "up", &file]);
    let stderr = String::from_utf8_lossy(&up.stderr);
    assert_eq!(up.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write the results") && stderr.contains("No space left"), "{stderr}");
    // What was to be done is done all the same.
    assert_eq!(bed.json(["ls"])[0]["state"], "mounted");
    for args in [&["ls"][..], &["man"], &["completions", "zsh"]] {
        assert_eq!(full(args).status.code(), Some(1), "{args:?}");
    }
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn a_reader_of_the_first_lines_alone_ends_well_in_a_pipeline() {
    let Some(bed) = Bed::with_drivers() else { return };
    let pipeline =
        format!("set -o pipefail; for i in $(seq 20); do {} man | head -n 1 || exit; done", bed.exe().display());
    let run = std::process::Command::new("bash").args(["-c", &pipeline]).envs(bed.env()).output().unwrap();
    assert!(run.status.success() && run.stderr.is_empty(), "{run:?}");
}

#[test]
fn the_code_is_that_of_the_first_of_several_failures() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/fails", direct().on("mount", Answer::failure("no").sleep(Duration::from_millis(50))));
    let text = pod("web", &[("a", "{driver: v/fails}"), ("b", "{driver: v/nobody}")]);
    let file = bed.manifest("pod.yaml", &text);
    bed.run(["up", &file]).fails(1, &["volume a", "volume b"]);
    let other = pod("web", &[("b", "{driver: v/nobody}"), ("a", "{driver: v/fails}")]);
    let other = bed.manifest("pod.yaml", &other);
    bed.run(["up", &other]).fails(3, &["volume a", "volume b"]);
    until("the pod to go", || bed.run(["down", "--all"]).code == 0);
}
