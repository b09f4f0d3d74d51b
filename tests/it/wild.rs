//! What drivers in the wild do, and what the host makes of it: lenient where that hides no failure, strict where it could.

mod mounts;
mod share;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use flexvolume_testkit::scripted::{Answer, Script, Scripted};
use serde_json::json;

use crate::{
    bed::{Bed, Ran, pod},
    scripts::{direct, image, tool},
};

const MOUNT: &str = r#"mount -t tmpfs none "$2""#;

/// A bed with this driver as `v/d`, and a pod that uses it.
struct Wild {
    bed: Bed,
    driver: Scripted,
    file: String,
}

impl Wild {
    fn new(script: Script) -> Option<Self> {
        let bed = Bed::new()?;
        let driver = bed.script("v/d", script);
        let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/d}")]));
        Some(Self { bed, driver, file })
    }

    fn up(&self) -> Ran {
        self.bed.run(["up", &self.file])
    }

    fn down(&self) -> Ran {
        self.bed.run(["down", &self.file])
    }

    fn path(&self) -> PathBuf {
        self.bed.path_of("web", "data")
    }

    fn is_mounted(&self) -> bool {
        flexvolume_linux::mount::table::at(&self.path()).unwrap().is_some()
    }

    /// Up and down without a word of complaint that matters.
    fn works(&self, what: &str) -> Ran {
        let ran = self.up();
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
        self.goes(what);
        ran
    }

    fn goes(&self, what: &str) {
        let down = self.down();
        assert_eq!(down.code, 0, "{what}: {down:?}");
        self.bed.assert_clean();
    }

    fn count(&self, verb: &str) -> usize {
        self.driver.verbs().unwrap().iter().filter(|other| *other == verb).count()
    }
}

#[test]
fn answers_that_mean_success_are_understood_and_told_of() {
    let mount = |text: &str| Answer::text(text).run(MOUNT);
    let rows = [
        ("on stderr alone", Answer::text("").run(MOUNT).stderr("{\"status\":\"Success\"}\n"), false),
        ("noise before it", mount("mounting /dev/x\n-ne {braces}\n{\"status\":\"Success\"}\n"), true),
        ("noise on stderr", Answer::success().run(MOUNT).stderr("sh: 1: [: unexpected operator\n"), true),
        ("other letter case", mount("{\"Status\": \"Success\", \"MESSAGE\": \"\"}"), false),
        ("over many lines", mount("{\n  \"status\" : \"Success\",\n  \"capabilities\": null\n}\n\n"), false),
        ("fields nobody knows", mount("{\"status\":\"Success\",\"volumeName\":\"x\",\"took\":[1,{\"a\":2}]}"), false),
    ];
    for (what, answer, told) in rows {
        let Some(wild) = Wild::new(direct().on("mount", answer)) else { return };
        let ran = wild.works(what);
        assert_eq!(ran.stderr.contains("warning:"), told, "{what}: {ran:?}");
    }
}

#[test]
fn answers_that_may_hide_a_failure_are_failures_and_what_was_mounted_is_undone() {
    let say = |text: &str| Answer::text(text).run(MOUNT);
    let failure = "{\"status\":\"Failure\",\"message\":\"disk on fire\"}\n";
    let success = "{\"status\":\"Success\"}\n";
    let rows = [
        ("failure, then success", say(&format!("{failure}{success}")), "disk on fire"),
        ("failure, then not supported", say(&format!("{failure}{{\"status\":\"Not supported\"}}")), "disk on fire"),
        ("failure with exit 0", say(failure), "disk on fire"),
        ("success with exit 1", say(success).exit(1), "exit"),
        ("nothing", say(""), "mount"),
        ("a bare word", say("Failed\n"), "Failed"),
        ("an empty string", say("\"\"\n"), "mount"),
        ("other words for it", say("{\"status\":\"Not Supported\"}"), "Not Supported"),
        ("usage", say("Usage: d init|mount|unmount\n").exit(2), "Usage"),
        ("status is no text", say("{\"status\": 0}"), "status"),
    ];
    for (what, answer, words) in rows {
        let script = direct().on_each("mount", [answer, Answer::success().run(MOUNT)]);
        let Some(wild) = Wild::new(script) else { return };
        let ran = wild.up();
        assert!(ran.code == 1 && ran.stderr.contains(words), "{what}: {ran:?}");
        assert_eq!(wild.bed.sandbox.mounts().unwrap(), [], "{what}: the mount is left");
        wild.works(what);
    }
}

