//! Where the page about deviations says what Kubernetes does instead, the original is seen doing it, and our host is not.

use std::{fs, path::PathBuf, thread, time::Duration};

use flexvolume_linux::mount::table;
use flexvolume_testkit::scripted::{Answer, Script, Scripted};
use serde_json::{Value, json};

use super::{Known, MOUNT, Reply, UNMOUNT, Witness, assert_written, inline, install};
use crate::{
    bed::{Bed, Ran, pod},
    scripts::{attachable, direct, image, staged, tool},
};

/// Both hosts, a driver `v/d`, and an inline volume of it in the pod `web`. Our host has the pod's volume under another uid.
struct Scene {
    /// Ends before the bed goes: it makes a plugin directory that vanishes anew.
    witness: Witness,
    bed: Bed,
    driver: Scripted,
    source: Value,
}

impl Scene {
    /// The scene for a line of the page, or `None` where there can be none.
    fn new(line: &'static str, script: impl FnOnce(&Bed) -> Script) -> Option<Self> {
        assert_written(&[Known { name: "a deviation", line }]);
        let bed = Bed::new()?;
        let witness = Witness::start(&bed)?;
        let driver = install(&bed, "v/d", script(&bed));
        let mut scene = Self { witness, bed, driver, source: json!({"driver": "v/d"}) };
        scene.witness.found("v/d");
        Some(scene)
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.source[key] = value;
        self
    }

    fn ask(&self) -> Value {
        json!({"volume": inline("data", self.source.clone()), "pod": super::pod("web"), "node": "node"})
    }

    fn set_up(&mut self) -> Reply {
        let ask = self.ask();
        self.witness.ask("setup", ask)
    }

    fn tear_down(&mut self) -> Reply {
        self.witness.ask("teardown", json!({"driver": "v/d", "name": "data", "uid": "uid-web"}))
    }

    /// The pod's directory under the original.
    fn dir(&self) -> PathBuf {
        self.bed.sandbox.root().join("pods/uid-web/volumes/v~d/data")
    }

    fn up(&self) -> Ran {
        let file = self.bed.manifest("pod.yaml", &pod("web", &[("data", &self.source.to_string())]));
        self.bed.run(["up", &file])
    }

    fn down(&self) -> Ran {
        self.bed.run(["down", "web"])
    }

    /// The pod's directory under our host.
    fn path(&self) -> PathBuf {
        self.bed.path_of("web", "data")
    }

    fn count(&self, verb: &str) -> usize {
        self.driver.verbs().unwrap().iter().filter(|other| *other == verb).count()
    }
}

#[track_caller]
fn done(reply: &Reply) {
    assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
}

#[track_caller]
fn failed(reply: &Reply, word: &str) {
    assert!(matches!(reply, Reply::Error { text, .. } if text.contains(word)), "no {word:?} in {reply:?}");
}

fn options_of(path: &std::path::Path) -> String {
    tool("findmnt", &["-n", "-o", "OPTIONS", path.to_str().unwrap()])
}

#[test]
fn one_line_on_standard_error() {
    let noisy = direct().on("mount", Answer::success().run(MOUNT).stderr("a warning\n"));
    let Some(mut scene) = Scene::new("**The answer is found, not demanded.**", |_| noisy) else { return };
    failed(&scene.set_up(), "invalid character");
    let ran = scene.up();
    assert!(ran.code == 0 && ran.stderr.contains("warning"), "{ran:?}");
    assert_eq!(scene.down().code, 0);
}

#[test]
fn a_daemon_that_holds_the_pipe() {
    let line = "**After an answer nothing is waited for and nothing is killed.**";
    let held = |bed: &Bed| bed.sandbox.path().join("held");
    let script = |bed: &Bed| {
        let daemon = format!("while [ -e {} ]; do sleep 0.1; done &", held(bed).display());
        direct().on("mount", Answer::shell(format!("{MOUNT}\necho '{{\"status\":\"Success\"}}'\n{daemon}\n_end 0")))
    };
    let Some(mut scene) = Scene::new(line, script) else { return };
    let held = held(&scene.bed);
    fs::write(&held, "").unwrap();
    assert_eq!(scene.up().code, 0, "our host did not wait");
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_secs(1));
            fs::remove_file(&held).unwrap();
        });
        done(&scene.set_up());
        assert!(!held.exists(), "the original did not wait");
    });
    assert_eq!(scene.down().code, 0);
}

