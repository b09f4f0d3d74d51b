//! `up --wait` against drivers that come late, fail for a while, fail for ever or hang; and many volumes at once, of which
//! one driver's keep no other's.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use flexvolume_testkit::scripted::{Answer, Call, Script, Scripted};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, pod},
    faults::{Started, called, calls},
    scripts::{attachable, direct, image, lives, pid_in, staged, until},
};

/// A pod of one volume `data` of this driver.
fn of(bed: &Bed, name: &str, driver: &str) -> String {
    bed.manifest(&format!("{name}.yaml"), &pod(name, &[("data", &format!("{{driver: {driver}}}"))]))
}

fn row(bed: &Bed, pod: &str) -> Option<Value> {
    bed.json(["ls"]).as_array().unwrap().iter().find(|row| row["pod"] == pod).cloned()
}

/// A driver whose mount says its pid and goes on for so many seconds before it mounts.
fn slow(bed: &Bed, name: &str, seconds: u32) -> (Scripted, std::path::PathBuf) {
    let pid = bed.sandbox.path().join(format!("pid-{}", name.replace('/', "-")));
    let mount = format!("echo $$ >{}; sleep {seconds}; mount -t tmpfs none \"$2\"", pid.display());
    (bed.script(name, direct().on("mount", Answer::success().run(mount))), pid)
}

fn ask_to_end(host: &Started, signal: Signal) {
    kill_process(Pid::from_raw(host.child.id().cast_signed()).unwrap(), signal).unwrap();
}

/// From the beginning of one call to the beginning of the next.
fn apart(calls: &[Call]) -> Vec<Duration> {
    calls.windows(2).map(|two| two[1].began.duration_since(two[0].began).unwrap()).collect()
}

