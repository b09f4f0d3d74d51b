//! `mount`: is the volume really there, once, for each pod, and only to be read where that was asked for?

use std::fs;

use flexvolume_linux::mount::table::stacked;
use flexvolume_protocol::{Mount, UserOptions};

use crate::{
    bed::{Bed, Volume},
    check::{Check, row},
    level::Severity::{Must, Should},
    life::make,
    stop::{Stop, Verdict, fault, skip},
    trouble::Trouble,
};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "mount.mounts",
        Must,
        "after `mount` the volume is mounted at the pod's directory: a Success without a mount lets pods write to the node's disk",
        "contract: Demands on drivers, 2",
        "look at the exit of mount(8) and at the mount table before answering Success, and mount in `mountdevice` or in `mount`",
        &["init.answers", "mountdevice.mounts", "unmountdevice.undoes"],
        |bed| {
            let volume = bed.volume()?;
            bed.up(&volume, 1)?;
            // What the host binds by default has to be something.
            if bed.host_mounts && bed.mounted(&bed.global(&volume)?)?.is_none() {
                return fault(
                    "attach, mountdevice and mount mount nothing: the host binds an empty folder of the node's disk",
                );
            }
            Ok(())
        },
    ),
    row(
        "mount.again",
        Must,
        "`mount` of what is mounted succeeds and mounts nothing on top: every call is repeated after a restart",
        "contract: Demands on drivers, 1",
        "look for a mount of this volume before mounting, and answer Success if it is there",
        &["mount.mounts"],
        |bed| {
            let volume = bed.volume()?;
            let pod = bed.up(&volume, 1)?;
            if bed.host_mounts {
                return skip("the driver leaves mount to the host");
            }
            bed.mount(&volume, 1)?;
            match stacked(pod.dir.as_path())?.len() {
                1 => Ok(()),
                many => {
                    fault(format!("after the second mount {many} mounts lie on each other at {}", pod.dir.as_str()))
                }
            }
        },
    ),
    row(
        "mount.two-pods",
        Must,
        "two pods of a node have one volume at once, and one can go without the other",
        "contract: Call-outs",
        "keep nothing that belongs to one mount in a place that belongs to the volume",
        &["mount.mounts"],
        two_pods,
    ),
    row(
        "mount.read-only",
        Should,
        "with `kubernetes.io/readwrite` \"ro\" nothing can be written: some hosts rely on the driver alone",
        "contract: Options",
        "mount with `-o ro` if `kubernetes.io/readwrite` is `ro`",
        &["mount.mounts"],
        read_only,
    ),
    row(
        "mount.all-or-nothing",
        Must,
        "a `mount` that failed leaves nothing mounted and nothing in the directory: nobody calls `unmount` after it",
        "contract: Demands on drivers, 2",
        "undo what was done before answering Failure",
        &["mount.mounts"],
        all_or_nothing,
    ),
];

fn two_pods(bed: &mut Bed<'_>) -> Verdict {
    let volume = bed.volume()?;
    let one = bed.up(&volume, 1)?;
    let other = bed.up(&volume, 2)?;
    let name = format!(".flexvol-check-{}", bed.id);
    let shared = bed.mounted(&one.dir)?.zip(bed.mounted(&other.dir)?).is_some_and(|(one, other)| one.dev == other.dev);
    let (path, seen) = (one.dir.as_path().join(&name), other.dir.as_path().join(&name));
    let wrote = bed.reach("writing to the volume", move || fs::write(path, "seen by both"))?;
    // Each pod of a driver that keeps its volumes in memory has one of its own.
    if shared && wrote.is_ok() {
        let (read, gone) = (seen.clone(), seen);
        let text = bed.reach("reading from the volume", move || fs::read_to_string(read))?;
        let _ = bed.reach("writing to the volume", move || fs::remove_file(gone))?;
        if !text.as_ref().is_ok_and(|text| text == "seen by both") {
            return fault(format!("what one pod wrote, the other does not see: {text:?}"));
        }
    }
    // Whether that leaves anything is for another check.
    bed.unmount(&one)?;
    if bed.mounted(&other.dir)?.is_none() {
        return fault("when the first pod went, the second one lost its volume");
    }
    let dir = other.dir.as_path().to_owned();
    let listed = bed.reach("reading from the volume", move || fs::read_dir(dir).map(|all| all.count()))?;
    match listed {
        Ok(_) => Ok(()),
        Err(error) => fault(format!("when the first pod went, the second one cannot read any more: {error}")),
    }
}

fn read_only(bed: &mut Bed<'_>) -> Verdict {
    let volume = bed.volume()?;
    let other = bed.up(&volume, 3)?;
    bed.unmount(&other)?;
    if bed.host_mounts {
        return skip("the driver leaves mount to the host, which makes it read-only itself");
    }
    let pod = bed.pod(1, &volume)?;
    let options = bed.pod_options(&volume, &pod, true);
    bed.mount_with(&volume, 1, options)?;
    let Some(mounted) = bed.mounted(&pod.dir)? else { return fault("nothing is mounted") };
    if mounted.read_only {
        return Ok(());
    }
    let path = pod.dir.as_path().join(format!(".flexvol-check-{}", bed.id));
    let gone = path.clone();
    match bed.reach("writing to the volume", move || fs::write(path, "x"))? {
        Err(_) => Ok(()),
        Ok(()) => {
            let _ = bed.reach("writing to the volume", move || fs::remove_file(gone))?;
            fault("a file could be written, and the mount is not read-only")
        }
    }
}

/// Mounts that may fail: at a path that is no directory, and with nothing that says which volume it is.
fn all_or_nothing(bed: &mut Bed<'_>) -> Verdict {
    let volume = bed.volume()?;
    bed.up(&volume, 3)?;
    if bed.host_mounts {
        return skip("the driver leaves mount to the host");
    }
    let pod = bed.pod(5, &volume)?;
    let path = pod.dir.as_path().to_owned();
    let parent = path.parent().unwrap_or(&path);
    make(parent)?;
    fs::write(&path, "").map_err(|error| Trouble::io("write", &path, error))?;
    bed.up.pods.insert(5);
    let options = bed.pod_options(&volume, &pod, false);
    let first = failed(bed, "mount at a path that is a file", Mount { dir: pod.dir.clone(), options });
    if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
        let _ = fs::remove_file(&path);
    }
    let nameless = Volume { options: UserOptions::default(), id: None, ..volume };
    let pod = bed.pod(4, &nameless)?;
    make(pod.dir.as_path())?;
    bed.up.pods.insert(4);
    let options = bed.pod_options(&nameless, &pod, false);
    let second = failed(bed, "mount without the volume's options", Mount { dir: pod.dir, options });
    match (first?, second?) {
        (false, false) => skip("no mount that the judge tried failed"),
        (true, _) | (_, true) => Ok(()),
    }
}

/// Whether it failed; then nothing may be there.
fn failed(bed: &mut Bed<'_>, what: &str, call: Mount) -> Result<bool, Stop> {
    if bed.caller.ask(&call)?.came.is_ok() {
        return Ok(false);
    }
    match bed.mounted(&call.dir)? {
        Some(mounted) => fault(format!("{what} failed, and {} is mounted there", mounted.source)),
        None if call.dir.as_path().is_dir() => bed.is_clean("a mount that failed", &call.dir).map(|()| true),
        None => Ok(true),
    }
}