#[test]
fn a_wait_that_names_no_device() {
    let script = |bed: &Bed| {
        let disk = bed.sandbox.path().join("disk");
        image(&disk, 16);
        attachable(&disk).on("waitforattach", Answer::success())
    };
    let Some(mut scene) = Scene::new("**`waitforattach` that answers no device**", script) else { return };
    let mut ask = scene.ask();
    ask["device"] = scene.witness.ok("attach", ask.clone());
    ask["device"] = scene.witness.ok("wait", ask.clone());
    assert_eq!(ask["device"], "");
    let global = PathBuf::from(scene.witness.word("mountdevice", ask));
    assert!(global.is_dir() && table::at(&global).unwrap().is_none(), "the original mounts nothing and says nothing");
    done(&scene.set_up());
    let disk_of_host = |path| fs::metadata(path).map(|meta| std::os::unix::fs::MetadataExt::dev(&meta)).unwrap();
    assert_eq!(disk_of_host(scene.dir()), disk_of_host(scene.bed.sandbox.root()));
    done(&scene.tear_down());
    scene.witness.ok("unmountdevice", json!({"driver": "v/d", "path": global}));
    scene.witness.ok("detach", json!({"driver": "v/d", "name": "data", "node": "node"}));

    assert_eq!(scene.up().code, 0);
    let mounted = table::at(&scene.path()).unwrap().unwrap();
    assert!(mounted.source.starts_with("/dev/loop"), "{mounted:?}");
    assert_eq!(scene.down().code, 0);
}

#[test]
fn a_success_that_mounted_nothing() {
    let Some(mut scene) = Scene::new("**Success is checked.**", |_| direct().on("mount", Answer::success())) else {
        return;
    };
    done(&scene.set_up());
    assert!(table::at(&scene.dir()).unwrap().is_none());
    scene.up().fails(1, &["nothing is mounted"]);
}

#[test]
fn a_failure_that_left_its_mount() {
    let half = format!("{MOUNT}; echo '{{\"status\":\"Failure\",\"message\":\"after all\"}}'; _end 1");
    let script = direct().on("mount", Answer::shell(half));
    let Some(mut scene) = Scene::new("**What a failed call left mounted is undone.**", |_| script) else { return };
    failed(&scene.set_up(), "after all");
    done(&scene.set_up());
    assert_eq!(scene.count("mount"), 1, "the second time the driver is not asked");
    done(&scene.tear_down());
    scene.up().fails(1, &["after all"]);
    assert_eq!(scene.bed.sandbox.mounts().unwrap(), []);
}

#[test]
fn a_read_only_volume_that_the_driver_left_writable() {
    let line = "**Read-only is enforced on the pod's own mount.**";
    let Some(scene) = Scene::new(line, |_| direct()) else { return };
    let mut scene = scene.with("readOnly", json!(true));
    done(&scene.set_up());
    fs::write(scene.dir().join("file"), "").unwrap();
    done(&scene.tear_down());
    assert_eq!(scene.up().code, 0);
    assert!(fs::write(scene.path().join("file"), "").is_err());
    assert_eq!(scene.down().code, 0);
}

#[test]
fn set_uid_files_and_device_nodes() {
    let Some(mut scene) = Scene::new("**nosuid and nodev on every mount**", |_| direct()) else { return };
    done(&scene.set_up());
    let options = options_of(&scene.dir());
    assert!(!options.contains("nosuid") && !options.contains("nodev"), "{options}");
    done(&scene.tear_down());
    assert_eq!(scene.up().code, 0);
    let options = options_of(&scene.path());
    assert!(options.contains("nosuid") && options.contains("nodev"), "{options}");
    assert_eq!(scene.down().code, 0);
}

