//! Room, lists, health, and volumes made larger.

use flexvolume_protocol::{
    Bytes, Code, Condition, ExpandFs, ExpandVolume, Extension, GetCapacity, GetHealth, Id, ListVolumes, ModifyVolume,
    Options, keys,
};

use super::{
    extensions::announced,
    provision::{fails, parameters},
    snapshots::with,
};
use crate::{
    bed::{Bed, Volume},
    check::{Check, extra},
    level::Severity::Must,
    stop::{Stop, Verdict, fault},
};

pub(crate) const CHECKS: &[Check] = &[
    extra(
        "capacity.answers",
        Must,
        "`getcapacity` says how many bytes are `available`",
        "extensions: Room and health",
        "answer `available` in bytes, as a number",
        &["init.answers"],
        |bed| {
            announced(bed, Extension::Capacity)?;
            let mut options = Options::default();
            parameters(bed)?.iter().for_each(|(key, value)| options.insert(key, value));
            bed.caller.ask(&GetCapacity { options })?.success("getcapacity").map(drop)
        },
    ),
    extra(
        "list.has-it",
        Must,
        "`listvolumes` has a volume that was made, once, and no more when it is deleted",
        "extensions: Pages",
        "list what is there, in an order that stays",
        &["provision.creates"],
        |bed| {
            let mut gone = None;
            with(bed, Extension::List, "listed", |bed, volume| {
                gone = volume.id.clone();
                match count(bed, volume.id.as_ref(), "")? {
                    1 => Ok(()),
                    0 => fault("listvolumes does not have the volume that was just made"),
                    many => fault(format!("listvolumes has one volume {many} times")),
                }
            })?;
            match count(bed, gone.as_ref(), "")? {
                0 => Ok(()),
                _ => fault("listvolumes still has the volume that was deleted"),
            }
        },
    ),
    extra(
        "list.pages",
        Must,
        "pages of one volume each come to the same list",
        "extensions: Pages",
        "answer as `next` what the next page begins after, and nothing after the last one",
        &["list.has-it"],
        |bed| {
            with(bed, Extension::List, "paged", |bed, volume| match count(bed, volume.id.as_ref(), "1")? {
                1 => Ok(()),
                many => fault(format!("page by page the volume is there {many} times")),
            })
        },
    ),
    extra(
        "health.of-a-volume",
        Must,
        "`gethealth` of a sound volume says `ok`",
        "extensions: Room and health",
        "answer the `condition` of the volume that is asked for",
        &["provision.creates"],
        |bed| {
            with(bed, Extension::Health, "sound", |bed, volume| {
                let health = bed.caller.ask(&GetHealth { options: of(volume) })?.success("gethealth")?;
                match health.condition {
                    Condition::Ok => Ok(()),
                    Condition::Degraded | Condition::Inaccessible | Condition::DataLoss => {
                        let words = health.message;
                        fault(format!("a volume that was just made is {}: {words}", health.condition.as_str()))
                    }
                }
            })
        },
    ),
    extra(
        "health.unknown",
        Must,
        "`gethealth` of an id that never was is a Failure with the code `notFound`",
        "extensions: Room and health",
        "say `notFound`: callers ask it to know whether a volume is there",
        &["init.answers"],
        |bed| {
            announced(bed, Extension::Health)?;
            let mut options = Options::default();
            options.insert(keys::ID, format!("flexvol-check-never-{}", bed.id));
            let heard = bed.caller.ask(&GetHealth { options })?;
            fails(heard, "gethealth of an unknown id", Code::NotFound)
        },
    ),
    extra(
        "expand.grows",
        Must,
        "after `expandvolume` and `expandfs` the mounted volume is larger, and both succeed again",
        "extensions: Call-outs",
        "grow what backs the volume, then the file system on it; do nothing where it is large enough",
        &["provision.creates", "mount.mounts"],
        expand,
    ),
    extra(
        "modify.all-or-nothing",
        Must,
        "`modifyvolume` with a parameter that the driver does not know is a Failure with the code `invalid`, and no parameter at all is a Success",
        "extensions: Volumes",
        "look at every parameter before the first one is changed",
        &["provision.creates"],
        |bed| {
            with(bed, Extension::Modify, "modified", |bed, volume| {
                let mut options = Options::default();
                options.insert(keys::ID, volume.id.as_ref().map_or("", Id::as_str));
                bed.caller.ask(&ModifyVolume { options: options.clone() })?.success("modifyvolume of nothing")?;
                options.insert("flexvolcheck", "x");
                let heard = bed.caller.ask(&ModifyVolume { options })?;
                fails(heard, "modifyvolume of a parameter that never was", Code::Invalid)
            })
        },
    ),
];

/// The options by which a volume that was made is found.
fn of(volume: &Volume) -> Options {
    let mut options = Options::default();
    volume.options.iter().for_each(|(key, value)| options.insert(key, value));
    options.insert(keys::ID, volume.id.as_ref().map_or("", Id::as_str));
    options
}

/// How often a volume is in the list, page by page.
fn count(bed: &mut Bed<'_>, id: Option<&Id>, most: &str) -> Result<usize, Stop> {
    let (mut token, mut found) = (String::new(), 0);
    for _ in 0..10_000 {
        let mut options = Options::default();
        options.insert(keys::TOKEN, token);
        options.insert(keys::MAX, most);
        let page = bed.caller.ask(&ListVolumes { options })?.success("listvolumes")?;
        found += page.volumes.iter().filter(|one| Some(&one.id) == id).count();
        match page.next {
            Some(next) => token = next,
            None => return Ok(found),
        }
    }
    fault("listvolumes has no end")
}

fn expand(bed: &mut Bed<'_>) -> Verdict {
    with(bed, Extension::Expand, "grown", |bed, volume| {
        let pod = bed.up(volume, 1)?;
        bed.can_grow(&pod.dir)?;
        let room = |bed: &Bed<'_>| {
            let path = pod.dir.as_path().to_owned();
            bed.reach("looking at the volume", move || {
                let usage =
                    flexvolume_linux::fs::usage(&path).map_err(|error| std::io::Error::other(error.to_string()))?;
                Ok(usage.total)
            })
        };
        let before = room(bed)?;
        let old = bed.job.volume.bytes.unwrap_or(64 << 20);
        let (new, old) = (Bytes(2 * old), Bytes(old));
        for _ in 0..2 {
            let call = ExpandVolume { options: bed.options(volume), dir: pod.dir.clone(), new, old };
            bed.caller.ask(&call)?.success("expandvolume")?;
            let call = ExpandFs {
                options: bed.options(volume),
                device: flexvolume_protocol::Device::default(),
                dir: pod.dir.clone(),
                new,
                old,
            };
            bed.caller.ask(&call)?.success("expandfs")?;
        }
        match (before, room(bed)?) {
            (Ok(before), Ok(after)) if after > before => Ok(()),
            (before, after) => fault(format!("the file system had {before:?} bytes, and has {after:?}")),
        }
    })
}
