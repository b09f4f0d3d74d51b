//! `unmount`: whatever was there, nothing is there afterwards.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use flexvolume_linux::{
    block,
    fs::shut_down as end_file_system,
    mount::{self, Flags, Mounted, Unmount, bind, table},
};

use crate::{
    bed::{Bed, Volume},
    check::{Check, row},
    dead,
    level::Severity::{Must, Should},
    life::make,
    stop::{Stop, Verdict, fault, skip},
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
    row(
        "unmount.shut-down",
        Must,
        "a volume goes whose file system was shut down, as the kernel does it when the device beneath has gone, and comes again",
        "contract: Demands on drivers, 3",
        "look for the mount in /proc/self/mountinfo, and look into nothing and sync nothing before it is unmounted",
        &["unmount.again"],
        shut_down,
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

/// The kernel shuts down the file system beneath the driver's own mount.
fn shut_down(bed: &mut Bed<'_>) -> Verdict {
    let volume = bed.volume()?;
    bed.may_write()?;
    if !bed.may_destroy() {
        return skip("the file system of the volume is shut down: say that it may be lost (`--destroy`)");
    }
    let mounted = proven(bed, &volume)?;
    let pod = bed.pod(1, &volume)?;
    let dir = pod.dir.as_path().to_owned();
    let shut = move || end_file_system(&dir, mounted.dev).map_err(|error| io::Error::other(error.to_string()));
    if let Err(why) = bed.reach("shutting down the file system", shut)? {
        return skip(format!("the file system of the volume cannot be shut down here: {why}"));
    }
    bed.unmount(&pod)?;
    if !table::stacked(pod.dir.as_path())?.is_empty() {
        return fault("unmount succeeded, and the file system that was shut down is still mounted");
    }
    bed.down(&volume, 1)?;
    bed.unstage(&volume)?;
    bed.up(&volume, 1)?;
    bed.down(&volume, 1)?;
    bed.unstage(&volume)
}

/// Up, by a file system that is nobody's but the volume's, in whichever namespace: nothing claims its device any more when it is
/// down, and that can be seen. It may have another device each time that it comes.
fn proven(bed: &mut Bed<'_>, volume: &Volume) -> Result<Mounted, Stop> {
    const TRIES: usize = 5;
    let (mut free, mut is_used) = (BTreeSet::new(), false);
    for _ in 0..TRIES {
        let mounted = alone(bed, volume)?;
        if free.contains(&mounted.dev) {
            return Ok(mounted);
        }
        let while_up = is_free(mounted.dev);
        bed.down(volume, 1)?;
        bed.unstage(volume)?;
        match (while_up, is_free(mounted.dev)) {
            (Some(false), Some(true)) => drop(free.insert(mounted.dev)),
            // Or somebody else has been given the device that the volume had.
            (Some(false), Some(false)) => is_used = true,
            (Some(true) | None, _) | (_, None) => {
                return skip(
                    "nobody can see here who uses the device of the volume, so its file system is not shut down",
                );
            }
        }
    }
    skip(if is_used {
        "somebody else may use the file system of the volume, so it is not shut down"
    } else {
        "the volume has another device each time that it is mounted, so its file system is not shut down"
    })
}

/// Whether nobody holds a device, by its number: what a mount calls its source may be a name from elsewhere. One that is gone
/// is nobody's. Nothing if it cannot be seen.
fn is_free((major, minor): (u32, u32)) -> Option<bool> {
    let about = match std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")) {
        Ok(about) => about,
        Err(error) => return (error.kind() == ErrorKind::NotFound).then_some(true),
    };
    let node = Path::new("/dev").join(about.lines().find_map(|line| line.strip_prefix("DEVNAME="))?);
    let meta = std::fs::metadata(&node).ok()?;
    let number = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    if !meta.file_type().is_block_device() || number != (major, minor) {
        return None;
    }
    block::is_free(&node).ok()
}

/// Up, by a whole file system that can be shut down, mounted for the judge alone.
fn alone(bed: &mut Bed<'_>, volume: &Volume) -> Result<Mounted, Stop> {
    let pod = bed.up(volume, 1)?;
    let Some(mounted) = bed.mounted(&pod.dir)? else { return fault("nothing is mounted") };
    if !["ext4", "xfs"].contains(&mounted.fs_type.as_str()) {
        return skip(format!("the volume is {}, and only ext4 and XFS can be shut down", mounted.fs_type));
    }
    let is_ours = |one: &Mounted| one.root == Path::new("/") && one.point.starts_with(bed.home());
    if !table::of_device(mounted.dev)?.iter().all(is_ours) {
        return skip(
            "the volume is a part of a file system that is mounted elsewhere as well, so that is not shut down",
        );
    }
    Ok(mounted)
}
