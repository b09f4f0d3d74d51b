//! `expandfs`, by which Kubernetes tells that a volume has grown, and what makes it grow.

use std::{io, path::Path};

use flexvolume_linux::{
    block,
    fs::{grow_fs, usage},
};
use flexvolume_protocol::{Bytes, Came, Device, ExpandFs, ExpandVolume};

use crate::{
    bed::{Bed, Pod, Volume},
    check::{Check, row},
    level::Severity::Must,
    stop::{Stop, Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "expandfs.again",
        Must,
        "`expandfs` of what is as large already succeeds, or is \"Not supported\": hosts call it until they have noted that it grew",
        "contract: Demands on drivers, 1",
        "look at the size that is there, and take as large as asked for, or larger, for success",
        &["mount.mounts"],
        |bed| {
            let (volume, pod) = up(bed)?;
            let size = size(bed, &pod)?;
            for _ in 0..2 {
                if expand_fs(bed, &volume, &pod, size, size)?.done("expandfs of what is as large already")?.is_none() {
                    return skip("expandfs is not supported: the host grows the file system");
                }
            }
            Ok(())
        },
    ),
    row(
        "expandfs.grows",
        Must,
        "when the device has grown, `expandfs` makes the mounted file system larger, or is \"Not supported\" and the host does",
        "contract: Call-outs",
        "grow the file system in `expandfs`, while it is mounted, to all that its device has",
        &["expandfs.again", "unmount.undoes"],
        grows,
    ),
];

/// How much larger a volume shall be: as large again, in bounds.
const MORE: u64 = 64 << 20;

/// The volume, mounted, of a driver that is told when one grows.
fn up(bed: &mut Bed<'_>) -> Result<(Volume, Pod), Stop> {
    if !bed.init.capabilities.requires_fs_resize {
        return skip("the driver says requiresFSResize: false, so nobody calls this");
    }
    let volume = bed.volume()?;
    let pod = bed.up(&volume, 1)?;
    Ok((volume, pod))
}

/// The block device that is mounted there. Where a folder of a file system is shown, that file system is somebody else's.
fn device(bed: &Bed<'_>, pod: &Pod) -> Result<Option<String>, Stop> {
    let whole = bed.mounted(&pod.dir)?.filter(|mounted| mounted.root == Path::new("/"));
    let source = whole.map(|mounted| mounted.source);
    Ok(source.filter(|source| source.starts_with("/dev/") && block::size(Path::new(source)).is_ok()))
}

/// How large the volume is: the device, or else what the file system says.
fn size(bed: &Bed<'_>, pod: &Pod) -> Result<u64, Stop> {
    match device(bed, pod)? {
        Some(device) => Ok(block::size(Path::new(&device))?),
        None => room(bed, pod),
    }
}

/// How large the file system is that is mounted for this pod.
pub(crate) fn room(bed: &Bed<'_>, pod: &Pod) -> Result<u64, Stop> {
    let path = pod.dir.as_path().to_owned();
    let look = move || usage(&path).map_err(|error| io::Error::other(error.to_string()));
    match bed.reach("looking at the volume", look)? {
        Ok(usage) => Ok(usage.total),
        Err(error) => fault(format!("how large the volume is cannot be seen: {error}")),
    }
}

fn expand_fs(bed: &Bed<'_>, volume: &Volume, pod: &Pod, new: u64, old: u64) -> Result<crate::answer::Heard<()>, Stop> {
    // The device of attach, which is empty for a driver that only mounts.
    let device = bed.up.staged.get(&volume.name).cloned().unwrap_or_else(Device::default);
    let (options, dir) = (bed.options(volume), pod.dir.clone());
    Ok(bed.caller.ask(&ExpandFs { options, device, dir, new: Bytes(new), old: Bytes(old) })?)
}

fn grows(bed: &mut Bed<'_>) -> Verdict {
    let (volume, pod) = up(bed)?;
    if !bed.may_destroy() {
        return skip("the volume stays as large as it becomes: say that it may (`--destroy`)");
    }
    bed.can_grow(&pod.dir)?;
    let (old, before) = (size(bed, &pod)?, room(bed, &pod)?);
    let new = old + old.min(MORE);
    let options = bed.options(&volume);
    let call = ExpandVolume { options, dir: pod.dir.clone(), new: Bytes(new), old: Bytes(old) };
    let grown = bed.patiently(&call)?.came;
    let told = expand_fs(bed, &volume, &pod, new, old)?.came;
    let is_larger = size(bed, &pod)? > old;
    match told {
        _ if room(bed, &pod)? > before => Ok(()),
        Ok(Came::NotSupported) if is_larger => by_default(bed, &pod, before),
        Ok(Came::Done(())) if is_larger => fault(format!(
            "the device has grown from {old} bytes, expandfs succeeded, and the file system has not grown"
        )),
        Err(why) if is_larger => fault(format!("the device has grown from {old} bytes, and expandfs: {why}")),
        Ok(Came::Done(()) | Came::NotSupported | Came::InProgress) | Err(_) => {
            let why = match grown {
                Ok(Came::NotSupported) => "expandvolume is not supported".to_owned(),
                Ok(Came::Done(_) | Came::InProgress) => "expandvolume changes nothing here".to_owned(),
                Err(why) => format!("expandvolume, which nobody in Kubernetes calls, fails: {why}"),
            };
            skip(format!("nothing makes the device larger: {why}"))
        }
    }
}

/// Makes it larger as hosts do: by `expandvolume`, and by `expandfs`, or what hosts do in its place. It had so many bytes `before`.
pub(crate) fn enlarge(bed: &Bed<'_>, pod: &Pod, call: ExpandVolume, before: u64) -> Verdict {
    let says = bed.patiently(&call)?.success("expandvolume")?.bytes;
    let ExpandVolume { options, dir, new, old } = call;
    let call = ExpandFs { options, device: Device::default(), dir, new, old };
    let is_told = bed.caller.ask(&call)?.done("expandfs")?.is_some();
    let after = room(bed, pod)?;
    if after > before {
        return Ok(());
    }
    match (is_told, device(bed, pod)?) {
        (false, Some(device)) => match block::size(Path::new(&device))? {
            size if size >= new.0 => by_default(bed, pod, before),
            size => fault(format!("expandvolume to {} bytes succeeded, and {device} has {size}", new.0)),
        },
        // The room of a share is that of its server: how large a volume is in it, the driver alone knows.
        (false, None) if says.is_some_and(|bytes| bytes >= new.0) => Ok(()),
        (false, None) => fault(format!(
            "what is mounted had {before} bytes, and has {after}, has no device, and no `bytes` of expandvolume say that it has grown"
        )),
        (true, _) => fault(format!("the file system had {before} bytes, and has {after}")),
    }
}

/// What hosts do where the driver does not.
fn by_default(bed: &Bed<'_>, pod: &Pod, before: u64) -> Verdict {
    let Some(device) = device(bed, pod)? else {
        return skip("the host would grow the file system, and there is no device");
    };
    let dir = pod.dir.as_path().to_owned();
    let grow = move || grow_fs(Path::new(&device), &dir).map_err(|error| io::Error::other(error.to_string()));
    if let Err(why) = bed.reach("growing the file system", grow)? {
        return skip(format!("the host would grow the file system, and cannot here: {why}"));
    }
    match room(bed, pod)? > before {
        true => Ok(()),
        false => fault("the device has grown, and the host cannot make the file system larger"),
    }
}
