//! Volumes held on the node without a pod: what the bridge stands on, by a helper that does nothing else.

mod raw;
mod sweep;

use std::{fs, path::Path, process::Stdio};

use flexvolume_host::{
    ledger::{Durability, Ledger},
    volume::record::Record,
};
use flexvolume_testkit::{binary, scripted::Answer};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, Ran, pod},
    scripts::{attachable, direct, image, staged, tool},
};

const MIB: u64 = 1 << 20;

/// What is asked of the helper: everything else comes by `and`.
fn wish(verb: &str, driver: &str, volume: &str) -> Value {
    json!({"verb": verb, "driver": driver, "volume": volume})
}

fn and(wish: &Value, more: Value) -> Value {
    let (mut all, Value::Object(more)) = (wish.clone(), more) else { panic!("no object") };
    all.as_object_mut().unwrap().extend(more);
    all
}

fn verb(wish: &Value, verb: &str) -> Value {
    and(wish, json!({ "verb": verb }))
}

fn ask(bed: &Bed, wish: &Value) -> Value {
    let mut command = std::process::Command::new(binary("hold-helper").unwrap());
    let ran = Ran::of(command.arg(wish.to_string()).envs(bed.env()).stdin(Stdio::null()).output().unwrap());
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{wish}: {ran:?}"))
}

#[track_caller]
fn ok(bed: &Bed, wish: &Value) -> Value {
    let answer = ask(bed, wish);
    answer.get("ok").unwrap_or_else(|| panic!("{wish}: {answer}")).clone()
}

#[track_caller]
fn fails(bed: &Bed, wish: &Value, kind: &str, words: &str) {
    let answer = ask(bed, wish);
    assert!(answer["error"] == kind && answer["story"].as_str().unwrap().contains(words), "{wish}: {answer}");
}

/// A loopback volume of 16 MiB.
fn loopback(bed: &Bed) -> Value {
    loopback_of(bed, "ext4", "16m")
}

/// One whose file system any root may grow while it is mounted.
fn growing(bed: &Bed) -> Value {
    loopback_of(bed, "xfs", "320m")
}

fn loopback_of(bed: &Bed, fs_type: &str, size: &str) -> Value {
    let images = bed.sandbox.dir("images").unwrap();
    let options = json!({"volumeID": "one", "size": size, "create": "true", "directory": images});
    and(&wish("hold", "flexvol.io/loopback", "data"), json!({ "options": options, "fsType": fs_type }))
}

fn record(bed: &Bed, key: &str) -> Option<Record> {
    Ledger::open(&bed.sandbox.root().join("ledger.db")).unwrap().ledger.get(key).unwrap()
}

fn edit(bed: &Bed, key: &str, change: impl Fn(&mut Record)) {
    let ledger = Ledger::open(&bed.sandbox.root().join("ledger.db")).unwrap().ledger;
    let mut record = ledger.get(key).unwrap().unwrap();
    change(&mut record);
    ledger.put(&mut record, Durability::Power, false).unwrap();
}

fn path(held: &Value) -> &Path {
    Path::new(held["path"].as_str().unwrap())
}

fn is_mounted(path: &Path) -> bool {
    flexvolume_linux::mount::table::at(path).unwrap().is_some()
}

fn size(path: &Path) -> u64 {
    flexvolume_linux::fs::usage(path).unwrap().total
}

