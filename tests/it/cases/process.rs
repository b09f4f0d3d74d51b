//! The process of a call: its arguments, its input, what is remembered of its answers, and how it is ended.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use flexvolume_host::{
    drivers::{
        call::{Calling, call},
        load::Drivers,
    },
    settings::Config,
};
use flexvolume_linux::beneath::Trust;
use flexvolume_protocol::{Came, Device, DriverName, Options, Redactor, WaitForAttach};
use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::{Value, json};

use super::{claimed, whole};
use crate::{
    bed::{Bed, pod},
    one::{MOUNT, One, UMOUNT},
    scripts::{direct, lives, pid_in, replace, tool, until},
};

/// The options as they stand in argv: from pairs of key and value, in the order in which they are given.
fn options(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{}:{}", json!(key), json!(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[test]
fn h_20_every_call_has_exactly_the_arguments_of_the_contract() {
    let Some(one) = One::new(whole()) else { return };
    one.bed.manifest("flexvol.json", &json!({"node": "rack4-7"}).to_string());
    let source = "{driver: v/d, fsType: ext4, options: {a: b}}";
    one.wants(&claimed("1Mi", source));
    one.comes("as it is");
    one.wants(&claimed("2Mi", source));
    one.comes("grown");
    let uid = one.bed.json(["ls"])[0]["uid"].as_str().unwrap().to_owned();
    one.goes("as it was");

    let root = one.bed.sandbox.root();
    let pdir = root.join("pods").join(&uid).join("volumes/v~d/pv").to_str().unwrap().to_owned();
    let gdir = root.join("plugins/kubernetes.io/flexvolume/v/d/mounts/pv").to_str().unwrap().to_owned();
    let host = [("kubernetes.io/fsType", "ext4"), ("kubernetes.io/pvOrVolumeName", "pv")];
    let own = [("kubernetes.io/readwrite", "rw"), ("a", "b")];
    let device = options(&[own[1], host[0], host[1], own[0]]);
    let for_pod = options(&[
        own[1],
        host[0],
        ("kubernetes.io/pod.name", "web"),
        ("kubernetes.io/pod.namespace", "default"),
        ("kubernetes.io/pod.uid", &uid),
        host[1],
        own[0],
        ("kubernetes.io/serviceAccount.name", "default"),
    ]);
    let wanted: [&[&str]; 9] = [
        &["init"],
        &["attach", &device, "rack4-7"],
        &["waitforattach", "nbd7", &device],
        &["mountdevice", &gdir, "nbd7", &device],
        &["mount", &pdir, &for_pod],
        &["expandfs", &device, "nbd7", &pdir, "2097152", "1048576"],
        &["unmount", &pdir],
        &["unmountdevice", &gdir],
        &["detach", "pv", "rack4-7"],
    ];
    // Each run asks `init` anew.
    let mut calls: Vec<_> = one.driver.calls().unwrap().into_iter().map(|call| call.argv).collect();
    let inits = calls.iter().filter(|argv| argv[0] == "init").count();
    calls.retain(|argv| argv[0] != "init");
    calls.insert(0, vec!["init".to_owned()]);
    assert_eq!(calls, wanted);
    assert_eq!(inits, 3);
}

#[test]
fn h_34_not_supported_is_remembered_for_all_volumes_until_the_driver_is_loaded_anew() {
    let script = Script::sh()
        .on("init", Answer::success())
        .on("mount", Answer::success().run(MOUNT))
        .on("unmount", Answer::success().run(UMOUNT));
    let Some(one) = One::new(script) else { return };
    let volumes = [("a", "{driver: v/d}"), ("b", "{driver: v/d}"), ("c", "{driver: v/d}")];
    one.wants(&pod("three", &volumes));
    one.bed.ok(["up", "--jobs", "1", &one.file]);
    for verb in ["attach", "waitforattach", "mountdevice"] {
        assert_eq!(one.count(verb), 1, "{verb}");
    }
    assert_eq!(one.count("mount"), 3);
    one.bed.ok(["down", "--jobs", "1", &one.file]);
    assert_eq!(one.count("detach"), 1);
    one.bed.assert_clean();
    // The next run has loaded it anew, and so asks again.
    one.bed.ok(["up", "--jobs", "1", &one.file]);
    assert_eq!(one.count("attach"), 2);
    one.bed.ok(["down", "--jobs", "1", &one.file]);
    one.bed.assert_clean();
}

/// The driver `v/d` of this bed, loaded by us and asked `waitforattach`.
struct Asked {
    drivers: Drivers,
    name: DriverName,
}

impl Asked {
    fn new(bed: &Bed, config: Value) -> Self {
        let config: Config = serde_json::from_value(config).unwrap();
        Self {
            drivers: Drivers::new(bed.sandbox.plugins(), Trust::here(), config),
            name: DriverName::parse("v/d").unwrap(),
        }
    }

    fn ask(&self) -> Result<Came<Device>, flexvolume_host::Error> {
        let driver = self.drivers.get(&self.name, &|_| {})?;
        let calling = Calling {
            driver: &driver,
            volume: "",
            call: "0123456789abcdef",
            redactor: &Redactor::default(),
            notes: &|_| {},
            watched: &mut |_| (),
        };
        call(calling, &WaitForAttach { device: Device::default(), options: Options::default() })
    }
}

#[test]
fn h_34_a_driver_whose_file_has_changed_is_asked_again_within_one_process() {
    let Some(bed) = Bed::new() else { return };
    let script = Script::sh().on("init", Answer::success());
    let recorded = bed.script("v/d", script.clone());
    let asked = Asked::new(&bed, json!({}));
    let twice = || (0..2).for_each(|_| assert_eq!(asked.ask().unwrap(), Came::NotSupported));
    twice();
    assert_eq!(recorded.verbs().unwrap(), ["init", "waitforattach"]);
    bed.script("v/d", script);
    twice();
    assert_eq!(recorded.verbs().unwrap(), ["init", "waitforattach", "init", "waitforattach"]);
}

#[test]
fn h_35_standard_input_is_at_its_end_whatever_ours_is() {
    let Some(one) = One::new(direct().records_stdin()) else { return };
    // A terminal that nobody types at: a driver that read it would hang here.
    let (_keyboard, held) = silent_pipe(&one.bed);
    let mut up = one.bed.command(["up", &one.file]).stdin(held).stdout(Stdio::null()).spawn().unwrap();
    until("the command to end", || up.try_wait().unwrap().is_some());
    assert!(up.wait().unwrap().success());
    one.goes("with nothing on standard input");
    let calls = one.driver.calls().unwrap();
    assert_eq!(calls.len(), 4);
    for call in calls {
        assert_eq!(call.stdin.as_deref(), Some(b"".as_slice()), "{call:?}");
    }
}

/// Both ends of a pipe nothing is ever written to.
fn silent_pipe(bed: &Bed) -> (File, File) {
    let path = bed.sandbox.path().join("keyboard");
    tool("mkfifo", &[path.to_str().unwrap()]);
    let both = File::options().read(true).write(true).open(&path).unwrap();
    (both, File::open(&path).unwrap())
}

#[test]
fn h_36_waitforattach_is_cut_at_its_limit_in_words_and_nothing_of_it_is_left() {
    let Some(bed) = Bed::new() else { return };
    let hangs = r#"sleep 3600 & echo $! >"$_d/../child"; echo $$ >"$_d/../driver"; sleep 3600"#;
    let driver =
        bed.script("v/d", Script::sh().on("init", Answer::success()).on("waitforattach", Answer::shell(hangs)));
    let asked = Asked::new(&bed, json!({"defaults": {"limits": {"waitforattach": {"answer": 0.1, "kill": 0.3}}}}));
    let error = asked.ask().unwrap_err();
    assert!(error.to_string().contains("did not answer waitforattach within"), "{error}");
    assert!(error.to_string().contains("and was ended") && error.next().is_some(), "{error}");
    let [child, driver] = ["child", "driver"].map(|file| pid_in(&driver.exe().with_file_name(file)));
    assert!(!lives(child), "its child goes on");
    assert!(!Path::new(&format!("/proc/{driver}")).exists(), "it was not reaped");
}

#[test]
fn h_37_a_background_child_that_holds_the_pipes_keeps_nobody_waiting() {
    let script = direct().on("mount", Answer::success().run(MOUNT).hold(Duration::from_secs(90)));
    let Some(one) = One::new(script) else { return };
    let start = Instant::now();
    one.comes("held");
    assert!(start.elapsed() < Duration::from_secs(45), "{:?}", start.elapsed());
    one.goes("held");
}

#[test]
fn h_38_what_cannot_be_run_is_told_and_hides_no_other_driver() {
    let Some(bed) = Bed::new() else { return };
    let plugins = bed.sandbox.plugins();
    let file = |name: &str| plugins.join(format!("v~{name}/{name}"));
    for name in ["deaf", "lost", "hole"] {
        bed.script(&format!("v/{name}"), direct());
    }
    bed.script("v/good", direct());
    tool("chmod", &["0644", file("deaf").to_str().unwrap()]);
    fs::remove_file(file("hole")).unwrap();
    fs::create_dir(file("hole")).unwrap();
    let text = fs::read_to_string(file("lost")).unwrap().replace("#!/bin/sh", "#!/no/such/shell");
    replace(&file("lost"), text.as_bytes());

    let ran = bed.run(["-o", "json", "drivers"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    let said = |name: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["driver"] == format!("v/{name}")).unwrap();
        row["error"].as_str().unwrap_or_default().to_owned()
    };
    assert!(said("deaf").contains("has no run bit"), "{rows}");
    assert!(said("hole").contains("is a directory"), "{rows}");
    assert!(said("lost").contains("/no/such/shell"), "{rows}");
    assert_eq!(said("good"), "");
    for (name, words) in [("deaf", "chmod 0755"), ("hole", "flexvol install"), ("lost", "/no/such/shell")] {
        let pod = bed.manifest("pod.yaml", &pod("web", &[("data", &format!("{{driver: v/{name}}}"))]));
        let ran = bed.run(["up", &pod]);
        assert!(ran.code > 0, "{ran:?}");
        ran.fails(ran.code, &[words]);
        bed.assert_clean();
    }
}
