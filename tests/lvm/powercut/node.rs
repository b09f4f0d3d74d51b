//! A machine whose disks lose their power: file systems on them, and a driver that works there.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flexvolume_testkit::killat::{self, Effect, Orphans, Plan, Spec, Verdict};
use flexvolume_testkit::powercut::Recorder;
use serde_json::Value;
use tempfile::TempDir;

/// Folders of one case, all in memory.
pub struct Node {
    dir: TempDir,
    driver: PathBuf,
    settings: String,
}

/// An effect of the driver that is left out, though the driver believes that it was done.
pub type Omitted = fn(&Effect) -> bool;

/// Nothing is left out.
pub fn nothing(_: &Effect) -> bool {
    false
}

impl Node {
    /// With a driver's executable by name.
    pub fn new(driver: &str) -> Node {
        let dir = tempfile::Builder::new().prefix("powercut-").tempdir_in("/dev/shm").unwrap();
        Node { dir, driver: flexvolume_testkit::binary(driver).unwrap(), settings: "{}".to_owned() }
    }

    /// A folder.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// The driver's settings.
    pub fn set(&mut self, settings: &Value) {
        self.settings = settings.to_string();
        fs::write(self.dir.path().join("settings.json"), &self.settings).unwrap();
    }

    /// A blank image.
    pub fn image(&self, name: &str, mib: u64) -> PathBuf {
        let path = self.dir("images").join(name);
        File::create_new(&path).unwrap().set_len(mib << 20).unwrap();
        path
    }

    fn env(&self) -> [(&'static str, PathBuf); 3] {
        let at = |name: &str| self.dir.path().join(name);
        [("FLEXVOL_RUN", at("run")), ("FLEXVOL_STATE", at("state")), ("FLEXVOL_SETTINGS", at("settings.json"))]
    }

    /// As a reboot does.
    pub fn forget_boot(&self) {
        let _ = fs::remove_dir_all(self.dir.path().join("run"));
    }

    /// Calls the driver; a failure is an error.
    pub fn call(&self, words: &[&str]) -> Result<Value, String> {
        let ran = Command::new(&self.driver).args(words).envs(self.env()).output().unwrap();
        answer(words, &ran.stdout)
    }

    /// Calls the driver while its disks are recorded, with a mark before every step, and acknowledges it as `what`.
    pub fn recorded(&self, recorder: &Recorder, omitted: Omitted, what: &str, words: &[&str]) -> Value {
        recorder.begin(what).unwrap();
        let spec = Spec::new(&self.driver).args(words).after(Orphans::Leave);
        let spec = self.env().into_iter().fold(spec, |spec, (name, value)| spec.env(name, value));
        let mut watch = |effect: &Effect| {
            let Effect { comm, syscall, detail, .. } = effect;
            let leave_out = omitted(effect);
            recorder.tick(&format!("{comm} {syscall} {detail}{}", if leave_out { " (left out)" } else { "" }))?;
            Ok(if leave_out { Verdict::Pretended } else { Verdict::Runs })
        };
        let report = killat::run_watched(&spec, Plan::Count, &mut watch).unwrap();
        let answer = answer(words, &report.stdout).unwrap();
        recorder.done(what).unwrap();
        answer
    }
}

fn answer(words: &[&str], stdout: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(stdout).into_owned();
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if value["status"] == "Success" => Ok(value),
        Ok(_) | Err(_) => Err(format!("{}: {text}", words[0])),
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

/// Mounts a file system; unmounted when dropped.
pub struct Mounted(PathBuf);

impl Mounted {
    pub fn new(device: &Path, dir: &Path) -> Result<Mounted, String> {
        rustix::mount::mount(device, dir, "ext4", rustix::mount::MountFlags::empty(), None::<&std::ffi::CStr>)
            .map_err(|e| format!("cannot mount {}: {e}", device.display()))?;
        Ok(Mounted(dir.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for mount in flexvolume_testkit::mounts::beneath(&self.0).unwrap_or_default() {
            let _ = rustix::mount::unmount(&mount.point, rustix::mount::UnmountFlags::empty());
        }
    }
}

/// Writes a file so that it lasts: its data, its size and its name.
pub fn write_durably(file: &Path, data: &[u8]) {
    let mut it = File::create(file).unwrap();
    it.write_all(data).unwrap();
    it.sync_all().unwrap();
    File::open(file.parent().unwrap()).unwrap().sync_all().unwrap();
}

/// What a file of a tenant holds: words that are found again in a raw device, then something of its own on each line.
pub fn content(tenant: &str, file: &str, kib: usize) -> Vec<u8> {
    let line = |n: usize| format!("tenant {tenant}, file {file}, line {n:6}\n");
    (0..).map(line).flat_map(String::into_bytes).take(kib << 10).collect()
}

/// A text that is path.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
