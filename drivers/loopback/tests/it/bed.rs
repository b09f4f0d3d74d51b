//! A node for one test: images, settings, places of pods and the driver's own folders, all in one sandbox.
//!
//! Each test has a mount namespace of its own, for others that part from ours while a test runs would keep copies of
//! its mounts, and their devices busy. And no test opens a file on a volume, or keeps one open on an image: the tracer of
//! another test holds a copy of every descriptor between fork and exec. Programs do it for them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use flexvolume_linux::namespace::{self, View};
pub(crate) use flexvolume_testkit::driver::{J, Said};
use flexvolume_testkit::{
    Sandbox,
    driver::Driver,
    is_root,
    killat::{self, Plan, Report, Spec},
    sandbox::BoundLoop,
    skip,
};
use tempfile::TempDir;

/// The node.
pub(crate) struct Bed {
    pub(crate) sandbox: Sandbox,
    driver: Driver,
    /// What the images' own file system lies on; it goes after the sandbox has unmounted it.
    _disk: Option<TempDir>,
}

impl Bed {
    /// `None`, with the reason printed, where this machine cannot give one.
    pub(crate) fn new() -> Option<Self> {
        if !is_root() {
            skip("loop devices and mounts need root");
            return None;
        }
        namespace::enter(&View::default()).unwrap();
        let sandbox = Sandbox::new().unwrap();
        let driver = Driver::new(Path::new(env!("CARGO_BIN_EXE_loopback")), sandbox.path());
        let bed = Self { sandbox, driver, _disk: None };
        bed.sandbox.dir("images").unwrap();
        bed.set(&format!(r#"{{"directory":{:?}}}"#, bed.images()));
        Some(bed)
    }

    /// The same, with images on a file system of that type and of 1 GiB.
    pub(crate) fn on(fs_type: &str) -> Option<Self> {
        let mut bed = Self::new()?;
        // In memory: what is tried on it is cut off a hundred times, and synced each time.
        let disk = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let file = disk.path().join("disk");
        fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
        run(&format!("mkfs.{fs_type}"), &["-q", text(&file)]);
        run("mount", &["-o", "loop", text(&file), text(&bed.images())]);
        bed._disk = Some(disk);
        Some(bed)
    }

    /// Calls it again and again while it is in progress; how often it was, and what it said at last.
    #[track_caller]
    pub(crate) fn until_done(&self, args: &[&str]) -> (usize, Said) {
        for times in 0..1000 {
            let said = self.call(args);
            if said.get("status") != "In progress" {
                return (times, said);
            }
        }
        panic!("{args:?} is in progress for ever");
    }

    /// Writes the settings.
    pub(crate) fn set(&self, json: &str) {
        fs::write(self.sandbox.path().join("settings.json"), json).unwrap();
    }

    /// The default directory for images.
    pub(crate) fn images(&self) -> PathBuf {
        self.sandbox.path().join("images")
    }

    pub(crate) fn image(&self, id: &str) -> PathBuf {
        self.images().join(format!("{id}.img"))
    }

    /// A pod's place for its volume, made as a host makes it.
    pub(crate) fn place(&self, pod: &str) -> PathBuf {
        self.sandbox.dir(&format!("pods/{pod}/volumes/flexvol~loopback/data")).unwrap()
    }

    /// The options of a volume that may be created, 8 MiB of ext4.
    pub(crate) fn j(&self, id: &str) -> J {
        J::default()
            .with("volumeID", id)
            .with("create", "true")
            .with("size", "8m")
            .with("kubernetes.io/fsType", "ext4")
            .with("kubernetes.io/readwrite", "rw")
            .with("kubernetes.io/pvOrVolumeName", &format!("pv-{id}"))
    }

    /// Calls the driver.
    #[track_caller]
    pub(crate) fn call(&self, args: &[&str]) -> Said {
        self.driver.call(args)
    }

    /// Calls it twice in a row: both answers are the same Success.
    #[track_caller]
    pub(crate) fn twice(&self, args: &[&str]) -> Said {
        self.driver.twice(args)
    }

    pub(crate) fn mount(&self, place: &Path, j: &J) -> Said {
        self.call(&["mount", text(place), &j.text()])
    }

    pub(crate) fn unmount(&self, place: &Path) -> Said {
        self.call(&["unmount", text(place)])
    }

    /// Attaches under the name of the volume, and gives the device.
    pub(crate) fn attach(&self, j: &J) -> String {
        self.call(&["attach", &j.text(), "node"]).ok().word("device")
    }

    /// Runs a call under the tracer.
    pub(crate) fn traced(&self, args: &[&str], plan: Plan) -> Report {
        let spec = Spec::new(self.driver.exe()).args(args);
        let spec = self.driver.env().iter().fold(spec, |spec, (name, value)| spec.env(name, value));
        killat::run(&spec, plan).unwrap()
    }

    pub(crate) fn loops(&self) -> Vec<BoundLoop> {
        self.sandbox.loops().unwrap()
    }

    /// How many mounts are there, beneath the places of pods.
    pub(crate) fn mounts(&self) -> usize {
        self.sandbox
            .mounts()
            .unwrap()
            .iter()
            .filter(|it| it.point.starts_with(self.sandbox.path().join("pods")))
            .count()
    }

    /// Neither mount nor loop device, nor a record of one, is left.
    #[track_caller]
    pub(crate) fn assert_down(&self, about: &str) {
        assert_eq!(self.mounts(), 0, "{about}: mounts left");
        assert_eq!(self.loops().len(), 0, "{about}: loop devices left");
        // Locks that a killed call left lock nobody out, and files that it had not finished are no records.
        let mut records = files(&self.sandbox.path().join("run"));
        records.retain(|path| !text(path).contains("/locks/") && !text(path).contains("/."));
        assert_eq!(records, Vec::<PathBuf>::new(), "{about}: records left");
    }

    /// One loop device, and so many mounts of it.
    #[track_caller]
    pub(crate) fn assert_up(&self, mounts: usize, about: &str) {
        assert_eq!(self.mounts(), mounts, "{about}: mounts");
        assert_eq!(self.loops().len(), 1, "{about}: loop devices");
    }

    /// The names in the directory for images.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = files(&self.images()).into_iter();
        names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }
}

/// What a case that failed left attached goes first: once the file system beneath its image is out of sight, nobody finds it.
impl Drop for Bed {
    fn drop(&mut self) {
        for one in self.sandbox.loops().into_iter().flatten() {
            let _ = one.detach();
        }
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every file beneath a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() { all.extend(files(&entry.path())) } else { all.push(entry.path()) }
    }
    all.sort();
    all
}

/// Writes a file on a volume and gives what the shell had to say.
pub(crate) fn try_write(file: &Path, data: &str) -> Result<(), String> {
    let ran = Command::new("sh").args(["-c", "printf %s \"$2\" >\"$1\"", "sh", text(file), data]).output().unwrap();
    if ran.status.success() { Ok(()) } else { Err(String::from_utf8(ran.stderr).unwrap()) }
}

/// Writes a file on a volume.
#[track_caller]
pub(crate) fn write(file: &Path, data: &str) {
    try_write(file, data).unwrap();
}

/// Reads a file on a volume.
#[track_caller]
pub(crate) fn read(file: &Path) -> String {
    run("cat", &[text(file)])
}

/// Runs a program of the system and insists on success.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let ran = Command::new(program).args(args).output().unwrap();
    assert!(ran.status.success(), "{program} {args:?}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}
