//! Fault 6 at scale: while volumes go up and down, a directory above them is exchanged for a link that somebody laid, and back,
//! all the time. Nothing is mounted, made, given away or taken away where the link leads.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{lchown, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use flexvolume_testkit::picture::Picture;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::loopback;
use crate::{
    bed::{Bed, Ran, pod},
    scripts::direct,
};

/// Somebody who may rename things, but is neither root nor whom we run as.
const SOMEBODY: u32 = 1234;

/// A thread that exchanges a directory for a link of somebody's, and back, as fast as it can.
pub(super) struct Swapper {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
    way: PathBuf,
    link: PathBuf,
}

impl Swapper {
    /// Begins; `way` need not be there all the time. The other name lies beside where the link leads.
    pub(super) fn new(way: &Path, to: &Path) -> Self {
        let link = to.with_added_extension("link");
        symlink(to, &link).unwrap();
        lchown(&link, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (stop, one, other) = (over.clone(), way.to_owned(), link.clone());
        let thread = thread::spawn(move || {
            let mut swaps = 0;
            while !stop.load(Ordering::Relaxed) {
                swaps += u64::from(renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).is_ok());
                // Whoever is to be raced must get to run at all.
                thread::yield_now();
            }
            swaps
        });
        Self { over, thread: Some(thread), way: way.to_owned(), link }
    }

    /// Ends, and puts back what was there; how often it was swapped.
    pub(super) fn end(mut self) -> u64 {
        self.stop()
    }