#[test]
fn what_is_held_stays_whoever_comes_and_goes() {
    let Some(bed) = Bed::with_drivers() else { return };
    let hold = loopback(&bed);
    assert_eq!(ok(&bed, &verb(&hold, "held")), Value::Null);
    let held = ok(&bed, &hold);
    assert!(held["changed"] == true && is_mounted(path(&held)), "{held}");
    assert!(held["device"].as_str().unwrap().starts_with("/dev/loop"), "{held}");
    fs::write(path(&held).join("file"), "kept").unwrap();
    let again = ok(&bed, &hold);
    assert_eq!(and(&again, json!({"changed": true})), held);
    assert_eq!(again["changed"], false);
    assert_eq!(ok(&bed, &verb(&hold, "held")), again);

    let images = bed.sandbox.path().join("images");
    let source = format!(
        "{{driver: flexvol.io/loopback, fsType: ext4, options: {{volumeID: one, size: 16m, create: \"true\", directory: {}}}}}",
        images.display()
    );
    let pods = bed.manifest("pod.yaml", &pod("web", &[("data", &source)]));
    bed.ok(["up", &pods]);
    assert_eq!(fs::read_to_string(bed.path_of("web", "data").join("file")).unwrap(), "kept");
    fails(&bed, &verb(&hold, "release"), "Busy", "in use by pod web");
    assert!(bed.ok(["inspect", "data"]).contains("by 1 pod, held staged"));
    bed.ok(["down", &pods]);
    assert_eq!(ok(&bed, &hold), again);

    // Nobody's leftover.
    let said = bed.ok(["down", "--all"]);
    assert!(said.contains("nothing to take down"), "{said}");
    assert_eq!(ok(&bed, &verb(&hold, "settle")), Value::Null);
    assert!(bed.ok(["ls"]).contains("held (staged)"));
    assert!(bed.ok(["inspect", "data"]).contains("by no pod, held staged"));
    let report = bed.run(["doctor"]);
    assert!(!report.stdout.contains("no pod"), "{report:?}");
    assert_eq!(fs::read_to_string(path(&held).join("file")).unwrap(), "kept");

    ok(&bed, &verb(&hold, "release"));
    ok(&bed, &verb(&hold, "release"));
    bed.assert_clean();
}

#[test]
fn a_held_volume_grows_and_never_shrinks() {
    let Some(bed) = Bed::with_drivers() else { return };
    let hold = growing(&bed);
    let grow = |to: u64| and(&verb(&hold, "grow"), json!({ "capacity": to * MIB }));
    fails(&bed, &grow(480), "NotFound", "not up");
    let held = ok(&bed, &hold);
    fs::write(path(&held).join("file"), "kept").unwrap();
    let before = size(path(&held));
    assert_eq!(ok(&bed, &grow(480)), 480 * MIB);
    let after = size(path(&held));
    assert!(after > before + 100 * MIB, "{before} {after}");
    for smaller in [320, 480, 1] {
        assert_eq!(ok(&bed, &grow(smaller)), 480 * MIB);
        assert_eq!(size(path(&held)), after);
    }
    let at = json!({"at": "11111111-2222-3333-4444-555555555555", "pod": "the-pod"});
    fails(&bed, &and(&grow(640), at.clone()), "NotFound", "not up");
    let published = ok(&bed, &and(&verb(&hold, "publish"), at.clone()));
    assert_eq!(ok(&bed, &and(&grow(640), at.clone())), 640 * MIB);
    assert!(size(path(&published)) > after + 100 * MIB);
    ok(&bed, &and(&verb(&hold, "unpublish"), at));
    assert_eq!(fs::read_to_string(path(&held).join("file")).unwrap(), "kept");
    tool("umount", &[held["path"].as_str().unwrap()]);
    fails(&bed, &grow(800), "NotFound", "gone or replaced");
    ok(&bed, &verb(&hold, "release"));
    bed.assert_clean();
}

#[test]
fn growth_that_fails_is_told_once_and_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let init = json!({"status": "Success", "capabilities": {"attach": false, "requiresFSResize": false}, "extensions": ["staged", "expand"]});
    let answers = [Answer::failure("no room"), Answer::json(&json!({"status": "Success", "volumeNewSize": 80 * MIB}))];
    let driver = bed.script("v/d", staged().on("init", Answer::json(&init)).on_each("expandvolume", answers));
    let hold = wish("hold", "v/d", "data");
    ok(&bed, &hold);
    let grow = and(&verb(&hold, "grow"), json!({ "capacity": 64 * MIB }));
    fails(&bed, &grow, "Driver", "no room");
    assert_eq!(ok(&bed, &hold)["changed"], false);
    assert_eq!(driver.verbs().unwrap().iter().filter(|verb| *verb == "expandvolume").count(), 1);
    // A driver may give more than was asked for.
    assert!(ok(&bed, &grow).as_u64().unwrap() >= 64 * MIB);
    ok(&bed, &grow);
    assert_eq!(driver.verbs().unwrap().iter().filter(|verb| *verb == "expandvolume").count(), 2);
    ok(&bed, &verb(&hold, "release"));
    bed.assert_clean();
}

