//! What a driver announces beyond the contract, and the extensions that are no calls.

use std::{fs, os::unix::fs::FileTypeExt};

use flexvolume_linux::mount::{Flags, bind};
use flexvolume_protocol::{Extension, Mount};

use super::data::Written;
use crate::{
    bed::Bed,
    check::{Check, extra},
    level::Severity::{Must, Note},
    life::make,
    stop::{Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    extra(
        "extensions.known",
        Note,
        "the names that the driver announces are known here",
        "extensions: Announcing",
        "look for a misspelt name; names that a newer flexvol knows may stay",
        &["init.answers"],
        |bed| match bed.init.unknown.as_slice() {
            [] => Ok(()),
            names => fault(format!("not known: {}", names.join(", "))),
        },
    ),
    extra(
        "extensions.stdin",
        Must,
        "with `stdin` options are read from standard input where argv has `-`",
        "extensions: Announcing",
        "read standard input to its end if the place of the options holds `-`",
        &["mount.mounts", "unmount.undoes"],
        |bed| {
            announced(bed, Extension::Stdin)?;
            let volume = bed.volume()?;
            bed.ready(&volume)?;
            let pod = bed.pod(1, &volume)?;
            make(pod.dir.as_path())?;
            bed.up.pods.insert(1);
            let options = bed.pod_options(&volume, &pod, false).with_secrets(bed.secrets());
            let call = Mount { dir: pod.dir.clone(), options };
            bed.caller.ask_by(&call, true)?.success("mount with its options on standard input")?;
            match bed.mounted(&pod.dir)? {
                Some(_) => bed.down(&volume, 1),
                None => fault("mount with its options on standard input succeeded, and nothing is mounted"),
            }
        },
    ),
    extra(
        "extensions.staged",
        Must,
        "with `staged` the volume is attached and mounted once for the node, and every pod has a bind of that",
        "extensions: How a staged driver serves a stranger",
        "serve attach, waitforattach and mountdevice although strangers are told `attach: false`",
        &["mountdevice.mounts", "unmountdevice.undoes"],
        staged,
    ),
    extra(
        "extensions.strangers",
        Must,
        "a `staged` driver says `attach: false`: strangers call its `mount` alone",
        "extensions: How a staged driver serves a stranger",
        "answer `\"capabilities\": {\"attach\": false}` to `init`, and serve `mount` from beginning to end",
        &["init.answers"],
        |bed| {
            announced(bed, Extension::Staged)?;
            if bed.attaches() { fault("it says attach: true, or nothing, which is the same") } else { Ok(()) }
        },
    ),
    extra(
        "extensions.block",
        Must,
        "with `block` the device of `waitforattach` is one that a pod can be given",
        "extensions: Announcing",
        "answer in `device` the path of a block device, whole, and not of its mount",
        &["waitforattach.device"],
        |bed| {
            announced(bed, Extension::Block)?;
            let volume = bed.volume()?;
            let device = bed.attach(&volume)?;
            let device = bed.wait(&volume, &device)?;
            let verdict = match fs::metadata(&device.0) {
                Ok(meta) if meta.file_type().is_block_device() => Ok(()),
                Ok(_) => fault(format!("{:?} is no block device", device.0)),
                Err(error) => fault(format!("{:?} cannot be looked at: {error}", device.0)),
            };
            bed.unstage(&volume)?;
            verdict
        },
    ),
];

/// Checks of an extension are skipped where the driver does not have it.
pub(crate) fn announced(bed: &Bed<'_>, extension: Extension) -> Verdict {
    if bed.has(extension) { Ok(()) } else { skip(format!("the driver does not announce `{extension}`")) }
}

fn staged(bed: &mut Bed<'_>) -> Verdict {
    announced(bed, Extension::Staged)?;
    let volume = bed.volume()?;
    bed.stage(&volume)?;
    let (global, pod) = (bed.global(&volume)?, bed.pod(1, &volume)?);
    make(pod.dir.as_path())?;
    bed.up.pods.insert(1);
    bind(global.as_path(), pod.dir.as_path(), Flags::default())?;
    let written = Written::of(&bed.id);
    written.write(bed, pod.dir.as_path())?;
    written.read(bed, pod.dir.as_path(), "what was just written through a bind")?;
    flexvolume_linux::mount::unmount(pod.dir.as_path(), flexvolume_linux::mount::Unmount::Plain)?;
    bed.up.pods.remove(&1);
    crate::life::remove(&pod.dir);
    bed.unstage(&volume)
}
