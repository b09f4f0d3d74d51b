//! What past calls may have left on this machine: mounts and directories beneath the root, loop devices, processes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use flexvolume_host::{
    Layout, directories,
    drivers::call::{CALL_ID, WORKER},
};
use flexvolume_linux::{
    loopdev,
    mount::{self, Presence, table},
    process::{self, ProcessId},
};
use serde::{Deserialize, Serialize};

use super::sight::Sight;

/// Looks for mounts and for volumes' directories beneath the root.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Beneath {
    pub(crate) root: PathBuf,
}

/// What lies beneath the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lies {
    /// Mount points, outermost first.
    pub(crate) mounts: Vec<PathBuf>,
    /// Directories of volumes at which nothing is mounted, and what is in each.
    pub(crate) directories: Vec<(PathBuf, Vec<String>)>,
}

/// Looks for loop devices whose file is gone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Loops;

/// A loop device that a driver of the kit attached, and whose image was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gone {
    pub(crate) device: PathBuf,
    /// The image's former path.
    pub(crate) image: String,
    /// It is still mounted, here.
    pub(crate) mounted: Option<PathBuf>,
}

/// Looks for processes that calls gave birth to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Processes {
    /// Look long enough to tell who is stuck.
    pub(crate) stuck: bool,
}

/// A process that carries the id of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Child {
    pub(crate) id: ProcessId,
    pub(crate) call: String,
    pub(crate) name: String,
    /// Waiting in the kernel, where no signal reaches it; for what, as the kernel names it.
    pub(crate) stuck: Option<String>,
    /// One of our own workers.
    pub(crate) worker: bool,
}

/// What the kit's loopback driver writes into a device's name.
const OURS: &str = "flexvol:";
/// How often, and at what distance, a process that waits in the kernel is looked at again.
const AGAIN: (u32, Duration) = (5, Duration::from_millis(100));
/// As many names of what lies in a directory are told.
const NAMES: usize = 5;

impl Sight for Beneath {
    type Seen = Lies;

    fn look(self) -> Lies {
        let Ok(root) = fs::canonicalize(&self.root) else { return Lies::default() };
        let mounts = table::beneath(&root).unwrap_or_default().into_iter().map(|mounted| mounted.point);
        let mut mounts: Vec<_> = mounts.collect::<BTreeSet<_>>().into_iter().collect();
        mounts.sort_by_key(|point| point.components().count());
        let layout = Layout::new(&root);
        let all = directories(&layout).unwrap_or_default().into_iter().map(|relative| root.join(relative));
        let bare = all.filter(|path| matches!(mount::look(path), Ok(Presence::Plain)));
        Lies { mounts, directories: bare.map(|path| (path.clone(), names(&path))).collect() }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(NAMES);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

impl Sight for Loops {
    type Seen = Vec<Gone>;

    fn look(self) -> Vec<Gone> {
        let mounts = table::all().unwrap_or_default();
        let gone = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok().filter(|name| name.starts_with("loop"))?;
            // This file names the image without asking the file system that it is on.
            let backing = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
            let image = backing.trim_end().strip_suffix(" (deleted)")?.to_owned();
            let device = Path::new("/dev").join(name);
            let attached =
                loopdev::status_of(&device).ok().flatten().filter(|attached| attached.tag.starts_with(OURS))?;
            let number = fs::read_to_string(entry.path().join("dev")).ok()?;
            let (major, minor) = number.trim().split_once(':')?;
            let number = (major.parse().ok()?, minor.parse().ok()?);
            let mounted = mounts.iter().find(|mounted| mounted.dev == number).map(|mounted| mounted.point.clone());
            Some(Gone { device: attached.device, image, mounted })
        };
        fs::read_dir("/sys/block").into_iter().flatten().flatten().filter_map(gone).collect()
    }
}

impl Sight for Processes {
    type Seen = Vec<Child>;

    fn look(self) -> Vec<Child> {
        let of = |var: &str| process::carrying(var).unwrap_or_default();
        let blocked = || of(CALL_ID).into_iter().filter(|carrier| carrier.blocked).map(|carrier| carrier.id);
        let workers: BTreeSet<_> = of(WORKER.0).into_iter().map(|carrier| carrier.id).collect();
        // Who writes to a disk waits there too, for a moment: who is stuck waits at every look.
        let mut stuck: BTreeSet<_> = if self.stuck { blocked().collect() } else { BTreeSet::new() };
        for _ in 0..AGAIN.0 {
            if stuck.is_empty() {
                break;
            }
            thread::sleep(AGAIN.1);
            let now: BTreeSet<_> = blocked().collect();
            stuck.retain(|id| now.contains(id));
        }
        let child = |carrier: process::Carrier| {
            let waits = || fs::read_to_string(format!("/proc/{}/wchan", carrier.id.pid)).unwrap_or_default();
            Child {
                stuck: stuck.contains(&carrier.id).then(waits),
                worker: workers.contains(&carrier.id),
                id: carrier.id,
                call: carrier.value,
                name: carrier.name,
            }
        };
        of(CALL_ID).into_iter().map(child).collect()
    }
}
