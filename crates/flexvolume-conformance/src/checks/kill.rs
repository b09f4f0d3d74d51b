//! Killed in the middle: whatever was half done, the same call again makes it whole, and the way back is clean.

use std::time::{Duration, Instant};

use flexvolume_protocol::{Attach, Detach, Device, Dir, Mount, Unmount, UnmountDevice, VerbName};

use super::{
    attach::mount_device_call,
    data::{self, Written},
};
use crate::{
    bed::{Bed, Volume},
    check::{Check, row},
    level::Severity::Must,
    life::make,
    sound,
    stop::{Stop, Verdict, fault, skip},
};

const WHY_UP: &str = "a call that was killed in its middle succeeds when it is called again, and costs nothing that the volume held: hosts are killed and restarted at any moment";
const WHY_DOWN: &str = "a way back that was killed in its middle is gone to its end when it is called again, and costs nothing that the volume held";
const MEND_UP: &str =
    "make each step such that finding it done, or half done, is no failure, and never format what holds a file system";
const MEND_DOWN: &str =
    "look at what is there, device by device and mount by mount, and not at a record of what should be";
const SECTION: &str = "contract: Demands on drivers";

pub(crate) const CHECKS: &[Check] = &[
    row("kill.attach", Must, WHY_UP, SECTION, MEND_UP, &["attach.again", "detach.again"], |bed| {
        each(bed, VerbName::Attach, true, |bed, volume, at| {
            let call = Attach { options: bed.options(volume), node: bed.node() };
            bed.up.attached.insert(volume.name.clone());
            let was_killed = bed.caller.kill(&call, at)?;
            rest(bed)?;
            bed.attach(volume)?;
            bed.unstage(volume)?;
            Ok(was_killed)
        })
    }),
    row("kill.detach", Must, WHY_DOWN, SECTION, MEND_DOWN, &["attach.again", "detach.again"], |bed| {
        each(bed, VerbName::Detach, true, |bed, volume, at| {
            bed.attach(volume)?;
            let was_killed = bed.caller.kill(&Detach { name: volume.name.clone(), node: bed.node() }, at)?;
            rest(bed)?;
            bed.detach(volume)?;
            // And it comes back.
            bed.attach(volume)?;
            bed.unstage(volume)?;
            Ok(was_killed)
        })
    }),
    row(
        "kill.mountdevice",
        Must,
        WHY_UP,
        SECTION,
        MEND_UP,
        &["mountdevice.again", "unmountdevice.undoes", "detach.again"],
        |bed| {
            each(bed, VerbName::MountDevice, true, |bed, volume, at| {
                let device = bed.attach(volume)?;
                let device = bed.wait(volume, &device)?;
                let call = mount_device_call(bed, volume, &device)?;
                make(call.dir.as_path())?;
                bed.up.staged.insert(volume.name.clone(), device.clone());
                let was_killed = bed.caller.kill(&call, at)?;
                rest(bed)?;
                staged_once(bed, volume, &device)?;
                bed.unstage(volume)?;
                Ok(was_killed)
            })
        },
    ),
    row(
        "kill.unmountdevice",
        Must,
        WHY_DOWN,
        SECTION,
        MEND_DOWN,
        &["mountdevice.again", "unmountdevice.again", "detach.again"],
        |bed| {
            each(bed, VerbName::UnmountDevice, true, |bed, volume, at| {
                let device = bed.attach(volume)?;
                let device = bed.wait(volume, &device)?;
                if !bed.mount_device(volume, &device)? {
                    return skip("mountdevice is not supported");
                }
                let dir = bed.global(volume)?;
                let was_killed = bed.caller.kill(&UnmountDevice { dir }, at)?;
                rest(bed)?;
                bed.unmount_device(volume)?;
                bed.unstage(volume)?;
                Ok(was_killed)
            })
        },
    ),
    row("kill.mount", Must, WHY_UP, SECTION, MEND_UP, &["mount.again", "unmount.undoes"], |bed| {
        each(bed, VerbName::Mount, false, |bed, volume, at| {
            bed.ready(volume)?;
            let pod = bed.pod(1, volume)?;
            make(pod.dir.as_path())?;
            bed.up.pods.insert(1);
            let options = bed.pod_options(volume, &pod, false);
            let was_killed = bed.caller.kill(&Mount { dir: pod.dir.clone(), options }, at)?;
            rest(bed)?;
            bed.up(volume, 1)?;
            match flexvolume_linux::mount::table::stacked(pod.dir.as_path())?.len() {
                1 => {}
                many => return fault(format!("killed after {at:?} and called again, {many} mounts lie on each other")),
            }
            bed.down(volume, 1)?;
            Ok(was_killed)
        })
    }),
    row("kill.unmount", Must, WHY_DOWN, SECTION, MEND_DOWN, &["mount.mounts", "unmount.again"], |bed| {
        each(bed, VerbName::Unmount, false, |bed, volume, at| {
            let pod = bed.up(volume, 1)?;
            let was_killed = bed.caller.kill(&Unmount { dir: pod.dir.clone() }, at)?;
            rest(bed)?;
            make(pod.dir.as_path())?;
            bed.down(volume, 1)?;
            // And it comes back.
            bed.up(volume, 1)?;
            bed.down(volume, 1)?;
            Ok(was_killed)
        })
    }),
];

/// At how many points of its usual time a call is killed. None of them is its beginning, when nothing is done yet.
const POINTS: u32 = 6;

/// A driver that takes so long for half of the points is not killed at the others.
const LONG: Duration = Duration::from_secs(5);

