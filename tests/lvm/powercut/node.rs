//! A machine whose disks lose their power, and a driver that works there.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flexvolume_testkit::Sandbox;
use flexvolume_testkit::killat::{self, Effect, Orphans, Plan, Spec, Verdict};
use flexvolume_testkit::powercut::Recorder;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use tempfile::TempDir;

use crate::{bed, group, tools::ended};

/// The node of one case.
pub struct Node {
    /// What the driver sees: settings, notes of this boot, mounts. A loop device whose file lies here is the driver's.
    sandbox: Sandbox,
    /// Images and logs of the disks.
    work: TempDir,
    driver: PathBuf,
    /// More of the driver's environment.
    more: Vec<(&'static str, PathBuf)>,
}

/// An effect of the driver that is left out, though the driver believes that it was done.
pub type Omitted = fn(&Effect) -> bool;

/// Nothing is left out.
pub fn nothing(_: &Effect) -> bool {
    false
}

impl Node {
    /// With a driver's executable by name; `None`, with the reason printed, where nothing can be recorded.
    pub fn new(driver: &str) -> Option<Node> {
        bed::device_mapper()?;
        group::targets(&["log-writes", "snapshot"])?;
        let work = tempfile::Builder::new().prefix("powercut-").tempdir().unwrap();
        // In a guest the executable may lie in a shared folder, from where each start takes ten times as long.
        let copy = work.path().join(driver);
        fs::copy(flexvolume_testkit::binary(driver).unwrap(), &copy).unwrap();
        Some(Node { sandbox: Sandbox::new().unwrap(), work, driver: copy, more: Vec::new() })
    }

    /// A folder that the driver may see.
    pub fn dir(&self, name: &str) -> PathBuf {
        self.sandbox.dir(name).unwrap()
    }

    /// A folder that it does not see.
    pub fn work(&self, name: &str) -> PathBuf {
        let dir = self.work.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Where what lasts is mounted: the driver's state is below it.
    pub fn lasting(&self) -> PathBuf {
        self.dir("lasting")
    }

    /// The driver's settings.
    pub fn set(&self, settings: &Value) {
        fs::write(self.sandbox.path().join("settings.json"), settings.to_string()).unwrap();
    }

    /// A blank image of a disk.
    pub fn image(&self, name: &str, mib: u64) -> PathBuf {
        let path = self.work("disks").join(name);
        File::create_new(&path).unwrap().set_len(mib << 20).unwrap();
        path
    }

    /// One more variable of the driver's environment.
    pub fn env(&mut self, name: &'static str, value: PathBuf) {
        self.more.push((name, value));
    }

    fn all_env(&self) -> impl Iterator<Item = (&'static str, PathBuf)> + '_ {
        let at = |name: &str| self.sandbox.path().join(name);
        let own = [
            ("FLEXVOL_RUN", at("run")),
            ("FLEXVOL_STATE", at("lasting/state")),
            ("FLEXVOL_SETTINGS", at("settings.json")),
        ];
        own.into_iter().chain(self.more.iter().cloned())
    }

    /// As a machine is when it starts: no notes of the boot before.
    pub fn boot(&self) {
        let _ = fs::remove_dir_all(self.sandbox.path().join("run"));
    }

    /// Takes away all mounts, and loop devices of the driver.
    pub fn halt(&self) {
        let plainly = || {
            for mount in self.sandbox.mounts().unwrap() {
                let _ = unmount(&mount.point, UnmountFlags::empty());
            }
        };
        plainly();
        // What a loop device has open keeps the file system below it busy.
        for it in self.sandbox.loops().unwrap() {
            it.detach().unwrap();
        }
        plainly();
        self.sandbox.unmount_all().unwrap();
    }

    /// Calls the driver; a failure is an error. What is in progress is called until it is done.
    pub fn call(&self, words: &[&str]) -> Result<Value, String> {
        ended(words[0], || {
            let ran = Command::new(&self.driver).args(words).envs(self.all_env()).output().unwrap();
            answer(words, &ran.stdout).transpose()
        })
    }

    /// Calls the driver while its disks are recorded, with a mark before every step, and acknowledges it as `what`.
    pub fn recorded(&self, recorder: &Recorder, omitted: Omitted, what: &str, words: &[&str]) -> Value {
        recorder.begin(what).unwrap();
        let spec = Spec::new(&self.driver).args(words).after(Orphans::Leave);
        let spec = self.all_env().fold(spec, |spec, (name, value)| spec.env(name, value));
        let mut watch = |effect: &Effect| {
            let Effect { comm, syscall, detail, .. } = effect;
            let leave_out = omitted(effect);
            recorder.tick(&format!("{comm} {syscall} {detail}{}", if leave_out { " (left out)" } else { "" }))?;
            Ok(if leave_out { Verdict::Pretended } else { Verdict::Runs })
        };
        let answer = ended(what, || {
            let report = killat::run_watched(&spec, Plan::Count, &mut watch).unwrap();
            answer(words, &report.stdout).unwrap()
        });
        recorder.done(what).unwrap();
        answer
    }
}

/// None if it is still in progress.
fn answer(words: &[&str], stdout: &[u8]) -> Result<Option<Value>, String> {
    let text = String::from_utf8_lossy(stdout);
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if value["status"] == "Success" => Ok(Some(value)),
        Ok(value) if value["status"] == "In progress" => Ok(None),
        Ok(_) | Err(_) => Err(format!("{}: {text}", words.join(" "))),
    }
}

/// Runs a program of the system; that it fails is an error.
pub fn run(program: &str, words: &[&str]) -> Result<String, String> {
    let ran = Command::new(program).args(words).output().map_err(|e| format!("{program}: {e}"))?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    Err(format!("{program} {words:?}: {}", String::from_utf8_lossy(&ran.stderr)))
}

/// Mounts an ext4.
pub fn mounted(device: &Path, dir: &Path) -> Result<(), String> {
    mount(device, dir, "ext4", MountFlags::empty(), None::<&std::ffi::CStr>)
        .map_err(|e| format!("cannot mount {}: {e}", device.display()))
}

/// Writes a file so that it lasts: its data, its size and its name.
pub fn write_durably(file: &Path, data: &[u8]) {
    let mut it = File::create(file).unwrap();
    it.write_all(data).unwrap();
    it.sync_all().unwrap();
    File::open(file.parent().unwrap()).unwrap().sync_all().unwrap();
}

/// What a file of a tenant holds: words that are found again in a raw device, and on each line something of its own.
pub fn content(tenant: &str, file: &str, kib: usize) -> Vec<u8> {
    let line = |n: usize| format!("{}, file {file}, line {n:6}\n", marker(tenant));
    (0..).map(line).flat_map(String::into_bytes).take(kib << 10).collect()
}

/// The words that tell whose a block is.
pub fn marker(tenant: &str) -> String {
    format!("property of tenant {tenant}")
}