    fn stop(&mut self) -> u64 {
        let Some(thread) = self.thread.take() else { return 0 };
        self.over.store(true, Ordering::Relaxed);
        let swaps = thread.join().unwrap();
        if fs::symlink_metadata(&self.way).is_ok_and(|meta| meta.is_symlink()) {
            renameat_with(CWD, &self.way, CWD, &self.link, RenameFlags::EXCHANGE).unwrap();
        }
        fs::remove_file(&self.link).unwrap();
        swaps
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Two pods, each with a group of its own: one with a tmpfs, one with a loopback volume and its images in `store/images`.
struct Field {
    bed: Bed,
    scratch: String,
    disk: String,
    uids: [String; 2],
}

impl Field {
    fn new() -> Option<Self> {
        let bed = Bed::with_drivers()?;
        let images = bed.sandbox.dir("store/images").unwrap();
        let group = |text: String| text.replace("spec:\n", "spec:\n  securityContext: {fsGroup: 4321}\n");
        let scratch = pod("scratch", &[("data", "{driver: flexvol.io/tmpfs, options: {size: 4Mi}}")]);
        let disk = pod("disk", &[("data", &loopback(&images, "v"))]);
        let (scratch, disk) = (bed.manifest("scratch.yaml", &group(scratch)), bed.manifest("disk.yaml", &group(disk)));
        let uids = [&scratch, &disk].map(|file| {
            let rows = bed.json(["up", file]);
            bed.ok(["down", file]);
            rows[0]["uid"].as_str().unwrap().to_owned()
        });
        Some(Self { bed, scratch, disk, uids })
    }

    /// A canary that has everything which lies beneath `way` while both pods are up, and files in each directory of it.
    fn canary(&self, way: &Path) -> PathBuf {
        self.bed.ok(["up", &self.scratch, &self.disk]);
        let canary = self.bed.sandbox.dir(&format!("canary-{}", way.file_name().unwrap().display())).unwrap();
        copy(way, &canary);
        self.bed.ok(["down", "--all"]);
        canary
    }

    /// Brings up and takes down while `way` is swapped; whatever happens is told, and the canary never notices.
    fn swap(&self, way: &Path, file: &str, rounds: usize) {
        let canary = self.canary(way);
        let before = picture(&canary);
        let swapper = Swapper::new(way, &canary);
        let mut codes = BTreeMap::new();
        for round in 0..rounds {
            let more: &[&str] = if round % 4 == 0 { &["ls", "--usage"] } else { &["-v", "drivers"] };
            for args in [&["up", file] as &[&str], more, &["down", file]] {
                let ran = self.bed.run(args);
                assert_told(&ran);
                *codes.entry((args[0].to_owned(), ran.code)).or_insert(0) += 1;
                assert_eq!(picture(&canary), before, "{} {args:?}: {ran:?}", way.display());
            }
        }
        assert!(swapper.end() > rounds as u64, "no race at {}: {codes:?}", way.display());
        // With the swapper gone all is as it was.
        self.bed.run(["down", "--all"]);
        self.bed.ok(["up", file]);
        self.bed.ok(["down", "--all"]);
        self.bed.assert_clean();
        assert_eq!(picture(&canary), before);
        assert!(codes.keys().any(|(_, code)| *code != 0), "{} was never met: {codes:?}", way.display());
    }
}

fn picture(canary: &Path) -> Picture {
    Picture::of(canary).unwrap()
}

/// It ends by itself, and says why where it failed.
fn assert_told(ran: &Ran) {
    assert!([0, 1, 3, 4, 5].contains(&ran.code), "{ran:?}");
    assert!(ran.code == 0 || ran.stderr.contains("error:"), "{ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
}

/// The directories, each with a file of its own in it: whatever is made beneath the one can be made beneath the other.
fn copy(from: &Path, to: &Path) {
    fs::write(to.join("canary"), "sings").unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap).filter(|entry| entry.metadata().unwrap().is_dir()) {
        let to = to.join(entry.file_name());
        fs::create_dir(&to).unwrap();
        copy(&entry.path(), &to);
    }
}

#[test]
fn no_directory_of_a_pod_can_be_led_elsewhere() {
    let Some(field) = Field::new() else { return };
    let root = field.bed.sandbox.root();
    let [scratch, disk] = field.uids.clone().map(|uid| root.join("pods").join(uid));
    for (way, file, rounds) in [
        (root.join("pods"), &field.scratch, 20),
        (scratch.clone(), &field.scratch, 20),
        (scratch.join("volumes"), &field.scratch, 20),
        (scratch.join("volumes/flexvol.io~tmpfs"), &field.scratch, 20),
        (disk, &field.disk, 10),
    ] {
        field.swap(&way, file, rounds);
    }
}

#[test]
fn no_global_directory_can_be_led_elsewhere() {
    let Some(field) = Field::new() else { return };
    let root = field.bed.sandbox.root();
    for way in
        ["plugins", "plugins/kubernetes.io/flexvolume", "plugins/kubernetes.io/flexvolume/flexvol.io/loopback/mounts"]
    {
        field.swap(&root.join(way), &field.disk, 10);
    }
}

#[test]
fn no_directory_of_images_can_be_led_elsewhere() {
    let Some(field) = Field::new() else { return };
    for way in ["store", "store/images"] {
        field.swap(&field.bed.sandbox.path().join(way), &field.disk, 10);
    }
}

/// Who can swap the plugin directory could as well write into it: then nothing in it is run, whichever way it is swapped.
#[test]
fn no_driver_is_run_from_a_plugin_directory_that_somebody_could_swap() {
    let Some(bed) = Bed::new() else { return };
    let ran = bed.sandbox.path().join("ran");
    let above = bed.sandbox.dir("above").unwrap();
    let drivers = bed.sandbox.dir("above/drivers").unwrap();
    let canary = bed.sandbox.dir("canary").unwrap();
    let marks = format!("echo ran >>{}", ran.display());
    let hostile = flexvolume_testkit::scripted::Answer::shell(marks);
    for place in [&drivers, &canary] {
        direct().on("init", hostile.clone()).on("mount", hostile.clone()).install(place, "v/direct").unwrap();
    }
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/direct}")]));
    lchown(&above, Some(SOMEBODY), None).unwrap();
    let swapper = Swapper::new(&drivers, &canary);
    for _ in 0..20 {
        for args in [&["up", &file] as &[&str], &["drivers"], &["call", "v/direct", "init"]] {
            let ran = bed.run(["--plugin-dir", drivers.to_str().unwrap()].iter().chain(args));
            ran.fails(4, &["cannot trust", "belongs to user 1234", "hint:"]);
        }
    }
    assert!(swapper.end() > 20);
    assert!(!ran.exists(), "a driver was run: {}", fs::read_to_string(&ran).unwrap_or_default());
    // One whose directory is root's alone is.
    lchown(&above, Some(0), None).unwrap();
    bed.run(["--plugin-dir", drivers.to_str().unwrap(), "drivers"]);
    assert!(ran.exists());
}
