//! Attach, wait, mount for the node, and all of it back.

use flexvolume_protocol::{Detach, Device, MountDevice, UnmountDevice};

use crate::{
    bed::{Bed, Volume},
    check::{Check, row},
    level::Severity::{Must, Should},
    life::make,
    stop::{Stop, Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "attach.succeeds",
        Must,
        "`attach` succeeds, or is \"Not supported\"",
        "contract: Call-outs",
        "let `attach` succeed where the volume is there and free, and say in `message` what is missing where it is not",
        &["init.answers"],
        |bed| with(bed, |bed, volume| bed.attach(volume).map(drop)),
    ),
    row(
        "attach.again",
        Must,
        "`attach` of what is attached here succeeds and names the same device: every call is repeated after a restart",
        "contract: Demands on drivers, 1 and 4",
        "look whether it is attached before attaching, and answer the device that is there",
        &["attach.succeeds"],
        |bed| {
            with(bed, |bed, volume| {
                let (one, other) = (bed.attach(volume)?, bed.attach(volume)?);
                if one == other { Ok(()) } else { fault(format!("first {:?}, then {:?}", one.0, other.0)) }
            })
        },
    ),
    row(
        "isattached.true",
        Must,
        "`isattached` says `\"attached\": true` of what is attached: an answer without it means that it is not, and hosts attach again",
        "contract: Call-outs",
        "print `attached`, true or false, in every answer of `isattached`, or answer \"Not supported\"",
        &["attach.succeeds"],
        |bed| {
            with(bed, |bed, volume| {
                bed.attach(volume)?;
                match bed.is_attached(volume)? {
                    Some(true) => Ok(()),
                    Some(false) => fault("isattached says no right after attach"),
                    None => skip("isattached is not supported"),
                }
            })
        },
    ),
    row(
        "waitforattach.device",
        Must,
        "`waitforattach` answers the device: its answer takes the place of attach's, and an empty one makes hosts mount nothing",
        "contract: Demands on drivers, 5",
        "answer in `device` the device that was given, once it is there",
        &["attach.succeeds"],
        |bed| {
            with(bed, |bed, volume| {
                let device = bed.attach(volume)?;
                let waited = bed.wait(volume, &device)?;
                match waited.0.is_empty() && !device.0.is_empty() {
                    true => fault(format!("it was given {:?} and answered no device", device.0)),
                    false => Ok(()),
                }
            })
        },
    ),
    row(
        "waitforattach.strange",
        Must,
        "`waitforattach` with no device, or with a device of before a reboot, comes back in time",
        "contract: Demands on drivers, 5",
        "find the device by the options and not by what was given, and give the wait a limit",
        &["waitforattach.device"],
        |bed| {
            with(bed, |bed, volume| {
                bed.attach(volume)?;
                for device in ["", "/dev/flexvol-check-gone"] {
                    let options = bed.options(volume).render();
                    // Any answer will do: no check listens.
                    let heard = bed.caller.ask_words(&["waitforattach", device, &options])?;
                    if let flexvolume_linux::process::How::Killed { .. } = heard.how {
                        return fault(format!("with the device {device:?} it did not come back"));
                    }
                }
                Ok(())
            })
        },
    ),
    row(
        "mountdevice.mounts",
        Must,
        "after `mountdevice` the volume is mounted at the directory of the node",
        "contract: Call-outs",
        "mount it before answering Success; \"Not supported\" leaves it to the host",
        &["waitforattach.device"],
        |bed| with(bed, |bed, volume| staged(bed, volume).map(drop)),
    ),
    row(
        "mountdevice.again",
        Must,
        "`mountdevice` of what is mounted succeeds and mounts nothing on top",
        "contract: Demands on drivers, 1",
        "look for a mount of this volume before mounting, and answer Success if it is there",
        &["mountdevice.mounts"],
        |bed| {
            with(bed, |bed, volume| {
                let device = staged(bed, volume)?;
                bed.mount_device(volume, &device)?;
                once(bed, volume)
            })
        },
    ),
    row(
        "unmountdevice.undoes",
        Must,
        "after `unmountdevice` nothing is mounted at the directory of the node, and nothing lies in it",
        "contract: Demands on drivers, 3",
        "unmount until the mount table has nothing at that directory, and leave no files in it",
        &["mountdevice.mounts"],
        |bed| {
            with(bed, |bed, volume| {
                staged(bed, volume)?;
                bed.unmount_device(volume)?;
                bed.is_clean("unmountdevice", &bed.global(volume)?)
            })
        },
    ),
    row(
        "unmountdevice.again",
        Must,
        "`unmountdevice` where nothing is mounted succeeds",
        "contract: Demands on drivers, 1 and 3",
        "take \"not mounted\" for success, as the end of `unmountdevice` is reached",
        &["unmountdevice.undoes"],
        |bed| {
            with(bed, |bed, volume| {
                staged(bed, volume)?;
                bed.unmount_device(volume)?;
                let dir = bed.global(volume)?;
                make(dir.as_path())?;
                bed.caller.ask(&UnmountDevice { dir })?.done("the second unmountdevice").map(drop)
            })
        },
    ),
    row(
        "detach.undoes",
        Should,
        "after `detach` `isattached` says no",
        "contract: Call-outs",
        "find the volume by its name, which is all that `detach` knows, and let it go",
        &["isattached.true"],
        |bed| {
            with(bed, |bed, volume| {
                bed.attach(volume)?;
                bed.detach(volume)?;
                match bed.is_attached(volume)? {
                    Some(false) => Ok(()),
                    Some(true) => fault("isattached says yes right after detach"),
                    None => skip("isattached is not supported"),
                }
            })
        },
    ),
    row(
        "detach.again",
        Must,
        "`detach` of what is detached succeeds",
        "contract: Demands on drivers, 3",
        "take \"not attached\" for success, as the end of `detach` is reached",
        &["attach.succeeds"],
        |bed| {
            with(bed, |bed, volume| {
                bed.attach(volume)?;
                bed.detach(volume)?;
                bed.detach(volume)
            })
        },
    ),
    row(
        "detach.unknown",
        Must,
        "`detach` of a volume that the driver never heard of succeeds",
        "contract: Demands on drivers, 3",
        "take a name that nobody knows for detached, since hosts detach whatever is in their records",
        &["init.answers"],
        |bed| {
            bed.attaching()?;
            let call = Detach { name: format!("flexvol-check-never-{}", bed.id), node: bed.node() };
            bed.caller.ask(&call)?.done("detach of an unknown volume").map(drop)
        },
    ),
];

