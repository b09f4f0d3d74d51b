//! The judge itself: what it ends and what it does not, what it takes away, what it tells once, and what it refuses before it begins.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::bed::{Bed, Ran};

/// A driver in shell that binds a folder, and does otherwise in one way.
const DRIVER: &str = r#"#!/bin/sh
how='@HOW@' state='@STATE@'
say() { printf '%s\n' "$1"; exit "${2:-0}"; }
fail() { say "{\"status\": \"Failure\", \"message\": \"$1\", \"code\": \"$2\"}" 1; }
printf '%s\n' "$1" >> "$state/calls"
case $how,$1 in
*,init) say '{"status": "Success", "capabilities": {"attach": false}, "extensions": ["provision"]}' ;;
waits,mount)
    trap ': > "$state/asked"' TERM
    echo $$ > "$state/pid"
    while [ ! -e "$state/go" ]; do sleep 0.05; done
    ;;
grouped,mount) case $3 in *FsGroup*) fail "what is a group?" ;; esac ;;
slow,mount)
    [ -e "$state/pid" ] || mount --bind "$state/folder" "$2"
    echo $$ > "$state/pid"
    while [ ! -e "$state/go" ]; do sleep 0.05; done
    ;;
broken,createvolume) fail "the shelf is full" exhausted ;;
refuses,createvolume) fail "what is a shelf?" invalid ;;
service,mount)
    cd / && setsid -f sh -c 'echo $$ > "$0/pid"; exec sleep 600' "$state" </dev/null >/dev/null 2>&1
    while [ ! -s "$state/pid" ]; do sleep 0.05; done
    ;;
esac
case $1 in
createvolume) say '{"status": "Success", "id": "one"}' ;;
deletevolume) say '{"status": "Success"}' ;;
mount) mountpoint -q "$2" || mount --bind "$state/folder" "$2" || fail "it cannot be bound" ;;
unmount) while mountpoint -q "$2"; do umount "$2" || fail "it cannot be unmounted"; done ;;
*) say '{"status": "Not supported"}' ;;
esac
say '{"status": "Success"}'
"#;

struct Court {
    bed: Bed,
    driver: PathBuf,
    state: PathBuf,
    scratch: PathBuf,
}

impl Court {
    fn new(how: &str) -> Option<Court> {
        let bed = Bed::new()?;
        let (state, scratch) = (bed.sandbox.dir("driver-state").unwrap(), bed.sandbox.dir("s").unwrap());
        bed.sandbox.dir("driver-state/folder").unwrap();
        let driver = bed.sandbox.dir("driver").unwrap().join("driver");
        let text = DRIVER.replace("@HOW@", how).replace("@STATE@", state.to_str().unwrap());
        fs::write(&driver, text).unwrap();
        fs::set_permissions(&driver, PermissionsExt::from_mode(0o755)).unwrap();
        Some(Court { bed, driver, state, scratch })
    }

    fn check(&self, args: &[&str]) -> Command {
        let mut command = self.bed.command(["-o", "json", "check", "--scratch"]);
        command.arg(&self.scratch).args(args).arg(&self.driver);
        command
    }

    fn ran(&self, args: &[&str]) -> (i32, Value) {
        report(&Ran::of(self.check(args).output().unwrap()))
    }

    fn described(&self, volume: &Value) -> String {
        self.bed.manifest("volume.json", &volume.to_string())
    }

    /// Begins it, and waits until the driver is in its `mount`.
    fn in_mount(&self, args: &[&str]) -> Child {
        let child = self.check(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.until("mount", || self.state.join("pid").exists());
        child
    }

    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < end, "no {what}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.state.join("pid")).unwrap().trim().to_owned()
    }

    fn is_alive(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid())).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(fs::read_dir(&self.scratch).unwrap().count(), 0, "the judge left something");
        self.bed.assert_clean();
    }
}

fn report(ran: &Ran) -> (i32, Value) {
    (ran.code, serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}")))
}

/// The names of the checks of which that came.
fn names<'a>(report: &'a Value, outcome: &str) -> Vec<&'a str> {
    let all = report["findings"].as_array().unwrap().iter().filter(|finding| finding["outcome"] == outcome);
    all.map(|finding| finding["name"].as_str().unwrap()).collect()
}

fn reason<'a>(report: &'a Value, name: &str) -> &'a str {
    let found = report["findings"].as_array().unwrap().iter().find(|finding| finding["name"] == name);
    found.unwrap()["reason"].as_str().unwrap_or_default()
}