#[test]
fn a_mount_that_was_taken_away_by_hand_is_made_anew() {
    let Some(bed) = Bed::with_drivers() else { return };
    let hold = loopback(&bed);
    fails(&bed, &verb(&hold, "restage"), "NotFound", "not held");
    let held = ok(&bed, &hold);
    fs::write(path(&held).join("file"), "kept").unwrap();
    for way in ["restage", "hold"] {
        tool("umount", &[held["path"].as_str().unwrap()]);
        let again = ok(&bed, &verb(&hold, way));
        assert_eq!(again, held, "{way}");
        assert_eq!(fs::read_to_string(path(&held).join("file")).unwrap(), "kept");
    }
    assert_eq!(ok(&bed, &verb(&hold, "restage"))["changed"], false);

    // Where it is shown outside of our root it goes on, and is not taken from under anybody.
    let target = bed.sandbox.dir("target").unwrap();
    let (global, target) = (held["path"].as_str().unwrap(), target.to_str().unwrap());
    tool("mount", &["--bind", global, target]);
    tool("umount", &[global]);
    ok(&bed, &verb(&hold, "restage"));
    fs::write(path(&held).join("file"), "both").unwrap();
    assert_eq!(fs::read_to_string(Path::new(target).join("file")).unwrap(), "both");
    fails(&bed, &verb(&hold, "release"), "Busy", &format!("also mounted at {target}"));
    assert_eq!(ok(&bed, &hold)["changed"], false);
    tool("umount", &[target]);
    ok(&bed, &verb(&hold, "release"));
    bed.assert_clean();
}

#[test]
fn what_is_up_in_another_way_is_refused_and_what_never_came_up_is_undone() {
    let Some(bed) = Bed::with_drivers() else { return };
    let hold = loopback(&bed);
    let other = and(&hold, json!({"options": {"volumeID": "two"}}));
    let read_only = and(&hold, json!({"readOnly": true}));
    let held = ok(&bed, &hold);
    fails(&bed, &other, "Refused", "option volumeID");
    fails(&bed, &and(&hold, json!({"block": true})), "Refused", "file system, asked for raw device");
    fails(&bed, &and(&hold, json!({"attached": "/dev/sdx"})), "Refused", "attached by this node");
    // Who only reads may do so where others write.
    assert_eq!(ok(&bed, &read_only), and(&held, json!({"changed": false})));
    ok(&bed, &verb(&hold, "release"));

    let held = ok(&bed, &read_only);
    assert!(held["readOnly"] == true && fs::write(path(&held).join("file"), "").is_err(), "{held}");
    fails(&bed, &hold, "Refused", "read-only");
    fails(&bed, &and(&verb(&hold, "grow"), json!({"capacity": 32 * MIB})), "Refused", "read-only");
    ok(&bed, &verb(&hold, "release"));
    bed.assert_clean();

    let wrong = and(&hold, json!({"fsType": "nonsense"}));
    assert_eq!(ask(&bed, &wrong)["error"], "Driver");
    let held = ok(&bed, &hold);
    assert!(is_mounted(path(&held)));
    ok(&bed, &verb(&hold, "release"));

    bed.script("v/direct", direct());
    fails(&bed, &wish("hold", "v/direct", "data"), "Invalid", "cannot be held");
    bed.assert_clean();
}