/// For drivers that attach: with the volume.
fn with(bed: &mut Bed<'_>, act: fn(&mut Bed<'_>, &Volume) -> Verdict) -> Verdict {
    bed.attaching()?;
    let volume = bed.volume()?;
    act(bed, &volume)
}

/// Mounted for the node by the driver itself.
fn staged(bed: &mut Bed<'_>, volume: &Volume) -> Result<Device, Stop> {
    let device = bed.attach(volume)?;
    let device = bed.wait(volume, &device)?;
    if !bed.mount_device(volume, &device)? {
        return skip("mountdevice is not supported: the host mounts, or nobody does");
    }
    let dir = bed.global(volume)?;
    match bed.mounted(&dir)? {
        Some(_) => Ok(device),
        None => fault(format!("mountdevice succeeded, and nothing is mounted at {}", dir.as_str())),
    }
}

fn once(bed: &Bed<'_>, volume: &Volume) -> Verdict {
    let dir = bed.global(volume)?;
    match flexvolume_linux::mount::table::stacked(dir.as_path())?.len() {
        1 => Ok(()),
        many => fault(format!("{many} mounts lie on each other at {}", dir.as_str())),
    }
}

/// The call that is killed in its middle.
pub(crate) fn mount_device_call(bed: &Bed<'_>, volume: &Volume, device: &Device) -> Result<MountDevice, Stop> {
    Ok(MountDevice { dir: bed.global(volume)?, device: device.clone(), options: bed.options(volume) })
}