#[test]
fn a_mount_that_hangs_is_not_ended_unless_that_is_allowed() {
    let Some(court) = Court::new("waits") else { return };
    let (code, report) =
        report(&Ran::of(court.in_mount(&["--timeout", "1s", "--only", "mount"]).wait_with_output().unwrap()));
    assert_eq!((code, &report["verdict"]), (1, &json!("notFit")), "{report:#}");
    assert!(names(&report, "failed").contains(&"mount.mounts"), "{report:#}");
    assert!(court.is_alive() && !court.state.join("asked").exists(), "it was asked to end");
    assert!(reason(&report, "mount.two-pods").contains("because mount.mounts failed"), "{report:#}");
    let left = report["left"].to_string();
    assert!(left.contains(&format!("ps -p {}", court.pid())), "{left}");
    assert!(!names(&report, "passed").is_empty());
    // It was told to mount, and so it does.
    fs::write(court.state.join("go"), "").unwrap();
    court.until("end", || !court.is_alive());
    court.bed.sandbox.unmount_all().unwrap();
    fs::remove_file(court.state.join("go")).unwrap();
    fs::remove_dir_all(&court.scratch).unwrap();
    fs::create_dir(&court.scratch).unwrap();

    fs::remove_file(court.state.join("pid")).unwrap();
    let (_, report) = court.ran(&["--timeout", "1s", "--only", "mount.mounts", "--destroy"]);
    assert_eq!(names(&report, "failed"), ["mount.mounts"]);
    assert_eq!(report["left"], json!([]));
    assert!(!court.is_alive());
    court.assert_clean();
}

#[test]
fn what_was_begun_is_taken_away_at_a_signal() {
    flexvolume_testkit::heed_interrupts();
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let Some(court) = Court::new("waits") else { return };
        let judge = court.in_mount(&["--destroy", "--only", "mount"]);
        assert!(Command::new("kill").args(["-s", signal, &judge.id().to_string()]).status().unwrap().success());
        let ran = Ran::of(judge.wait_with_output().unwrap());
        assert!(ran.stderr.contains("taken away"), "{ran:?}");
        let (ended, report) = report(&ran);
        assert_eq!((ended, &report["verdict"], &report["left"]), (code, &json!("ended"), &json!([])), "{report:#}");
        assert_eq!(names(&report, "passed"), ["init.answers"], "{report:#}");
        assert!(reason(&report, "mount.again").contains("asked to end"), "{report:#}");
        assert!(!court.is_alive());
        court.assert_clean();
    }
}