#[test]
fn a_device_that_somebody_else_attached_is_neither_attached_nor_detached() {
    let Some(bed) = Bed::new() else { return };
    let file = bed.sandbox.path().join("image");
    image(&file, 16);
    let device = tool("losetup", &["-f", "--show", file.to_str().unwrap()]).trim().to_owned();
    let waited = Answer::shell(r#"printf '{"status":"Success","device":"%s"}\n' "$2""#.to_owned());
    let driver = bed.script("v/disk", attachable(&file).on("waitforattach", waited));
    let hold = and(&wish("hold", "v/disk", "data"), json!({ "attached": device }));
    let held = ok(&bed, &hold);
    assert_eq!(held["device"], device.as_str());
    fails(&bed, &and(&hold, json!({"attached": "/dev/other"})), "Refused", "as another device");
    fails(&bed, &wish("hold", "v/disk", "data"), "Refused", "attached elsewhere");
    fs::write(path(&held).join("file"), "kept").unwrap();

    // After a reboot it is what it was called before, whatever waiting made of that.
    tool("umount", &[held["path"].as_str().unwrap()]);
    edit(&bed, "v/disk/data", |record| {
        record.boot = "another".into();
        record.state.rung = flexvolume_host::volume::state::Rung::Staged("/dev/long-gone".into());
    });
    assert_eq!(ok(&bed, &verb(&hold, "held")), Value::Null);
    let again = ok(&bed, &hold);
    assert_eq!(again["device"], device.as_str());
    assert_eq!(fs::read_to_string(path(&again).join("file")).unwrap(), "kept");

    ok(&bed, &verb(&hold, "release"));
    assert_eq!(record(&bed, "v/disk/data"), None);
    let verbs = driver.verbs().unwrap();
    assert!(!verbs.iter().any(|verb| verb == "attach" || verb == "detach"), "{verbs:?}");
    tool("losetup", &["-d", &device]);
    bed.assert_clean();
}

#[test]
fn secrets_of_callers_come_with_each_call_and_change_nothing() {
    let Some(bed) = Bed::new() else { return };
    let init = json!({"status": "Success", "capabilities": {"attach": false, "requiresFSResize": false}, "extensions": ["staged", "stdin", "expand"]});
    let script = staged()
        .on("init", Answer::json(&init))
        .on("expandvolume", Answer::failure("the word is sesame"))
        .records_stdin();
    let driver = bed.script("v/d", script);
    let hold = wish("hold", "v/d", "data");
    let brings = |word: &str| and(&hold, json!({ "secret": word }));
    ok(&bed, &hold);
    let storage = record(&bed, "v/d/data").unwrap().storage().unwrap();
    for same in [brings("sesame"), brings("another"), hold.clone()] {
        assert_eq!(ok(&bed, &same)["changed"], false, "{same}");
    }
    let now = record(&bed, "v/d/data").unwrap();
    assert!(now.spec.secret.as_ref().unwrap().is_callers());
    assert_eq!(now.storage().unwrap(), storage);
    // Nobody brings it this time, and the driver may know it from before.
    let grow = and(&verb(&hold, "grow"), json!({ "capacity": MIB }));
    let answer = ask(&bed, &grow);
    assert!(answer["error"] == "Driver" && !answer.to_string().contains("sesame"), "{answer}");
    let answer = ask(&bed, &and(&grow, json!({"secret": "sesame"})));
    assert!(answer["error"] == "Driver" && answer.to_string().contains("the word is"), "{answer}");
    assert!(!answer.to_string().contains("sesame"), "{answer}");
    let given = |verb: &str| -> Vec<bool> {
        let calls = driver.calls().unwrap().into_iter().filter(|call| call.verb() == verb);
        let has = |stdin: &[u8]| String::from_utf8_lossy(stdin).contains("kubernetes.io/secret/word");
        calls.map(|call| call.stdin.is_some_and(|stdin| has(&stdin))).collect()
    };
    assert_eq!((given("attach"), given("expandvolume")), (vec![false], vec![false, true]));
    ok(&bed, &verb(&hold, "release"));
    ok(&bed, &brings("sesame"));
    assert_eq!(given("attach"), [false, true]);
    ok(&bed, &verb(&hold, "release"));
    bed.assert_clean();
}

#[test]
fn a_place_is_where_it_is_whatever_its_pod_is_called() {
    let Some(bed) = Bed::new() else { return };
    let file = bed.sandbox.path().join("image");
    image(&file, 16);
    let at = "11111111-2222-3333-4444-555555555555";
    for (name, script) in [("v/direct", direct()), ("v/staged", staged()), ("v/disk", attachable(&file))] {
        let driver = bed.script(name, script);
        let publish = and(&wish("publish", name, "data"), json!({"at": at, "pod": "the-pod"}));
        let published = ok(&bed, &publish);
        assert!(
            path(&published).ends_with(format!("pods/{at}/volumes/{}/data", name.replace('/', "~"))),
            "{published}"
        );
        assert!(is_mounted(path(&published)));
        let meta = fs::metadata(path(&published)).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::gid(&meta), 4242, "{name}");
        assert_eq!(ok(&bed, &publish)["changed"], false, "{name}");
        tool("umount", &[published["path"].as_str().unwrap()]);
        assert_eq!(ok(&bed, &publish)["changed"], true, "{name}");
        let mounts: Vec<_> = driver.calls().unwrap().into_iter().filter(|call| call.verb() == "mount").collect();
        for call in &mounts {
            assert!(call.argv[2].contains(r#""kubernetes.io/pod.uid":"the-pod""#), "{call:?}");
        }
        assert_eq!(mounts.is_empty(), name == "v/staged", "{name}");
        let key = if name == "v/direct" { format!("{at}:data") } else { "data".into() };
        ok(&bed, &and(&wish("unpublish", name, "x"), json!({"volume": "data", "at": at, "key": key})));
        bed.assert_clean();
    }
}