#[test]
fn a_failed_unmount_after_which_nothing_is_mounted() {
    let line = "**A failed unmount after which nothing is mounted is a success**";
    let script = direct().on("unmount", Answer::failure("not mounted").run(format!("{UNMOUNT} || true")));
    let Some(mut scene) = Scene::new(line, |_| script) else { return };
    done(&scene.set_up());
    failed(&scene.tear_down(), "not mounted");
    failed(&scene.tear_down(), "not mounted");
    assert_eq!(scene.up().code, 0);
    let ran = scene.down();
    assert!(ran.code == 0 && ran.stderr.contains("warning"), "{ran:?}");
}

#[test]
fn an_unmount_that_does_nothing() {
    let line = "**A Success after which something is mounted is finished by us.**";
    let Some(mut scene) = Scene::new(line, |_| direct().on("unmount", Answer::success())) else { return };
    done(&scene.set_up());
    failed(&scene.tear_down(), "busy");
    tool("umount", &[scene.dir().to_str().unwrap()]);
    assert_eq!(scene.up().code, 0);
    assert_eq!(scene.down().code, 0);
    assert_eq!(scene.bed.sandbox.mounts().unwrap(), []);
}

#[test]
fn data_that_no_probe_knows() {
    let script = |bed: &Bed| {
        let disk = bed.sandbox.path().join("disk");
        image(&disk, 16);
        tool(
            "dd",
            &["if=/dev/urandom", &format!("of={}", disk.display()), "bs=4096", "seek=16", "count=1", "conv=notrunc"],
        );
        attachable(&disk)
    };
    let Some(mut scene) = Scene::new("**No format without proof.**", script) else { return };
    let disk = scene.bed.sandbox.path().join("disk");
    let before = fs::read(&disk).unwrap();
    scene.up().fails(4, &["is not touched"]);
    assert!(fs::read(&disk).unwrap() == before, "our host wrote to it");
    let mut ask = scene.ask();
    ask["device"] = scene.witness.ok("attach", ask.clone());
    let global = PathBuf::from(scene.witness.word("mountdevice", ask));
    assert_eq!(table::at(&global).unwrap().unwrap().fs_type, "ext4", "the original formats it");
    scene.witness.ok("unmountdevice", json!({"driver": "v/d", "path": global}));
    scene.witness.ok("detach", json!({"driver": "v/d", "name": "data", "node": "node"}));
}

#[test]
fn two_inline_volumes_of_one_name() {
    let script = staged().on("init", Answer::success()).on("mount", Answer::not_supported());
    let script = script.on("unmount", Answer::not_supported()).otherwise(Answer::not_supported());
    let Some(mut scene) = Scene::new("**Inline volumes of one name never share.**", |_| script) else { return };
    let mut globals = Vec::new();
    for which in ["first", "second"] {
        let source = json!({"driver": "v/d", "options": {"which": which}});
        let ask = json!({"volume": inline("data", source), "pod": super::pod(which), "device": "none"});
        globals.push(scene.witness.word("mountdevice", ask.clone()));
        let dir = PathBuf::from(scene.witness.word("setup", ask));
        fs::write(dir.join(which), "").unwrap();
        assert!(dir.join("first").exists(), "the original gives both pods one volume");
        tool("umount", &[dir.to_str().unwrap()]);
    }
    assert_eq!(globals[0], globals[1]);
    scene.witness.ok("unmountdevice", json!({"driver": "v/d", "path": globals[0]}));
    let manifest = ["first", "second"]
        .map(|which| pod(which, &[("data", &json!({"driver": "v/d", "options": {"which": which}}).to_string())]));
    let file = scene.bed.manifest("two.yaml", &manifest.join("---\n"));
    scene.bed.ok(["up", "--jobs", "1", &file]);
    let dir = |which: &str| {
        scene.bed.json(["ls"]).as_array().unwrap().iter().find(|row| row["pod"] == which).unwrap()["path"].clone()
    };
    fs::write(PathBuf::from(dir("first").as_str().unwrap()).join("first"), "").unwrap();
    assert!(!PathBuf::from(dir("second").as_str().unwrap()).join("first").exists());
    scene.bed.ok(["down", "--all"]);
}