/// What a judge had begun that was killed is taken away by the next one, by the same driver and by no other.
#[test]
fn what_a_judge_that_was_killed_had_begun_is_taken_away_by_the_next() {
    let Some(court) = Court::new("slow") else { return };
    let volume =
        court.described(&json!({"create": {"note": "correct horse"}, "secrets": {"password": "correct horse"}}));
    let mut judge = court.in_mount(&["--level", "flexvol", "--destroy", "--only", "mount", "--options", &volume]);
    let folder = fs::read_dir(&court.scratch).unwrap().next().unwrap().unwrap().path();
    let begun = fs::read_to_string(folder.join("begun.json")).unwrap();
    assert!(begun.contains(r#""id":"one""#), "{begun}");
    assert!(!begun.contains("correct horse") && !begun.contains("Y29ycmVjdCBob3JzZQ"), "{begun}");

    // It lives, and its folder is its own.
    let (_, other) = court.ran(&["--only", "init.answers"]);
    assert_eq!((&other["earlier"], &other["left"]), (&json!([]), &json!([])));
    assert!(court.is_alive() && folder.exists());

    judge.kill().unwrap();
    judge.wait().unwrap();
    assert!(court.is_alive(), "the call goes on");
    assert_eq!(court.bed.sandbox.mounts().unwrap().len(), 1);

    // Another driver knows nothing of it, and the person is told what to type.
    let stranger = court.driver.with_file_name("stranger");
    fs::copy(&court.driver, &stranger).unwrap();
    let mut check = court.bed.command(["-o", "json", "check", "--only", "init.answers", "--scratch"]);
    let (_, other) = report(&Ran::of(check.arg(&court.scratch).arg(&stranger).output().unwrap()));
    let left = other["left"].to_string();
    assert!(left.contains(&format!("--scratch {} {}", court.scratch.display(), court.driver.display())), "{left}");
    assert!(court.is_alive() && folder.exists());

    fs::write(court.state.join("calls"), "").unwrap();
    let (code, report) = court.ran(&["--destroy", "--only", "init.answers"]);
    assert_eq!((code, &report["left"]), (0, &json!([])), "{report:#}");
    assert_eq!(report["earlier"], json!([folder]));
    assert_eq!(fs::read_to_string(court.state.join("calls")).unwrap(), "unmount\ndeletevolume\ninit\ninit\n");
    assert!(!court.is_alive());
    court.assert_clean();
}

/// A call that may cost what the volume holds is not ended, whoever began it: it is waited for.
#[test]
fn what_goes_on_after_its_judge_was_killed_is_waited_for() {
    let Some(court) = Court::new("slow") else { return };
    let mut judge = court.in_mount(&["--only", "mount"]);
    judge.kill().unwrap();
    judge.wait().unwrap();
    let goes_on = |more: &[&str]| {
        let (_, report) = court.ran(&[&["--only", "init.answers", "--timeout", "1s"], more].concat());
        let left = report["left"].to_string();
        assert!(left.contains(&format!("ps -p {}", court.pid())) && report["earlier"] == json!([]), "{report:#}");
        assert!(court.is_alive(), "it was ended");
    };
    goes_on(&[]);
    // Who comes next may say that of his own volume, and of no other.
    goes_on(&["--destroy"]);
    // As a judge leaves it that was killed before it could note the process.
    let file = fs::read_dir(&court.scratch).unwrap().next().unwrap().unwrap().path().join("begun.json");
    let mut noted: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(noted["calls"][0]["id"].is_object(), "{noted}");
    noted["calls"][0]["id"] = Value::Null;
    fs::write(&file, noted.to_string()).unwrap();
    goes_on(&[]);
    fs::write(court.state.join("go"), "").unwrap();
    let (_, report) = court.ran(&["--only", "init.answers"]);
    assert_eq!((&report["left"], report["earlier"].as_array().map(Vec::len)), (&json!([]), Some(1)), "{report:#}");
    court.assert_clean();
}

/// What a judge asked for that was killed may be there, whatever is answered now; its notes stay until it is gone.
#[test]
fn what_may_have_been_made_for_a_judge_that_was_killed_is_told_until_it_is_gone() {
    let Some(court) = Court::new("broken") else { return };
    let home = court.scratch.join("flexvol-check-0a0b0c0d");
    fs::create_dir(&home).unwrap();
    let note = |text: &str| fs::write(home.join("begun.json"), text).unwrap();
    let made = |is_cut: bool| {
        let made = json!({"asked": {"flexvol/name": "vol-7"}, "id": null, "options": {}, "isCut": is_cut});
        json!({"driver": court.driver, "mayDestroy": false, "begun": [{"volume": made}], "calls": []}).to_string()
    };
    let told = |words: &[&str]| {
        fs::write(court.state.join("calls"), "").unwrap();
        let (_, report) = court.ran(&["--only", "init.answers"]);
        let left = report["left"].to_string();
        assert!(words.iter().all(|word| left.contains(word)) && report["earlier"] == json!([]), "{report:#}");
        assert!(home.join("begun.json").exists(), "the notes are gone");
        fs::read_to_string(court.state.join("calls")).unwrap().contains("createvolume")
    };
    note(&made(false));
    for _ in 0..2 {
        assert!(told(&["vol-7", "deletevolume", home.to_str().unwrap()]));
    }
    note(&made(true));
    assert!(!told(&["vol-7", "deletevolume"]), "another one may have been made");
    note(&made(true)[..20]);
    assert!(!told(&[home.to_str().unwrap(), "mountinfo"]));
}

/// A volume of a person's has none of the judge's links when the driver fails while they are there.
#[test]
fn no_link_stays_in_a_volume() {
    let Some(court) = Court::new("grouped") else { return };
    let (_, report) = court.ran(&["--only", "paths.links"]);
    assert_eq!((names(&report, "failed"), &report["left"]), (vec!["paths.links"], &json!([])), "{report:#}");
    assert_eq!(fs::read_dir(court.state.join("folder")).unwrap().count(), 0);
    court.assert_clean();
}

#[test]
fn one_cause_is_told_once() {
    let Some(court) = Court::new("broken") else { return };
    let volume = court.described(&json!({"create": {"shelf": "7"}}));
    let (code, report) = court.ran(&["--level", "flexvol", "--options", &volume]);
    assert_eq!(names(&report, "failed"), ["provision.creates"], "{report:#}");
    assert_eq!((code, &report["verdict"]), (1, &json!("notFit")));
    assert_eq!(reason(&report, "mount.mounts"), "because provision.creates failed");
    // Also where nobody asked for that check.
    let (_, report) = court.ran(&["--level", "flexvol", "--options", &volume, "--only", "mount"]);
    assert_eq!(names(&report, "failed"), ["provision.creates"], "{report:#}");
    court.assert_clean();
}

#[test]
fn what_the_description_has_wrong_is_not_the_drivers() {
    let Some(court) = Court::new("refuses") else { return };
    let volume = court.described(&json!({"create": {"shelf": "7"}}));
    let (code, report) = court.ran(&["--level", "flexvol", "--options", &volume]);
    assert_eq!(names(&report, "failed"), Vec::<&str>::new(), "{report:#}");
    assert_eq!((code, &report["verdict"]), (7, &json!("nothingJudged")));
    assert!(report["refused"].as_str().unwrap().contains("what is a shelf?"), "{report:#}");
    court.assert_clean();
}

#[test]
fn who_was_not_judged_is_not_fit() {
    let Some(court) = Court::new("") else { return };
    let (code, report) = court.ran(&["--only", "detach.unknown"]);
    assert_eq!((code, &report["verdict"], &report["fit"]), (7, &json!("nothingJudged"), &json!(false)), "{report:#}");
    let (code, report) = court.ran(&["--only", "mount.mounts", "--only", "unmount.undoes"]);
    assert_eq!((code, &report["verdict"], &report["fit"]), (0, &json!("fit"), &json!(true)), "{report:#}");
    court.assert_clean();
}

/// It carries the judge's mark, and is there for nobody knows whom.
#[test]
fn a_service_that_a_call_began_is_named_and_left_alone() {
    let Some(court) = Court::new("service") else { return };
    let (_, report) = court.ran(&["--only", "mount.mounts"]);
    assert!(court.is_alive());
    let left = report["left"].to_string();
    assert!(left.contains(&format!("kill {}", court.pid())), "{left} {}", court.pid());
    assert!(Command::new("kill").arg(court.pid()).status().unwrap().success());
    court.assert_clean();
}

#[test]
fn nothing_is_begun_that_was_asked_for_in_the_wrong_way() {
    let Some(court) = Court::new("") else { return };
    let refused = |args: &[&str], words: &[&str]| {
        Ran::of(court.check(args).output().unwrap()).fails(2, words);
    };
    refused(&["--only", "mont"], &["mont", "did you mean mount?", "--list"]);
    refused(&["--only", "provision"], &["--level flexvol"]);
    refused(&["--only", "init", "--skip", "init"], &["no check is left"]);
    refused(&["--timeout", "0"], &["no call ends within no time"]);
    refused(&["--timeout", "0s"], &["no call ends within no time"]);
    refused(&["--junit", "/nowhere/at/all.xml"], &["--junit", "cannot be written"]);
    let volume = court.described(&json!({"option": {}, "bytes": 7}));
    refused(&["--options", &volume], &["\"option\"", "did you mean options?", "readOnly"]);
    assert!(!court.state.join("calls").exists(), "the driver was called");

    let list = |args: &[&str]| court.bed.json(["check", "--list"].iter().chain(args)).as_array().unwrap().len();
    assert_eq!(list(&["--only", "unmount"]), 7 + list(&["--only", "unmountdevice"]));
    assert!(list(&["--level", "kubernetes"]) < list(&[]));
    assert_eq!(list(&["--level", "flexvol"]), list(&[]));
}

#[test]
fn calls_are_told_as_they_end_and_without_secrets() {
    let Some(court) = Court::new("") else { return };
    let volume = court.described(&json!({"options": {}, "secrets": {"password": "correct horse"}, "node": "n"}));
    let ran = Ran::of(court.check(&["-v", "--only", "mount.mounts", "--options", &volume]).output().unwrap());
    let told: Vec<_> = ran.stderr.lines().filter(|line| line.starts_with("mount ")).collect();
    assert!(told.iter().any(|line| line.contains("(exit 0, ")), "{ran:?}");
    assert!(!ran.stderr.contains("correct horse") && !ran.stderr.contains("Y29ycmVjdCBob3JzZQ"), "{ran:?}");
    court.assert_clean();
}

/// What is described to be read only is mounted so, and not written to.
#[test]
fn a_volume_that_is_read_only_is_not_written_to() {
    let Some(court) = Court::new("") else { return };
    let volume = court.described(&json!({"options": {}, "readOnly": true}));
    let (_, report) = court.ran(&["--only", "data", "--options", &volume]);
    assert!(reason(&report, "data.bytes").contains("read only"), "{report:#}");
    court.assert_clean();
}
