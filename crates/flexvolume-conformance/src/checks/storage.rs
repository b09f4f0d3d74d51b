//! Room, lists, health, and volumes made larger.

use flexvolume_protocol::{
    Bytes, Code, Condition, ExpandVolume, Extension, GetCapacity, GetHealth, Id, ListVolumes, ModifyVolume, Options,
    keys,
};

use super::{
    extensions::announced,
    grow::{enlarge, room},
    provision::{fails, parameters},
    snapshots::with,
};
use crate::{
    bed::Bed,
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
        "answer `available` in bytes, as a number without quotes",
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
        "list what is there at this moment, each volume once, in an order that stays",
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
        "answer as `next` the last id of the page, begin the next page after it, and leave `next` out on the last one",
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
        "`gethealth` of a volume that was just made says `ok`, or `degraded` and in `message` what to do about it",
        "extensions: Room and health",
        "answer the `condition` of the volume that `flexvol/id` names, and of nothing else",
        &["provision.creates"],
        |bed| {
            with(bed, Extension::Health, "sound", |bed, volume| {
                usable(bed, "a volume that was just made", bed.made_options(volume))
            })
        },
    ),
    extra(
        "health.of-the-storage",
        Must,
        "`gethealth` without an id tells how the storage itself does, in one of the four words",
        "extensions: Room and health",
        "answer the `condition` of the backend where no `flexvol/id` is given",
        &["init.answers"],
        |bed| {
            announced(bed, Extension::Health)?;
            let mut options = Options::default();
            bed.job.volume.create.iter().flat_map(|all| all.iter()).for_each(|(key, value)| options.insert(key, value));
            usable(bed, "the storage that the judge works on", options)
        },
    ),
    extra(
        "health.unknown",
        Must,
        "`gethealth` of an id that never was is a Failure with the code `notFound`",
        "extensions: Room and health",
        "look for the volume first, and say `notFound` if it is not there: callers ask to know just that",
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
        "after `expandvolume` and `expandfs` the mounted volume is larger, and both succeed again; of a share, which shows its server's room, `bytes` says so",
        "extensions: Call-outs",
        "grow what backs the volume in `expandvolume` and the file system on it in `expandfs`, and take what is large enough for success",
        &["provision.creates", "mount.mounts"],
        expand,
    ),
    extra(
        "modify.all-or-nothing",
        Must,
        "`modifyvolume` with a parameter that the driver does not know is a Failure with the code `invalid`, and no parameter at all is a Success",
        "extensions: Volumes",
        "look at every parameter before the first one is changed, and answer `invalid` if one is unknown",
        &["provision.creates"],
        |bed| {
            with(bed, Extension::Modify, "modified", |bed, volume| {
                let mut options = Options::default();
                options.insert(keys::ID, volume.id.as_ref().map_or("", Id::as_str));
                bed.patiently(&ModifyVolume { options: options.clone() })?.success("modifyvolume of nothing")?;
                options.insert("flexvolcheck", "x");
                let heard = bed.patiently(&ModifyVolume { options })?;
                fails(heard, "modifyvolume of a parameter that never was", Code::Invalid)
            })
        },
    ),
];

/// What is asked for does well, or well enough to be used.
fn usable(bed: &mut Bed<'_>, what: &str, options: Options) -> Verdict {
    let health = bed.caller.ask(&GetHealth { options })?.success("gethealth")?;
    let (word, message) = (health.condition.as_str(), health.message);
    match health.condition {
        Condition::Ok => Ok(()),
        // A pool that is nearly full, say: nothing is wrong with the driver.
        Condition::Degraded if !message.trim().is_empty() => Ok(()),
        Condition::Degraded => fault(format!("{what} is {word}, and no `message` says what to do about it")),
        Condition::Inaccessible | Condition::DataLoss => fault(format!("{what} is {word}: {message}")),
    }
}

/// How often a volume is in the list, page by page.
pub(crate) fn count(bed: &mut Bed<'_>, id: Option<&Id>, most: &str) -> Result<usize, Stop> {
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
        let before = room(bed, &pod)?;
        let old = bed.job.volume.bytes.unwrap_or(64 << 20);
        let (new, old) = (Bytes(2 * old), Bytes(old));
        for _ in 0..2 {
            let call = ExpandVolume { options: bed.options(volume), dir: pod.dir.clone(), new, old };
            enlarge(bed, &pod, call, before)?;
        }
        Ok(())
    })
}
