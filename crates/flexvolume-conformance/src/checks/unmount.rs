//! `unmount`: whatever was there, nothing is there afterwards.

use flexvolume_linux::mount::{self, Flags, Unmount, bind};

use crate::{
    bed::Bed,
    check::{Check, row},
    dead,
    level::Severity::{Must, Should},
    life::make,
    stop::{Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "unmount.undoes",
        Must,
        "after `unmount` nothing is mounted at the pod's directory and nothing lies in it: hosts do not remove a folder that holds something",
        "contract: Demands on drivers, 3",
        "unmount until nothing is mounted there; leave no files in the directory",
        &["mount.mounts"],
        |bed| {
            let volume = bed.volume()?;
            bed.up(&volume, 1)?;
            bed.down(&volume, 1)
        },
    ),
    row(
        "unmount.again",
        Must,
        "`unmount` of what is unmounted succeeds",
        "contract: Demands on drivers, 1 and 3",
        "take \"not mounted\" for success",
        &["unmount.undoes"],
        |bed| {
            let volume = bed.volume()?;
            let pod = bed.up(&volume, 1)?;
            bed.unmount(&pod)?;
            make(pod.dir.as_path())?;
            bed.unmount(&pod)
        },
    ),
    row(
        "unmount.never-mounted",
        Must,
        "`unmount` where nothing ever was succeeds: hosts call it to clean up after a crash",
        "contract: Demands on drivers, 3",
        "take \"not mounted\" for success, and need no record of the mount",
        &["init.answers"],
        |bed| {
            let volume = bed.volume()?;
            let pod = bed.pod(7, &volume)?;
            make(pod.dir.as_path())?;
            bed.up.pods.insert(7);
            bed.unmount(&pod)?;
            bed.is_clean("unmount", &pod.dir)
        },
    ),
    row(
        "unmount.no-directory",
        Should,
        "`unmount` of a directory that is gone succeeds: somebody may have removed it",
        "contract: Demands on drivers",
        "take \"no such directory\" for success",
        &["init.answers"],
        |bed| {
            let volume = bed.volume()?;
            let pod = bed.pod(8, &volume)?;
            bed.unmount(&pod)
        },
    ),
    row(
        "unmount.stacked",
        Should,
        "`unmount` where the volume is mounted twice leaves nothing mounted: older versions and hosts stacked mounts",
        "contract: Demands on drivers, 3",
        "unmount in a loop until the mount table has nothing at that directory",
        &["unmount.undoes"],
        |bed| {
            let volume = bed.volume()?;
            let pod = bed.up(&volume, 1)?;
            if bed.host_mounts {
                return skip("the driver leaves unmount to the host");
            }
            bind(pod.dir.as_path(), pod.dir.as_path(), Flags::default())?;
            bed.unmount(&pod)?;
            bed.is_clean("unmount", &pod.dir)
        },
    ),
    row(
        "unmount.dead",
        Must,
        "`unmount` succeeds where what is mounted is dead, and leaves nothing mounted: the daemon or the server behind it may be gone for ever",
        "contract: Demands on drivers, 3",
        "look for the mount with `findmnt -M` or in /proc/self/mountinfo: `mountpoint`, `df` and `test -d` fail for a dead one",
        &["unmount.undoes"],
        dead_mount,
    ),
];

/// In the place of the driver's mount lies one whose daemon has died.
fn dead_mount(bed: &mut Bed<'_>) -> Verdict {
    let volume = bed.volume()?;
    let pod = bed.up(&volume, 1)?;
    if bed.host_mounts {
        return skip("the driver leaves unmount to the host");
    }
    mount::unmount(pod.dir.as_path(), Unmount::Plain)?;
    if let Err(why) = dead::put(pod.dir.as_path()) {
        return skip(format!("no mount that is dead can be made here: {why}"));
    }
    bed.unmount(&pod)?;
    match bed.mounted(&pod.dir)? {
        Some(_) => fault("unmount succeeded, and what is dead is still mounted"),
        None => bed.is_clean("unmount", &pod.dir),
    }
}
