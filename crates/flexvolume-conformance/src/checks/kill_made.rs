//! Killed while a volume is made, formatted, made larger or deleted: the same call again does it, and does it once.

use std::time::{Duration, Instant};

use flexvolume_protocol::{Bytes, CreateVolume, DeleteVolume, ExpandVolume, Extension, Mount, MountDevice, VerbName};

use super::{
    data::Written,
    extensions::announced,
    grow::{enlarge, room},
    kill::{is_enough, points, rest, told},
    provision::{name, parameters},
    snapshots::with,
    storage::count,
};
use crate::{
    bed::{Bed, Volume},
    check::{Check, extra},
    level::Severity::Must,
    life::make,
    sound,
    stop::{Stop, Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    extra(
        "kill.createvolume",
        Must,
        "a `createvolume` that was killed in its middle makes one whole volume when it is called again",
        "extensions: Rules",
        "make the volume under a name that counts for nothing, and give it its own in one last step",
        &["provision.again", "data.bytes"],
        create,
    ),
    extra(
        "kill.deletevolume",
        Must,
        "a `deletevolume` that was killed in its middle deletes all of the volume when it is called again",
        "extensions: Rules",
        "take the volume out of sight in one first step, and find what is left of it by its id",
        &["provision.deletes-again"],
        delete,
    ),
    extra(
        "kill.format",
        Must,
        "a first mount that was killed in its middle leaves nothing half formatted when it is called again",
        "contract: Demands on drivers",
        "note that a format has begun where the note outlives the call, and format again until it was whole once",
        &["provision.creates", "data.bytes"],
        format,
    ),
    extra(
        "kill.expandvolume",
        Must,
        "an `expandvolume` that was killed in its middle grows the volume when it is called again, and costs nothing that it held",
        "extensions: Call-outs",
        "grow to the size that is asked for, and not by what it differs from the size so far",
        &["expand.grows"],
        expand,
    ),
];

/// Each point takes a volume of its own.
const POINTS: u32 = 5;

/// Kills at each point; none of them may be too late.
pub(super) fn each(
    bed: &mut Bed<'_>,
    verb: VerbName,
    usual: Duration,
    mut act: impl FnMut(&mut Bed<'_>, u32, Duration) -> Result<bool, Stop>,
) -> Verdict {
    let (mut killed, began) = (0, Instant::now());
    for (n, (place, at)) in (1..).zip(points(POINTS, usual)) {
        if killed > 0 && is_enough(place, POINTS, began) {
            break;
        }
        killed += u32::from(act(bed, n, at).map_err(|stop| told(stop, verb, at))?);
    }
    match killed {
        0 => skip(format!("{} ends too soon to be killed in its middle", verb.as_str())),
        _ => Ok(()),
    }
}

/// How long it took just now.
pub(super) fn took(bed: &Bed<'_>, verb: VerbName) -> Duration {
    bed.caller.last(verb.as_str()).unwrap_or(Duration::from_millis(20))
}

/// With this volume in place of the main one; what comes up goes down.
fn using(bed: &mut Bed<'_>, volume: &Volume, act: impl FnOnce(&mut Bed<'_>) -> Verdict) -> Verdict {
    let main = bed.volume.replace(volume.clone());
    let verdict = act(bed);
    bed.sweep();
    bed.volume = main;
    verdict
}

/// It can be written and read.
fn works(bed: &mut Bed<'_>, volume: &Volume) -> Verdict {
    let pod = bed.up(volume, 1)?;
    let written = Written::of(&bed.id);
    written.write(bed, pod.dir.as_path())?;
    written.read(bed, pod.dir.as_path(), "what was just written")?;
    bed.down(volume, 1)?;
    bed.unstage(volume)
}

fn create(bed: &mut Bed<'_>) -> Verdict {
    let parameters = parameters(bed)?;
    let first = bed.create(&name(bed, "unkilled"), &parameters, &[])?;
    let usual = took(bed, VerbName::CreateVolume);
    bed.delete(&first)?;
    each(bed, VerbName::CreateVolume, usual, |bed, n, at| {
        let name = name(bed, &format!("killed{n}"));
        let call = CreateVolume { options: bed.create_options(&name, &parameters, &[]) };
        let was_killed = bed.caller.kill(&call, at)?;
        rest(bed)?;
        let made = bed.create(&name, &parameters, &[])?;
        let verdict = using(bed, &made, |bed| {
            let again = bed.create(&name, &parameters, &[])?;
            if again.id != made.id {
                bed.delete(&again)?;
                return fault("called again twice, it made two volumes");
            }
            if bed.has(Extension::List) && count(bed, made.id.as_ref(), "")? != 1 {
                return fault("called again it succeeded, and the list does not have the volume once");
            }
            works(bed, &made)
        });
        let deleted = bed.delete(&made);
        verdict.and(deleted).map(|()| was_killed)
    })
}

fn delete(bed: &mut Bed<'_>) -> Verdict {
    let parameters = parameters(bed)?;
    let first = bed.create(&name(bed, "undeleted"), &parameters, &[])?;
    bed.delete(&first)?;
    let usual = took(bed, VerbName::DeleteVolume);
    each(bed, VerbName::DeleteVolume, usual, |bed, n, at| {
        let name = name(bed, &format!("deleted{n}"));
        let made = bed.create(&name, &parameters, &[])?;
        let was_killed = bed.caller.kill(&DeleteVolume { options: bed.made_options(&made) }, at)?;
        rest(bed)?;
        bed.delete(&made)?;
        if bed.has(Extension::List) && count(bed, made.id.as_ref(), "")? != 0 {
            return fault("called again it succeeded, and the list still has the volume");
        }
        // Nothing of it is in the way of the next one of that name.
        let anew = bed.create(&name, &parameters, &[])?;
        bed.delete(&anew)?;
        Ok(was_killed)
    })
}

/// The call that formats, if any does, is `mountdevice`, or else `mount`.
fn format(bed: &mut Bed<'_>) -> Verdict {
    let parameters = parameters(bed)?;
    let first = bed.create(&name(bed, "formatted"), &parameters, &[])?;
    let attaches = bed.attaches();
    let verb = if attaches { VerbName::MountDevice } else { VerbName::Mount };
    let verdict = using(bed, &first, |bed| bed.up(&first, 1).map(drop));
    let usual = took(bed, verb);
    let deleted = bed.delete(&first);
    verdict.and(deleted)?;
    each(bed, verb, usual, |bed, n, at| {
        let made = bed.create(&name(bed, &format!("formatted{n}")), &parameters, &[])?;
        let mut was_killed = false;
        let verdict = using(bed, &made, |bed| {
            was_killed = first_mount(bed, &made, attaches, at)?;
            rest(bed)?;
            works(bed, &made)?;
            sound::unmounted(bed, &made, "called again")
        });
        let deleted = bed.delete(&made);
        verdict.and(deleted).map(|()| was_killed)
    })
}

/// Begins to mount, and is killed.
fn first_mount(bed: &mut Bed<'_>, volume: &Volume, attaches: bool, at: Duration) -> Result<bool, Stop> {
    if attaches {
        let device = bed.attach(volume)?;
        let device = bed.wait(volume, &device)?;
        let call = MountDevice { dir: bed.global(volume)?, device, options: bed.options(volume) };
        make(call.dir.as_path())?;
        return Ok(bed.caller.kill(&call, at)?);
    }
    let pod = bed.pod(1, volume)?;
    make(pod.dir.as_path())?;
    bed.up.pods.insert(1);
    let options = bed.pod_options(volume, &pod, false);
    Ok(bed.caller.kill(&Mount { dir: pod.dir, options }, at)?)
}

fn expand(bed: &mut Bed<'_>) -> Verdict {
    announced(bed, Extension::Expand)?;
    with(bed, Extension::Expand, "grown-killed", |bed, volume| {
        let pod = bed.up(volume, 1)?;
        bed.can_grow(&pod.dir)?;
        let held = Written::of(&bed.id);
        held.write(bed, pod.dir.as_path())?;
        let step = bed.job.volume.bytes.unwrap_or(64 << 20);
        let call = |bed: &Bed<'_>, n: u64| ExpandVolume {
            options: bed.options(volume),
            dir: pod.dir.clone(),
            new: Bytes((n + 1) * step),
            old: Bytes(n * step),
        };
        bed.patiently(&call(bed, 1))?.success("expandvolume")?;
        let usual = took(bed, VerbName::ExpandVolume);
        each(bed, VerbName::ExpandVolume, usual, |bed, n, at| {
            let before = room(bed, &pod)?;
            let call = call(bed, u64::from(n) + 1);
            let was_killed = bed.caller.kill(&call, at)?;
            rest(bed)?;
            enlarge(bed, &pod, call, before)?;
            held.look(bed, pod.dir.as_path(), "what the volume held before")?;
            Ok(was_killed)
        })?;
        sound::mounted(bed, &pod.dir, "after kills")
    })
}