/// Points spread over a time, then over half of it and a quarter: the call that was measured may have been a slow one. Every second
/// one comes first, so that half of them are spread as well. Each has its place in its round.
pub(super) fn points(many: u32, usual: Duration) -> impl Iterator<Item = (u32, Duration)> {
    let rounds = [usual, usual / 2, usual / 4];
    let order = move || (1..=many).step_by(2).chain((2..=many).step_by(2));
    rounds
        .into_iter()
        .flat_map(move |usual| (1..).zip(order()).map(move |(place, at)| (place, usual * at / (many + 1))))
}

/// Whether those that came before this place are enough, once a call was met in its middle.
pub(super) fn is_enough(place: u32, many: u32, began: Instant) -> bool {
    place == 1 || (place > many.div_ceil(2) && began.elapsed() >= LONG)
}

/// Kills `verb` at points spread over the time that it takes. What the volume held before is looked at afterwards: what was
/// formatted anew at any of them is lost by then.
fn each(
    bed: &mut Bed<'_>,
    verb: VerbName,
    attaching: bool,
    act: fn(&mut Bed<'_>, &Volume, Duration) -> Result<bool, Stop>,
) -> Verdict {
    if attaching {
        bed.attaching()?;
    }
    let volume = bed.volume()?;
    if !bed.may_destroy() {
        return skip("a kill may cost what the volume holds: say that it may be lost (`--destroy`)");
    }
    let held = held(bed, &volume, attaching)?;
    if bed.host_mounts && !attaching {
        return skip("the driver leaves it to the host");
    }
    let usual = bed.caller.last(verb.as_str()).unwrap_or(Duration::from_millis(20));
    let (mut killed, began) = (0, Instant::now());
    for (place, at) in points(POINTS, usual) {
        if killed > 0 && is_enough(place, POINTS, began) {
            break;
        }
        killed += u32::from(act(bed, &volume, at).map_err(|stop| told(stop, verb, at))?);
    }
    if let Some(held) = held {
        let when = format!("after kills in the middle of {}", verb.as_str());
        way(bed, &volume, attaching, |bed, dir| {
            held.read(bed, dir.as_path(), &format!("{when}, what the volume held before"))?;
            sound::mounted(bed, dir, &when)
        })?;
        sound::unmounted(bed, &volume, &when)?;
    }
    match killed {
        0 => skip(format!("{} ends too soon to be killed in its middle", verb.as_str())),
        _ => Ok(()),
    }
}

/// Bytes that the volume holds before the first kill; none where it cannot be written, or forgets.
fn held(bed: &mut Bed<'_>, volume: &Volume, attaching: bool) -> Result<Option<Written>, Stop> {
    let held = Written::of(&format!("{}-held", bed.id));
    let mut wrote = false;
    way(bed, volume, attaching, |bed, dir| {
        if data::in_memory(bed, dir)? {
            return Ok(());
        }
        match held.write(bed, dir.as_path()) {
            Ok(()) => wrote = true,
            Err(Stop::Skip(_)) => {}
            Err(stop @ (Stop::Fault(_) | Stop::Trouble(_))) => return Err(stop),
        }
        Ok(())
    })?;
    Ok(wrote.then_some(held))
}

/// A whole way up and down, by the calls that are killed.
fn way(
    bed: &mut Bed<'_>,
    volume: &Volume,
    attaching: bool,
    act: impl FnOnce(&mut Bed<'_>, &Dir) -> Verdict,
) -> Verdict {
    // flexvol attaches where a stranger mounts at once.
    if attaching && !bed.attaches() {
        bed.stage(volume)?;
        let dir = bed.global(volume)?;
        act(bed, &dir)?;
    } else {
        let pod = bed.up(volume, 1)?;
        act(bed, &pod.dir)?;
        bed.down(volume, 1)?;
    }
    bed.unstage(volume)
}

pub(super) fn told(stop: Stop, verb: VerbName, at: Duration) -> Stop {
    match stop {
        Stop::Fault(seen) => Stop::Fault(format!("killed {} ms into {}: {seen}", at.as_millis(), verb.as_str())),
        other @ (Stop::Skip(_) | Stop::Trouble(_)) => other,
    }
}

/// What the killed call started may live a moment longer.
pub(super) fn rest(bed: &Bed<'_>) -> Verdict {
    bed.settle(&[], Duration::from_secs(2)).map(drop)
}

fn staged_once(bed: &mut Bed<'_>, volume: &Volume, device: &Device) -> Verdict {
    if !bed.mount_device(volume, device)? {
        return skip("mountdevice is not supported");
    }
    let dir = bed.global(volume)?;
    match flexvolume_linux::mount::table::stacked(dir.as_path())?.len() {
        1 => Ok(()),
        many => fault(format!("called again, {many} mounts lie at {}", dir.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_points_are_spread_as_all_are() {
        let ms = |(place, at): (u32, Duration)| (place, at.as_millis());
        let first: Vec<_> = points(6, Duration::from_millis(700)).take(7).map(ms).collect();
        assert_eq!(first, [(1, 100), (2, 300), (3, 500), (4, 200), (5, 400), (6, 600), (1, 50)]);
        let (now, long_ago) = (Instant::now(), Instant::now().checked_sub(2 * LONG).unwrap());
        let enough = |began| (1..=6).filter(|place| is_enough(*place, 6, began)).collect::<Vec<_>>();
        assert_eq!((enough(now), enough(long_ago)), (vec![1], vec![1, 4, 5, 6]));
    }
}
