//! Fault 1: what a killed host's driver still does. The next run waits for it, ends what must be ended, and acts after.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use flexvolume_testkit::{
    killat::{Orphans, Plan, Victim},
    scripted::{Answer, Script},
};
use serde_json::json;

use super::{A_WHILE, Started, called, calls, limit, lives, pid_in, traced};
use crate::{
    bed::{Bed, pod},
    scripts::{attachable, image, tool, until},
};

/// attach:false; `mount` as told the first time and a tmpfs afterwards.
fn direct(first: Answer) -> Script {
    Script::sh()
        .on("init", Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}})))
        .on_each("mount", [first, Answer::success().run(r#"mount -t tmpfs again "$2""#)])
        .on("unmount", Answer::success().run(r#"umount "$2""#))
}

/// A daemon in a session of its own, its pid in `file`; it does `then` and stays.
fn daemon(file: &Path, then: &str) -> String {
    format!("setsid sh -c 'echo $$ >{}; {then}; exec sleep 100' >/dev/null 2>&1 </dev/null &\n", file.display())
}

/// Whether a volume's lock file tells which process a call of this verb is.
fn has_noted(bed: &Bed, verb: &str) -> bool {
    let locks = fs::read_dir(bed.sandbox.root().join("locks")).into_iter().flatten().flatten();
    let word = format!(r#""verb":"{verb}""#);
    let mut texts = locks.filter_map(|lock| fs::read(lock.path()).ok());
    texts.any(|text| String::from_utf8_lossy(&text).contains(&word))
}

fn end(pid: u32) {
    tool("kill", &["-9", &pid.to_string()]);
}

/// The first call formats and mounts late; nobody may act beside it, and what it mounts is undone.
#[test]
fn a_second_run_waits_for_the_orphan_and_redoes_its_half_made_mount() {
    let Some(bed) = Bed::new() else { return };
    let disk = bed.sandbox.path().join("disk");
    image(&disk, 16);
    let over = bed.sandbox.path().join("over");
    let slow = format!(
        r#"sleep 2; mkfs.ext4 -q -F "$3" && mount "$3" "$2" && echo orphan >"$2/orphan" && sleep 0.2 && touch {}"#,
        over.display()
    );
    let mount = r#"! mountpoint -q "$2" && mount "$3" "$2""#;
    let script = attachable(&disk)
        .on_each("mountdevice", [Answer::success().run(slow), Answer::success().run(mount)])
        .on("unmountdevice", Answer::success().run(r#"umount "$2""#));
    let driver = bed.script("v/disk", script);
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/disk}")]));
    let host = Started::new(&bed, &["up", &file]);
    called(&driver, "mountdevice", 1);
    host.kill();
    let second = bed.run(["up", &file]);
    assert_eq!(second.code, 0, "{second:?}");
    assert!(second.stderr.contains("left at work by an interrupted run"), "{second:?}");
    let all: Vec<_> = driver.calls().unwrap().into_iter().skip_while(|call| call.verb() != "mountdevice").collect();
    let verbs: Vec<_> = all.iter().map(super::Call::verb).filter(|verb| verb.contains("device")).collect();
    assert_eq!(verbs, ["mountdevice", "unmountdevice", "mountdevice"]);
    let orphan_ended = fs::metadata(over).expect("the orphan was not left to end by itself").modified().unwrap();
    let next = all[1..].iter().find(|call| call.verb() != "init").unwrap();
    assert!(next.began >= orphan_ended, "{} was called beside the orphan", next.verb());
    let path = bed.path_of("web", "data");
    assert_eq!(fs::read_to_string(path.join("orphan")).unwrap(), "orphan\n", "formatted twice");
    assert_eq!(bed.sandbox.mounts().unwrap().len(), 2);
    bed.ok(["down", &file]);
    bed.assert_clean();
}

/// The limit of the verb counts from the start of the call, for the run that comes after as well.
#[test]
fn an_orphan_past_the_limit_of_its_verb_is_ended() {
    let Some(bed) = Bed::new() else { return };
    limit(&bed, &["mount"], 0.5, 2.0);
    let deaf = Answer::shell("trap '' TERM; echo $$ >\"$_d/../pid\"; while :; do sleep 0.1; done");
    let driver = bed.script("v/direct", direct(deaf));
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/direct}")]));
    let host = Started::new(&bed, &["up", &file]);
    let orphan = pid_in(&driver.exe().with_file_name("pid"));
    host.kill();
    assert!(lives(orphan));
    let start = Instant::now();
    bed.ok(["up", &file]);
    assert!(!lives(orphan));
    // Four seconds are meant.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    bed.ok(["down", &file]);
    bed.assert_clean();
}

/// What formats is asked to end and never killed; as long as it goes on, the volume is busy, in words, and no other.
#[test]
fn an_orphan_that_formats_is_asked_only_and_its_volume_is_busy_in_words() {
    let Some(bed) = Bed::new() else { return };
    limit(&bed, &["mountdevice"], 0.5, 1.0);
    let disk = bed.sandbox.path().join("disk");
    image(&disk, 16);
    let deaf = Answer::shell(
        "trap '' TERM; echo $$ >\"$_d/../pid\"; while [ ! -e \"$_d/../go\" ]; do sleep 0.1; done; echo '{\"status\":\"Failure\"}'; _end 1",
    );
    let driver = bed.script("v/disk", attachable(&disk).on_each("mountdevice", [deaf, Answer::not_supported()]));
    bed.script("v/direct", direct(Answer::success().run(r#"mount -t tmpfs once "$2""#)));
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/disk}")]));
    let other = bed.manifest("other.yaml", &pod("other", &[("data", "{driver: v/direct}")]));
    let host = Started::new(&bed, &["up", &file]);
    let orphan = pid_in(&driver.exe().with_file_name("pid"));
    host.kill();
    let pid = format!("pid {orphan}");
    for command in ["up", "down"] {
        let ran = bed.run([command, &file]);
        ran.fails(5, &[&pid, "interrupted stage", "has not ended", "hint:"]);
        assert!(lives(orphan), "it was killed");
    }
    bed.ok(["up", &other]);
    bed.ok(["down", &other]);
    fs::write(driver.exe().with_file_name("go"), "").unwrap();
    until("the orphan to end", || !lives(orphan));
    bed.ok(["up", &file]);
    bed.ok(["down", &file]);
    bed.assert_clean();
}

/// A child that shed our variable is known by its group; it is waited for, though its parents are gone.
#[test]
fn an_orphan_without_our_variable_is_waited_for() {
    let Some(bed) = Bed::new() else { return };
    let bare = Answer::shell(
        r#"exec env -i PATH="$PATH" sh -c 'sleep 2; mount -t tmpfs bare "$1"; echo x >"$1/done"' sh "$2""#,
    );
    let driver = bed.script("v/direct", direct(bare));
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/direct}")]));
    let host = Started::new(&bed, &["up", &file]);
    called(&driver, "mount", 1);
    // Only what the host has written tells of it, a moment after it was born.
    until("the call's process to be noted", || has_noted(&bed, "mount"));
    host.kill();
    bed.ok(["up", &file]);
    let verbs: Vec<_> = driver.verbs().unwrap().into_iter().filter(|verb| verb != "init").collect();
    assert_eq!(verbs, ["mount", "unmount", "mount"]);
    thread::sleep(A_WHILE);
    assert_eq!(bed.sandbox.mounts().unwrap().len(), 1);
    bed.ok(["down", &file]);
    bed.assert_clean();
}

/// Undone first, since the undoing may need it; then ended. That of the call that succeeded lives on.
#[test]
fn a_daemon_of_a_call_nobody_acknowledged_is_ended_after_the_undo_and_no_other() {
    let Some(bed) = Bed::new() else { return };
    let [first, second, undo] = ["first", "second", "undo"].map(|name| bed.sandbox.path().join(name));
    let cut = format!("{}mount -t tmpfs half \"$2\"; sleep 1", daemon(&first, ":"));
    let good = format!("{}mount -t tmpfs whole \"$2\"", daemon(&second, ":"));
    let unmount =
        format!("grep -q . /proc/$(cat {})/cmdline && echo alive >>{}; umount \"$2\"", first.display(), undo.display());
    let script = direct(Answer::default())
        .on_each("mount", [Answer::success().run(cut), Answer::success().run(good)])
        .on("unmount", Answer::success().run(unmount));
    let driver = bed.script("v/fuse", script);
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/fuse}")]));
    let host = Started::new(&bed, &["up", &file]);
    called(&driver, "mount", 1);
    let left = pid_in(&first);
    host.kill();
    bed.ok(["up", &file]);
    assert_eq!(fs::read_to_string(&undo).unwrap(), "alive\n", "it was ended before the mount it serves was undone");
    assert!(!lives(left), "the daemon of the cut-off call lives on");
    let daemon = pid_in(&second);
    bed.ok(["up", &file]);
    assert!(lives(daemon), "the daemon of the acknowledged call was ended");
    bed.ok(["down", &file]);
    assert!(lives(daemon), "it is the driver's own to end");
    end(daemon);
    bed.assert_clean();
}

/// It has mounted nothing yet, but it would, over what the next call makes.
#[test]
fn a_daemon_that_would_mount_later_is_ended_before_the_call_is_made_again() {
    let Some(bed) = Bed::new() else { return };
    let late = bed.sandbox.path().join("late");
    let cut = format!("D=\"$2\"; export D\n{}sleep 0.5; exit 1", daemon(&late, "sleep 4; mount -t tmpfs late \"$D\""));
    let driver = bed.script("v/fuse", direct(Answer::shell(cut)));
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/fuse}")]));
    let host = Started::new(&bed, &["up", &file]);
    called(&driver, "mount", 1);
    let left = pid_in(&late);
    host.kill();
    bed.ok(["up", &file]);
    assert!(!lives(left));
    thread::sleep(Duration::from_secs(4));
    let mounts = bed.sandbox.mounts().unwrap();
    assert_eq!(mounts.iter().map(|mount| mount.source.as_str()).collect::<Vec<_>>(), ["again"]);
    bed.ok(["down", &file]);
    bed.assert_clean();
}

/// The attach is made again and finds what the daemon serves; a pod that goes does not take that from the other.
#[test]
fn a_daemon_of_a_cut_off_attach_lives_until_the_detach() {
    let Some(bed) = Bed::new() else { return };
    let [disk, pidfile] = ["disk", "pid"].map(|name| bed.sandbox.path().join(name));
    image(&disk, 16);
    let attach = format!(
        "d=$(losetup -n -O NAME -j {0} | head -n 1); [ -n \"$d\" ] || {{\nd=$(losetup -f --show {0})\n{1}sleep 1; }}\n\
         printf '{{\"status\":\"Success\",\"device\":\"%s\"}}\\n' \"$d\"; _end 0",
        disk.display(),
        daemon(&pidfile, ":")
    );
    let driver = bed.script("v/nbd", attachable(&disk).on("attach", Answer::shell(attach)));
    let pods = ["one", "two"].map(|name| pod(name, &[("data", "{driver: v/nbd}")])).join("---\n");
    let pods = bed.manifest("pods.yaml", &pods);
    let host = Started::new(&bed, &["up", &pods]);
    called(&driver, "attach", 1);
    let daemon = pid_in(&pidfile);
    host.kill();
    bed.ok(["up", &pods]);
    bed.ok(["down", "one"]);
    assert!(lives(daemon), "a pod's going took the daemon from the other");
    bed.ok(["down", "two"]);
    assert!(!lives(daemon), "the detach undid the attach: what that left running goes");
    bed.assert_clean();
}

/// Killed after the driver was born and before that was written down: its daemon is known by its session, and nobody
/// waits for it to end.
#[test]
fn a_host_killed_while_it_starts_the_driver_leaves_no_riddle() {
    let Some(bed) = Bed::new() else { return };
    let pidfile = bed.sandbox.path().join("pid");
    let mount = |source| format!("{}mount -t tmpfs {source} \"$2\"", daemon(&pidfile, ":"));
    let undo = bed.sandbox.path().join("undo");
    let unmount = format!(
        "grep -q . /proc/$(cat {})/cmdline && echo alive >>{}; umount \"$2\"",
        pidfile.display(),
        undo.display()
    );
    let script = direct(Answer::default())
        .on("mount", Answer::success().run(mount("whole")))
        .on("unmount", Answer::success().run(unmount));
    let driver = bed.script("v/fuse", script);
    // Taken for the driver itself, the daemon would be ended at this limit, and so before the undo.
    limit(&bed, &["mount"], 1.0, 4.0);
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/fuse}")]));
    let args = ["up", file.as_str()];
    let report = traced(&bed, &args, Plan::Count, Orphans::Leave);
    let exe = driver.exe().to_str().unwrap().to_owned();
    let starts: Vec<_> =
        report.effects.iter().filter(|it| it.syscall.starts_with("execve") && it.detail.contains(&exe)).collect();
    assert_eq!(starts.len(), 2, "init and mount: {:#?}", report.effects);
    let at = starts[1].n;
    end(pid_in(&pidfile));
    bed.ok(["down", &file]);
    driver.forget().unwrap();
    fs::remove_file(&pidfile).unwrap();
    let _ = fs::remove_file(&undo);
    // From a fresh ledger on, as the first time, the count is the same.
    fs::remove_dir_all(bed.sandbox.root()).unwrap();
    bed.sandbox.dir("root").unwrap();
    let report = traced(&bed, &args, Plan::Kill { victim: Victim::Host, at }, Orphans::Leave);
    assert_eq!(report.struck, Some(at));
    called(&driver, "mount", 1);
    let left = pid_in(&pidfile);
    bed.ok(["up", &file]);
    assert!(!lives(left));
    assert_eq!(fs::read_to_string(&undo).unwrap(), "alive\n");
    assert_eq!(calls(&driver, "mount").len(), 2);
    assert_eq!(bed.sandbox.mounts().unwrap().len(), 1);
    bed.ok(["down", &file]);
    bed.assert_clean();
}