#[test]
fn entries_that_could_not_be_given_to_the_group() {
    // A driver that bakes read-only into its mount without a word.
    let script = direct().on("mount", Answer::success().run(r#"mount -t tmpfs -o ro none "$2""#));
    let Some(mut scene) = Scene::new("**Entries that could not be given are told**", |_| script) else { return };
    let mut ask = scene.ask();
    ask["pod"]["spec"]["securityContext"] = json!({"fsGroup": 4711});
    done(&scene.witness.ask("setup", ask));
    done(&scene.tear_down());
    let text = pod("web", &[("data", &scene.source.to_string())])
        .replace("spec:\n", "spec:\n  securityContext: {fsGroup: 4711}\n");
    let file = scene.bed.manifest("pod.yaml", &text);
    let ran = scene.bed.run(["up", &file]);
    assert!(ran.code == 0 && ran.stderr.contains("warning") && ran.stderr.contains("4711"), "{ran:?}");
    assert_eq!(scene.down().code, 0);
}

#[test]
fn a_driver_that_failed_when_it_was_first_seen() {
    assert_written(&[Known { name: "init again", line: "**A failing `init` is tried again at its pace**" }]);
    let Some(bed) = Bed::new() else { return };
    let failing = direct().on_each("init", [Answer::failure("no helper yet"), Answer::success()]);
    let driver = install(&bed, "v/d", failing);
    let inits = || driver.verbs().unwrap().len();
    driver.forget().unwrap();
    let Some(mut witness) = Witness::start(&bed) else { return };
    for _ in 0..3 {
        witness.fails("find", json!({"driver": "v/d"}), &["no volume plugin matched"]);
    }
    assert_eq!(inits(), 1, "the original never asks again");
    drop(witness);
    driver.forget().unwrap();
    bed.run(["drivers"]).fails(1, &["no helper yet"]);
    bed.ok(["drivers"]);
}

#[test]
fn a_secret_in_the_log_of_a_failed_call() {
    let script = direct().on("mount", Answer::failure("wrong password"));
    let Some(scene) = Scene::new("**Secrets are redacted**", |_| script) else { return };
    let mut scene = scene.with("secretRef", json!({"name": "keys"}));
    const ENCODED: &str = "WnE3LWEtc2VjcmV0LVZ4Mw==";
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "default"}, "type": "v/d",
        "data": {"password": ENCODED},
    });
    scene.witness.ok("secret", json!({"secret": secret}));
    failed(&scene.set_up(), "wrong password");
    assert!(scene.witness.logged().contains(ENCODED), "the original does not log it any more");
    let manifest = format!("{secret}\n---\n{}", pod("web", &[("data", &scene.source.to_string())]));
    let file = scene.bed.manifest("pod.yaml", &manifest);
    let ran = scene.bed.run(["-v", "up", &file]);
    assert!(ran.code == 1 && !ran.stderr.contains(&ENCODED[..20]) && !ran.stderr.contains("a-secret"), "{ran:?}");
}

/// No deviation any more: since statx tells, the original sees such a bind as we do.
#[test]
fn a_bind_within_one_file_system() {
    let script = |bed: &Bed| {
        let from = bed.sandbox.dir("share").unwrap();
        direct().on("mount", Answer::success().run(format!(r#"mount --bind {} "$2""#, from.display())))
    };
    let Some(mut scene) = Scene::new("so binds within one file system are seen", script) else { return };
    done(&scene.set_up());
    done(&scene.set_up());
    assert_eq!(scene.count("mount"), 1, "the original");
    done(&scene.tear_down());
    scene.driver.forget().unwrap();
    assert_eq!((scene.up().code, scene.up().code), (0, 0));
    assert_eq!(scene.count("mount"), 1, "ours");
    assert_eq!(scene.down().code, 0);
}
