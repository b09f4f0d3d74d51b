//! A command of LVM's whose caller was killed: it is at work still when the next call comes, and that call waits for it.
//!
//! Before LVM's own command stands one that does the same, but a change that a case names waits until it is let go, as one does on a busy
//! disk. Each change is written down at its beginning and its end: two at a time would be seen.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use flexvolume_testkit::driver::J;
use serde_json::Value;

use super::field::{ALL_DIE, Field, NONE, active};
use crate::{
    group::lvm,
    tools::{shell, text},
};

/// The command in LVM's place. `$0.d` is its folder.
const STAND_IN: &str = r#"#!/bin/sh
case $1 in lvs|vgs|pvs|version) exec /usr/sbin/lvm "$@" ;; esac
echo "begin $$ $*" >>$0.d/log
case " $* " in *" $(cat $0.d/hold) "*)
    if mkdir $0.d/held 2>/dev/null; then
        echo $$ >$0.d/held/new; mv $0.d/held/new $0.d/held/pid
        while [ -d $0.d ] && [ ! -e $0.d/go ]; do sleep 0.05; done
    fi ;;
esac
/usr/sbin/lvm "$@"
status=$?
echo "end $$" >>$0.d/log
exit $status
"#;

/// So long the next call has for doing what it should not: many times what it takes to come to its first change.
const GRACE: Duration = Duration::from_secs(4);

/// Longer than any call takes, by far.
const PATIENCE: Duration = Duration::from_secs(120);

struct Scene {
    field: Field,
    dir: PathBuf,
}

impl Scene {
    fn new() -> Option<Scene> {
        let field = Field::new(ALL_DIE)?;
        let path = field.bed.sandbox.dir("path").unwrap();
        fs::write(path.join("lvm"), STAND_IN).unwrap();
        fs::set_permissions(path.join("lvm"), Permissions::from_mode(0o755)).unwrap();
        let dir = field.bed.sandbox.dir("path/lvm.d").unwrap();
        fs::write(dir.join("hold"), "").unwrap();
        Some(Scene { field, dir })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.field.command(args);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", text(self.dir.parent().unwrap())));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> Value {
        answer(args, self.command(args).spawn().unwrap())
    }

    fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Kills the driver while the change that has this word is at work, calls `next`, and lets the change go on. All that time
    /// no other change begins; then `next` succeeds.
    #[track_caller]
    fn orphaned(&self, word: &str, args: &[&str], next: &[&str]) -> Value {
        for old in ["held", "go", "log"] {
            let old = self.dir.join(old);
            let _ = if old.is_dir() { fs::remove_dir_all(&old) } else { fs::remove_file(&old) };
        }
        fs::write(self.dir.join("hold"), word).unwrap();
        let mut driver = self.command(args).env("FLEXVOL_CALL", "a-call").spawn().unwrap();
        let (start, held) = (Instant::now(), self.dir.join("held/pid"));
        while !held.exists() {
            assert!(
                start.elapsed() < PATIENCE && driver.try_wait().unwrap().is_none(),
                "no {word} in {args:?}: {:?}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let at_work = fs::read_to_string(held).unwrap().trim().to_owned();
        let environment = fs::read(format!("/proc/{at_work}/environ")).unwrap();
        assert!(!String::from_utf8_lossy(&environment).contains("FLEXVOL_CALL"), "{word} could be found and ended");
        let session = |pid: &str| shell("ps -o sid= -p $1", &[pid]);
        assert_ne!(session(&at_work), session(&driver.id().to_string()), "a signal to our group would reach {word}");
        driver.kill().unwrap();
        driver.wait().unwrap();
        let before = self.log();
        let mut waiting = self.command(next).spawn().unwrap();
        let start = Instant::now();
        while start.elapsed() < GRACE && waiting.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let (crossed, done) = (self.log(), waiting.try_wait().unwrap());
        fs::write(self.dir.join("go"), "").unwrap();
        let value = answer(next, waiting);
        assert_eq!(crossed, before, "{next:?} changed something while {word} of {args:?} was at work");
        assert_eq!(done, None, "{next:?} did not wait for {word} of {args:?}: {value}");
        let log = self.log();
        for pair in log.chunks(2) {
            let [begin, end] = pair else { panic!("{word} of {args:?}: one did not end: {log:#?}") };
            let of = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
            assert!(
                begin.starts_with("begin") && end.starts_with("end") && of(begin) == of(end),
                "two at a time: {log:#?}"
            );
        }
        value
    }
}

#[track_caller]
fn answer(args: &[&str], child: Child) -> Value {
    let ran = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let value: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{args:?}: {error}: {said:?}"));
    assert_eq!(value["status"], "Success", "{args:?}: {said}");
    value
}

#[test]
fn a_mount_or_unmount_waits_for_what_a_dead_one_began() {
    let Some(scene) = Scene::new() else { return };
    let field = &scene.field;
    let place = field.place("pod");
    let unmount = ["unmount", text(&place)];
    for (number, word) in ["lvcreate", "--deltag"].into_iter().enumerate() {
        let j = field.j(&format!("v{number}")).text();
        let mount = ["mount", text(&place), &j];
        scene.orphaned(word, &mount, &mount);
        field.assert_up(1, word);
        scene.ok(&unmount);
        // Its pod may be gone meanwhile.
        let j = field.j(&format!("w{number}")).text();
        let mount = ["mount", text(&place), &j];
        scene.orphaned(word, &mount, &unmount);
        field.assert_down(word);
        scene.ok(&mount);
        scene.ok(&unmount);
        field.assert_down(word);
    }
    let j = field.j("v0").text();
    let mount = ["mount", text(&place), &j];
    scene.orphaned("-ay", &mount, &mount);
    field.assert_up(1, "-ay");
    shell("echo kept >$1/file", &[text(&place)]);
    scene.orphaned("-an", &unmount, &mount);
    field.assert_up(1, "-an");
    assert_eq!(shell("cat $1/file", &[text(&place)]), "kept");
    scene.orphaned("-an", &unmount, &unmount);
    field.assert_down("-an");
    scene.orphaned("-ay", &mount, &unmount);
    field.assert_down("-ay");
}

#[test]
fn a_volume_that_is_adopted_or_revived_waits_too() {
    let Some(scene) = Scene::new() else { return };
    let field = &scene.field;
    let place = field.place("pod");
    let unmount = ["unmount", text(&place)];
    field.vg.create("theirs", "8m", &["-an", "-Zn", "-Wn"]);
    let j = field.j("theirs").with("adopt", "true").text();
    let mount = ["mount", text(&place), &j];
    scene.orphaned("--addtag", &mount, &mount);
    field.assert_up(1, "--addtag");
    // As a command leaves it that somebody has killed.
    let device = format!("/dev/mapper/{}", active(&field.vg)[0]);
    crate::tools::run(crate::group::dmsetup().args(["suspend", "--nolockfs", &device]));
    scene.orphaned("--refresh", &unmount, &unmount);
    field.assert_down("--refresh");
}

#[test]
fn what_is_provisioned_waits_for_what_a_dead_call_began() {
    let Some(scene) = Scene::new() else { return };
    let field = &scene.field;
    let place = field.place("none");
    let vg = field.vg.name.clone();
    let wish = J::default().with("volumegroup", &vg).with("flexvol/requiredBytes", &(8 << 20).to_string());
    let create = |name: &str| wish.clone().with("flexvol/name", name).text();
    let by_id = |name: &str| J::default().with("flexvol/id", &format!("{vg}/{name}")).text();
    for (number, word) in ["lvcreate", "--deltag", "-an"].into_iter().enumerate() {
        let name = format!("a{number}");
        let (create, by_id) = (create(&name), by_id(&name));
        scene.orphaned(word, &["createvolume", &create], &["createvolume", &create]);
        field.assert_volumes(&[&name], word);
        field.assert_down(word);
        scene.ok(&["deletevolume", &by_id]);
        // Whoever wished for it has given up.
        scene.orphaned(word, &["createvolume", &create], &["deletevolume", &by_id]);
        field.assert_volumes(&NONE, word);
        field.assert_down(word);
    }
    let thin = by_id("t");
    let (create, by_id) = (create("b"), by_id("b"));
    scene.ok(&["createvolume", &create]);
    let (new, old) = ((16 << 20).to_string(), (8 << 20).to_string());
    let expand = ["expandvolume", &by_id, text(&place), &new, &old];
    let grown = scene.orphaned("lvextend", &expand, &expand);
    assert_eq!(grown["bytes"], 16 << 20);
    for word in ["--addtag", "-ay", "lvremove"] {
        scene.orphaned(word, &["deletevolume", &by_id], &["deletevolume", &by_id]);
        field.assert_volumes(&NONE, word);
        field.assert_down(word);
        scene.ok(&["createvolume", &create]);
        // Or the name is wanted again.
        scene.orphaned(word, &["deletevolume", &by_id], &["createvolume", &create]);
        field.assert_volumes(&["b"], word);
        field.assert_down(word);
    }
    scene.ok(&["deletevolume", &by_id]);
    // Of a thin one each command is the last word: it is made in one step, and goes in one.
    field.vg.pool("pool", "24m");
    let wish = wish.with("thinpool", "pool");
    let (create, by_id) = (wish.with("flexvol/name", "t").text(), thin);
    for word in ["lvcreate", "--deltag"] {
        scene.orphaned(word, &["createvolume", &create], &["createvolume", &create]);
        field.assert_volumes(&["pool", "t"], word);
        scene.orphaned("lvremove", &["deletevolume", &by_id], &["deletevolume", &by_id]);
        field.assert_volumes(&["pool"], word);
    }
    scene.ok(&["createvolume", &create]);
    scene.orphaned("lvremove", &["deletevolume", &by_id], &["createvolume", &create]);
    field.assert_volumes(&["pool", "t"], "the name is wanted again");
    lvm(["lvremove", "--yes", "--force", &vg]);
}