#[test]
fn a_background_child_that_holds_the_pipes_keeps_nobody_waiting() {
    let Some(wild) = Wild::new(direct().on("mount", Answer::success().run(MOUNT).hold(Duration::from_secs(90)))) else {
        return;
    };
    let start = Instant::now();
    assert_eq!(wild.up().code, 0);
    assert!(start.elapsed() < Duration::from_secs(45), "{:?}", start.elapsed());
    wild.goes("hold");
}

#[test]
fn a_daemon_left_behind_by_a_success_is_left_alone() {
    let daemon = r#"mount -t tmpfs none "$2" && { sleep 600 </dev/null >/dev/null 2>&1 & echo $! >"$_d/../pid"; }"#;
    let Some(wild) = Wild::new(direct().on("mount", Answer::success().run(daemon))) else { return };
    wild.up();
    let pid = fs::read_to_string(wild.driver.exe().with_file_name("pid")).unwrap();
    let lives = || fs::read_to_string(format!("/proc/{}/comm", pid.trim())).is_ok_and(|comm| comm.trim() == "sleep");
    assert!(lives());
    assert_eq!(wild.up().code, 0);
    wild.bed.ok(["ls"]);
    assert!(lives(), "it was ended by a later run");
    wild.goes("daemon");
    assert!(lives(), "the driver's own daemon is the driver's to end");
    tool("kill", &[pid.trim()]);
}

#[test]
fn a_failing_init_is_tried_again_each_time() {
    let good = Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}}));
    let rows = [Answer::failure("no helper yet"), Answer::not_supported(), Answer::text("#!garbage"), good];
    let Some(wild) = Wild::new(direct().on_each("init", rows)) else { return };
    wild.up().fails(1, &["v/d", "no helper yet"]);
    wild.up().fails(1, &["v/d", "init"]);
    wild.up().fails(1, &["v/d", "garbage"]);
    wild.works("init");
}

#[test]
fn not_supported_is_remembered_within_a_run() {
    let script = Script::sh()
        .on("init", Answer::success())
        .on("mount", Answer::success().run(MOUNT))
        .on("unmount", Answer::success().run(r#"umount "$2""#));
    let Some(wild) = Wild::new(script) else { return };
    let volumes = [("a", "{driver: v/d}"), ("b", "{driver: v/d}"), ("c", "{driver: v/d}")];
    let file = wild.bed.manifest("three.yaml", &pod("three", &volumes));
    wild.bed.ok(["up", "--jobs", "1", &file]);
    for verb in ["attach", "waitforattach", "mountdevice"] {
        assert_eq!(wild.count(verb), 1, "{verb}");
    }
    assert_eq!(wild.count("mount"), 3);
    wild.bed.ok(["down", &file]);
    assert_eq!(wild.count("detach"), 1);
    wild.bed.assert_clean();
}

#[test]
fn attach_without_a_device_and_a_wait_that_drops_it() {
    // No device at all: nothing to mount globally, the driver's own mount does it.
    let script = Script::sh()
        .on("init", Answer::success())
        .on("attach", Answer::success())
        .on("mount", Answer::success().run(MOUNT));
    let Some(wild) = Wild::new(script) else { return };
    wild.works("no device");
    let calls = wild.driver.calls().unwrap();
    let wait = calls.iter().find(|call| call.verb() == "waitforattach").unwrap();
    assert_eq!(wait.argv[1], "", "an empty device is a real argument");

    // attach names one, waitforattach forgets it: that of attach counts.
    let Some(bed) = Bed::new() else { return };
    let disk = bed.sandbox.path().join("image");
    image(&disk, 16);
    let driver = bed.script("v/d", crate::scripts::attachable(&disk).on("waitforattach", Answer::success()));
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/d}")]));
    bed.ok(["up", &file]);
    let mounted = flexvolume_linux::mount::table::at(&bed.path_of("web", "data")).unwrap().unwrap();
    assert_eq!(mounted.fs_type, "ext4");
    let calls = driver.calls().unwrap();
    let mount_device = calls.iter().find(|call| call.verb() == "mountdevice").unwrap();
    assert!(mount_device.argv[2].starts_with("/dev/loop"), "{:?}", mount_device.argv);
    bed.ok(["down", &file]);
    bed.assert_clean();
}

#[test]
fn arguments_and_surroundings_are_those_of_kubernetes() {
    let script = direct().records_env("PATH").records_env("HOME");
    let Some(wild) = Wild::new(script) else { return };
    wild.works("surroundings");
    for call in wild.driver.calls().unwrap() {
        assert_eq!(call.program, wild.driver.exe().to_str().unwrap());
        assert_eq!(call.cwd, "/");
        assert!(call.env.contains_key("PATH"));
        assert!(call.argv.iter().skip(2).all(|arg| !arg.contains(' ')), "{:?}", call.argv);
    }
}