#[test]
fn a_driver_that_comes_late_is_waited_for_and_the_list_says_so() {
    let Some(bed) = Bed::new() else { return };
    let file = of(&bed, "web", "v/late");
    let mut up = Started::new(&bed, &["up", &file, "--wait"]);
    until("two tries to be listed", || row(&bed, "web").is_some_and(|row| row["retry"]["tries"].as_u64() >= Some(2)));
    let listed = row(&bed, "web").unwrap();
    assert_eq!((&listed["state"], &listed["driver"]), (&json!("not begun"), &json!("v/late")), "{listed}");
    assert_eq!(listed["retry"]["operation"], "init", "{listed}");
    assert_eq!(listed["retry"]["pid"], up.child.id(), "{listed}");
    let (next, error) = (listed["retry"]["next"].as_str().unwrap(), listed["retry"]["error"].as_str().unwrap());
    assert!(next.starts_with("20") && next.ends_with('Z') && error.contains("no driver v/late"), "{listed}");
    let shown = bed.ok(["ls"]);
    assert!(shown.contains("retrying, next in ") || shown.contains("tried again now"), "{shown}");
    assert!(shown.contains("default/web data: init failed"), "{shown}");
    assert!(bed.ok(["inspect", "web/data"]).contains("not begun"));

    bed.script("v/late", direct());
    assert_eq!(up.end().code, 0, "{}", up.words());
    assert!(up.words().contains("tried again in 0.5 s"), "{}", up.words());
    let listed = row(&bed, "web").unwrap();
    assert_eq!((&listed["state"], &listed["retry"]), (&json!("mounted"), &Value::Null), "{listed}");
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn what_fails_is_tried_again_ever_more_rarely_until_it_is_up() {
    let Some(bed) = Bed::new() else { return };
    let good = Answer::success().run(r#"mount -t tmpfs none "$2""#);
    let bad = Answer::failure("not yet");
    let driver = bed.script("v/d", direct().on_each("mount", [bad.clone(), bad.clone(), bad, good]));
    let file = of(&bed, "web", "v/d");
    let ran = bed.run(["up", &file, "--timeout", "1m"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let waited = apart(&calls(&driver, "mount"));
    for (waited, least) in waited.iter().zip([500, 1000, 2000]) {
        assert!(*waited >= Duration::from_millis(least), "{waited:?}");
    }
    assert_eq!(waited.len(), 3);
    // What was tried in vain is in the history, and no trouble is left.
    let seen = bed.json(["inspect", "data"]);
    let verdicts: Vec<_> =
        seen["history"].as_array().unwrap().iter().map(|call| call["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts.iter().filter(|verdict| verdict.contains("not yet")).count(), 3, "{seen}");
    assert_eq!((verdicts.last(), &seen["trouble"]), (Some(&"Success"), &json!([])), "{seen}");
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn without_wait_each_volume_is_tried_once() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.script("v/d", direct().on("mount", Answer::failure("never")));
    let file = of(&bed, "web", "v/d");
    for args in [vec!["up", &file], vec!["up", "--wait", "--timeout", "9", "--no-wait", &file]] {
        driver.forget().unwrap();
        bed.run(args).fails(1, &["never"]);
        assert_eq!(calls(&driver, "mount").len(), 1);
    }
    bed.ok(["down", "web"]);
}

#[test]
fn another_operation_begins_its_waits_anew() {
    let Some(bed) = Bed::new() else { return };
    let bad = Answer::failure("not yet");
    let disk = bed.sandbox.path().join("disk");
    image(&disk, 16);
    let mut good = attachable(&disk);
    // Attach fails three times, so its waits are 0.5, 1 and 2 seconds; then the device cannot be mounted, twice.
    let attach = Answer::shell(format!(
        r#"printf '{{"status":"Success","device":"%s"}}\n' "$(losetup -f --show {})""#,
        disk.display()
    ));
    good = good
        .on_each("attach", [bad.clone(), bad.clone(), bad.clone(), attach])
        .on_each("mountdevice", [bad.clone(), bad, Answer::not_supported()]);
    let driver = bed.script("v/d", good);
    let file = of(&bed, "web", "v/d");
    let ran = bed.run(["up", &file, "--timeout", "1m"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let told: Vec<_> =
        ran.stderr.lines().filter_map(|line| line.rsplit_once("tried again in ").map(|(_, s)| s)).collect();
    assert_eq!(told, ["0.5 s", "1.0 s", "2.0 s", "0.5 s", "1.0 s"], "{ran:?}");
    assert_eq!(calls(&driver, "attach").len(), 4);
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn what_is_wrong_in_itself_is_not_tried_again_and_a_driver_that_may_be_replaced_is() {
    let Some(bed) = Bed::new() else { return };
    let script = Script::sh().on("init", Answer::success()).on("detach", Answer::success());
    // What lies there will never be a device, however often it is looked at.
    bed.script("v/d", script.on("attach", Answer::json(&json!({"status": "Success", "device": "/etc/passwd"}))));
    let file = of(&bed, "web", "v/d");
    let start = Instant::now();
    bed.run(["up", &file, "--timeout", "1m"]).fails(2, &["not a block device"]);
    assert!(start.elapsed() < Duration::from_secs(59), "it was tried again");
    bed.ok(["down", "web"]);

    // A driver that somebody is just copying to its place: that it is no program is not the volume's fault.
    let driver = bed.script("v/new", direct());
    fs::write(driver.exe(), "").unwrap();
    let file = of(&bed, "web", "v/new");
    let mut up = Started::new(&bed, &["up", &file, "--wait"]);
    until("a try", || up.words().contains("tried again in"));
    bed.script("v/new", direct());
    assert_eq!(up.end().code, 0, "{}", up.words());
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn when_the_time_is_over_what_is_missing_is_told_with_its_last_error() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/d", direct());
    let driver = bed.script("v/bad", direct().on("mount", Answer::failure("the backend is away")));
    let text =
        format!("{}---\n{}", pod("bad", &[("data", "{driver: v/bad}")]), pod("good", &[("data", "{driver: v/d}")]));
    let file = bed.manifest("two.yaml", &text);
    let start = Instant::now();
    let ran = bed.run(["-o", "json", "up", &file, "--timeout", "2s"]);
    ran.fails(1, &["error: pod default/bad, volume data: not done after", " in 2 s: ", "the backend is away"]);
    assert!(start.elapsed() >= Duration::from_secs(2) && start.elapsed() < Duration::from_secs(20));
    let up: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((up.as_array().unwrap().len(), &up[0]["pod"]), (1, &json!("good")), "{up}");
    assert!(calls(&driver, "mount").len() >= 2);
    assert_eq!(row(&bed, "bad").unwrap()["retry"], Value::Null, "nobody tries it any more");
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn what_came_up_is_listed_as_retried_no_more_while_others_still_are() {
    let Some(bed) = Bed::new() else { return };
    let good = Answer::success().run(r#"mount -t tmpfs none "$2""#);
    bed.script("v/d", direct().on_each("mount", [Answer::failure("not yet"), good]));
    let text =
        format!("{}---\n{}", pod("soon", &[("data", "{driver: v/d}")]), pod("never", &[("data", "{driver: v/none}")]));
    let file = bed.manifest("two.yaml", &text);
    let up = Started::new(&bed, &["up", &file, "--wait"]);
    until("both tries", || up.words().matches("tried again in").count() >= 3);
    let listed = || (row(&bed, "soon"), row(&bed, "never"));
    until("the first to be up", || listed().0.is_some_and(|row| row["state"] == "mounted"));
    until("its note to go", || listed().0.is_some_and(|row| row["retry"].is_null()));
    assert!(listed().1.is_some_and(|row| row["retry"]["tries"].is_u64()));
    up.kill();
    assert_eq!(listed().1, None, "a dead command tries nothing");
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn a_call_that_is_still_under_way_is_named_goes_on_and_is_taken_up() {
    let Some(bed) = Bed::new() else { return };
    let (pid, gate) = (bed.sandbox.path().join("pid"), bed.sandbox.path().join("gate"));
    // Two minutes at most, should the test fail.
    let mount = format!(
        r#"echo $$ >{}; n=0; while [ ! -e {} ] && [ $n -lt 1200 ]; do sleep 0.1; n=$((n + 1)); done; mount -t tmpfs none "$2""#,
        pid.display(),
        gate.display()
    );
    let driver = bed.script("v/slow", direct().on("mount", Answer::success().run(mount)));
    let file = of(&bed, "web", "v/slow");
    let ran = bed.run(["up", &file, "--timeout", "6s"]);
    let pid = pid_in(&pid);
    ran.fails(
        5,
        &["pod default/web, volume data: publish is still under way", "mount", &format!("pid {pid}"), "hint:"],
    );
    assert!(lives(pid), "the call was ended");
    assert!(row(&bed, "web").unwrap()["state"].as_str().unwrap().contains(&format!("goes on as pid {pid}")));
    let mut again = Started::new(&bed, &["up", &file]);
    until("the call to be waited for", || again.words().contains("waiting for pid"));
    fs::write(&gate, "").unwrap();
    assert_eq!(again.end().code, 0, "{}", again.words());
    assert_eq!(calls(&driver, "mount").len(), 2, "the second run did not wait for the first call");
    assert_eq!(bed.sandbox.mounts().unwrap().len(), 1);
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn a_signal_ends_it_as_the_time_does_and_the_call_goes_on() {
    flexvolume_testkit::heed_interrupts();
    for (signal, code, verb) in [(Signal::INT, 130, "up"), (Signal::TERM, 143, "up"), (Signal::TERM, 143, "down")] {
        let Some(bed) = Bed::new() else { return };
        let driver = bed.script("v/d", direct());
        let file = of(&bed, "web", "v/d");
        if verb == "down" {
            bed.ok(["up", &file]);
        }
        let done = |what: &str| Answer::success().run(format!("sleep 4; {what} \"$2\""));
        bed.script("v/d", direct().on("mount", done("mount -t tmpfs none")).on("unmount", done("umount")));
        let mut host = Started::new(&bed, &[verb, &file]);
        let call = if verb == "up" { "mount" } else { "unmount" };
        called(&driver, call, 1);
        until("the call to be recorded", || bed.json(["inspect", "data"])["underWay"]["verb"] == call);
        ask_to_end(&host, signal);
        let ran = host.end();
        ran.fails(code, &["ended by SIG", "still under way", &format!("driver v/d is at {call}"), "hint:"]);
        let other = if verb == "up" { "down" } else { "up" };
        bed.ok([other, &file]);
        bed.ok(["down", "--all"]);
        bed.assert_clean();
    }
}

#[test]
fn a_driver_that_hangs_keeps_no_other_from_its_volumes() {
    let Some(bed) = Bed::new() else { return };
    let (hung, _) = slow(&bed, "v/a-hung", 600);
    bed.script("v/well", direct());
    let pods: Vec<_> = (0..3)
        .map(|n| pod(&format!("hung-{n}"), &[("data", "{driver: v/a-hung}")]))
        .chain((0..3).map(|n| pod(&format!("well-{n}"), &[("data", "{driver: v/well}")])))
        .collect();
    let file = bed.manifest("all.yaml", &pods.join("---\n"));
    let up = Started::new(&bed, &["up", "--jobs", "1", &file]);
    let mounted = || {
        let rows = bed.json(["ls"]);
        rows.as_array().unwrap().iter().filter(|row| row["state"] == "mounted").count()
    };
    until("the well to be up", || mounted() == 3);
    assert_eq!(calls(&hung, "mount").len(), 1, "more calls than slots");
    let pid = row(&bed, "hung-0").map(|row| row["state"].clone());
    assert_eq!(pid, Some(json!("publish under way")));
    up.kill();
    let hanging: Value = bed.json(["inspect", "hung-0/data"]);
    for process in hanging["underWay"]["processes"].as_array().unwrap() {
        let pid = i32::try_from(process["pid"].as_i64().unwrap()).unwrap();
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

/// When calls of a verb ran: whether any two of them overlapped.
fn overlap(calls: &[Call]) -> bool {
    let mut spans: Vec<(SystemTime, SystemTime)> =
        calls.iter().filter_map(|call| Some((call.began, call.ended?.0))).collect();
    assert_eq!(spans.len(), calls.len(), "a call did not end: {calls:?}");
    spans.sort();
    spans.windows(2).any(|two| two[1].0 < two[0].1)
}

#[test]
fn volumes_come_and_go_side_by_side_as_many_of_a_driver_as_was_said() {
    let Some(bed) = Bed::new() else { return };
    let slowly = |what: &str| Answer::success().run(format!("{what}; sleep 0.7"));
    let mount = slowly(r#"mount -t tmpfs none "$2""#);
    let driver = bed.script("v/d", direct().on("mount", mount).on("unmount", slowly(r#"umount "$2""#)));
    // The pods' volumes have one name and are not one volume.
    let pods: Vec<_> = (0..3).map(|n| pod(&format!("pod-{n}"), &[("data", "{driver: v/d}")])).collect();
    let file = bed.manifest("all.yaml", &pods.join("---\n"));
    for (jobs, together) in [("1", false), ("3", true)] {
        driver.forget().unwrap();
        let rows = bed.json(["up", "--jobs", jobs, &file]);
        let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["pod"].as_str().unwrap()).collect();
        assert_eq!(names, ["pod-0", "pod-1", "pod-2"], "the order of the manifests");
        bed.ok(["down", "--jobs", jobs, &file]);
        assert_eq!(overlap(&calls(&driver, "mount")), together, "up, {jobs} at once");
        assert_eq!(overlap(&calls(&driver, "unmount")), together, "down, {jobs} at once");
        bed.assert_clean();
    }
}

#[test]
fn pods_that_share_a_volume_take_turns_and_who_writes_comes_first() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.script("v/s", staged().on_each("attach", [Answer::failure("not yet"), Answer::success()]));
    let pods: Vec<_> = ["reader", "writer", "other"]
        .map(|name| pod(name, &[("data", &format!("{{driver: v/s, readOnly: {}}}", name == "reader"))]))
        .into();
    let file = bed.manifest("all.yaml", &pods.join("---\n"));
    let ran = bed.run(["up", "--timeout", "1m", &file]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.stderr.contains("waiting for"), "they met at the volume's lock: {ran:?}");
    for name in ["writer", "other"] {
        fs::write(bed.path_of(name, "data").join(name), "").unwrap();
    }
    assert!(fs::write(bed.path_of("reader", "data").join("no"), "").is_err());
    called(&driver, "mountdevice", 1);
    bed.ok(["down", &file]);
    bed.assert_clean();
}
