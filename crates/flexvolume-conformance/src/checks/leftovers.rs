//! What a whole life leaves behind: nothing.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use flexvolume_linux::{
    mount::{self, Mounted},
    process,
};

use crate::{
    bed::{Bed, Bound, bound},
    check::{Check, row},
    level::Severity::{Must, Note, Should},
    stop::{Stop, fault},
};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "leftovers.mounts",
        Must,
        "after a whole life no mount of the volume is anywhere",
        "contract: Demands on drivers",
        "unmount what the driver mounted for itself when the last user is gone",
        &["unmount.undoes"],
        |bed| {
            let life = live(bed, 1)?;
            let shows = |one: &Mounted| life.volume.as_ref().is_some_and(|volume| one.is_within(volume));
            let new = mount::table::all()?.into_iter().filter(|mounted| !life.before.contains(&mounted.id.0));
            match new.into_iter().find(shows) {
                Some(mounted) => fault(format!("{} is still mounted at {}", mounted.source, mounted.point.display())),
                None => Ok(()),
            }
        },
    ),
    row(
        "leftovers.devices",
        Must,
        "after a whole life no loop device of the volume is left: there are few of them",
        "contract: Demands on drivers",
        "detach the loop device in `detach`, or in `unmount` if the driver does not attach",
        &["unmount.undoes"],
        |bed| {
            let life = live(bed, 1)?;
            let look = || -> Result<_, Stop> { Ok(bound()?.into_iter().find(|one| life.loops.contains(one))) };
            // The kernel keeps a device for as long as somebody looks at it.
            let end = Instant::now() + Duration::from_secs(3);
            while look()?.is_some() && Instant::now() < end {
                thread::sleep(Duration::from_millis(50));
            }
            let left = look()?;
            match left {
                Some((device, _)) => fault(format!("{} is still attached", device.display())),
                None => Ok(()),
            }
        },
    ),
    row(
        "leftovers.processes",
        Should,
        "after a whole life no process of the driver lives",
        "contract: Demands on drivers",
        "end daemons that serve the mount in `unmount`",
        &["unmount.undoes"],
        |bed| {
            // What earlier calls left is told where it is asked about.
            let before = bed.processes()?;
            live(bed, 1)?;
            match bed.settle(&before, Duration::from_secs(2))?.first() {
                Some(id) => {
                    let name = process::describe(id).map(|(name, _)| name).unwrap_or_default();
                    fault(format!("{name} (pid {}) still lives", id.pid))
                }
                None => Ok(()),
            }
        },
    ),
    row(
        "leftovers.files",
        Note,
        "after a whole life there are no files beside the pod's directory: hosts do not remove folders that hold something",
        "contract: Demands on drivers",
        "keep the driver's own files in a place of its own, like /run, and remove them in `unmount`",
        &["unmount.undoes"],
        |bed| {
            let volume = bed.volume()?;
            // A pod that no other check had.
            let pod = bed.pod(30, &volume)?;
            live(bed, 30)?;
            match files(pod.dir.as_path().parent().unwrap_or(pod.dir.as_path())).first() {
                Some(path) => fault(format!("{} is there", path.display())),
                None => Ok(()),
            }
        },
    ),
];

/// What was seen while the volume was up.
struct Life {
    /// Mounts that there were before.
    before: BTreeSet<u64>,
    /// The volume as the pod saw it.
    volume: Option<Mounted>,
    /// Loop devices that came with it.
    loops: BTreeSet<Bound>,
}

/// Comes and goes for a pod, and says what came.
fn live(bed: &mut Bed<'_>, n: usize) -> Result<Life, Stop> {
    let volume = bed.volume()?;
    let before = mount::table::all()?.into_iter().map(|mounted| mounted.id.0).collect();
    let pod = bed.up(&volume, n)?;
    let mounted = bed.mounted(&pod.dir)?;
    let new = bound()?.into_iter().filter(|one| !bed.loops.contains(one));
    // Others may attach loop devices as well; the volume's is the one that is mounted.
    let source = mounted.as_ref().map(|mounted| PathBuf::from(&mounted.source));
    let loops = new.filter(|(device, _)| Some(device) == source.as_ref()).collect();
    bed.down(&volume, n)?;
    bed.unstage(&volume)?;
    Ok(Life { before, volume: mounted, loops })
}

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
