//! Snapshots, and volumes that begin with what another holds.

use flexvolume_protocol::{CreateSnapshot, DeleteSnapshot, Extension, Id, ListSnapshots, Options, Snapshot, keys};

use super::{
    data,
    extensions::announced,
    provision::{name, parameters},
};
use crate::{
    bed::{Bed, Volume},
    check::{Check, extra},
    level::Severity::{Must, Should},
    stop::{Stop, Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    extra(
        "snapshot.creates",
        Must,
        "`createsnapshot` answers `snapshot` and `created`, and the same for the same name again",
        "extensions: Snapshots",
        "look for a snapshot of that name before making one",
        &["provision.creates"],
        |bed| {
            with(bed, Extension::Snapshot, "snap", |bed, volume| {
                let one = take(bed, volume, "s")?;
                let other = take(bed, volume, "s");
                let verdict = match other {
                    Ok(other) if other.snapshot == one.snapshot => Ok(()),
                    Ok(_) => fault("the second call made another snapshot"),
                    Err(stop) => Err(stop),
                };
                drop_snapshot(bed, &one.snapshot)?;
                verdict
            })
        },
    ),
    extra(
        "snapshot.listed",
        Must,
        "`listsnapshots` has the snapshot, and has it no more when it is deleted",
        "extensions: Snapshots",
        "list what is there",
        &["snapshot.creates"],
        |bed| {
            with(bed, Extension::Snapshot, "snaps", |bed, volume| {
                let one = take(bed, volume, "l")?;
                let there = listed(bed, &one.snapshot)?;
                drop_snapshot(bed, &one.snapshot)?;
                match (there, listed(bed, &one.snapshot)?) {
                    (true, false) => Ok(()),
                    (false, _) => fault("listsnapshots does not have the snapshot that was just made"),
                    (true, true) => fault("listsnapshots still has the snapshot that was deleted"),
                }
            })
        },
    ),
    extra(
        "snapshot.deletes-again",
        Must,
        "`deletesnapshot` of what is deleted succeeds",
        "extensions: Rules",
        "take an unknown snapshot for success",
        &["snapshot.creates"],
        |bed| {
            with(bed, Extension::Snapshot, "snapd", |bed, volume| {
                let one = take(bed, volume, "d")?;
                drop_snapshot(bed, &one.snapshot)?;
                drop_snapshot(bed, &one.snapshot)
            })
        },
    ),
    extra(
        "snapshot.unknown",
        Should,
        "`createsnapshot` of a volume that is not there is a Failure with the code `notFound`",
        "extensions: Rules",
        "say `notFound`, which callers act on",
        &["snapshot.creates"],
        |bed| {
            announced(bed, Extension::Snapshot)?;
            parameters(bed)?;
            let mut options = Options::default();
            options.insert(keys::NAME, name(bed, "never"));
            options.insert(keys::ID, format!("flexvol-check-never-{}", bed.id));
            let heard = bed.caller.ask(&CreateSnapshot { options })?;
            super::provision::fails(heard, "createsnapshot of an unknown volume", flexvolume_protocol::Code::NotFound)
        },
    ),
    extra(
        "clone.holds-the-same",
        Must,
        "a clone begins with what its source holds",
        "extensions: Volumes",
        "copy the source while nobody writes to it, or say `busy`",
        &["provision.creates", "data.kept"],
        |bed| with(bed, Extension::Clone, "source", |bed, volume| same(bed, volume, keys::SOURCE_VOLUME)),
    ),
    extra(
        "clone.of-a-snapshot",
        Must,
        "a volume made of a snapshot holds what the source held then",
        "extensions: Snapshots",
        "make it of the snapshot, not of the volume",
        &["snapshot.creates", "clone.holds-the-same"],
        |bed| {
            announced(bed, Extension::Snapshot)?;
            with(bed, Extension::Clone, "sourced", |bed, volume| same(bed, volume, keys::SOURCE_SNAPSHOT))
        },
    ),
];

/// With a volume of its own.
pub(crate) fn with(
    bed: &mut Bed<'_>,
    extension: Extension,
    what: &str,
    act: impl FnOnce(&mut Bed<'_>, &Volume) -> Verdict,
) -> Verdict {
    announced(bed, extension)?;
    let parameters = parameters(bed)?;
    let name = name(bed, what);
    let volume = bed.create(&name, &parameters, &[])?;
    let main = bed.volume.replace(volume.clone());
    let verdict = act(bed, &volume);
    bed.sweep();
    bed.volume = main;
    let deleted = bed.delete(&volume);
    verdict.and(deleted)
}

fn take(bed: &mut Bed<'_>, volume: &Volume, what: &str) -> Result<Snapshot, Stop> {
    let mut options = Options::default();
    volume.options.iter().for_each(|(key, value)| options.insert(key, value));
    options.insert(keys::NAME, name(bed, what));
    options.insert(keys::ID, volume.id.as_ref().map_or("", Id::as_str));
    bed.caller.ask(&CreateSnapshot { options })?.success("createsnapshot")
}

fn drop_snapshot(bed: &mut Bed<'_>, snapshot: &Id) -> Verdict {
    let mut options = Options::default();
    options.insert(keys::SNAPSHOT, snapshot.as_str());
    bed.caller.ask(&DeleteSnapshot { options })?.success("deletesnapshot")
}

fn listed(bed: &mut Bed<'_>, snapshot: &Id) -> Result<bool, Stop> {
    let mut token = String::new();
    for _ in 0..1000 {
        let mut options = Options::default();
        options.insert(keys::TOKEN, token);
        let page = bed.caller.ask(&ListSnapshots { options })?.success("listsnapshots")?;
        if page.snapshots.iter().any(|one| one.snapshot == *snapshot) {
            return Ok(true);
        }
        match page.next {
            Some(next) => token = next,
            None => return Ok(false),
        }
    }
    fault("listsnapshots has no end")
}

/// Bytes are written to the source, and read from what is made of it.
fn same(bed: &mut Bed<'_>, source: &Volume, key: &str) -> Verdict {
    let pod = bed.up(source, 1)?;
    data::write(bed, pod.dir.as_path())?;
    bed.down(source, 1)?;
    bed.unstage(source)?;
    let snapshot = match key == keys::SOURCE_SNAPSHOT {
        true => Some(take(bed, source, "c")?.snapshot),
        false => None,
    };
    let Some(from) = snapshot.clone().or_else(|| source.id.clone()) else { return skip("the source has no id") };
    let parameters = parameters(bed)?;
    let name = name(bed, "clone");
    let made = bed.create(&name, &parameters, &[(key, from.as_str())])?;
    bed.volume = Some(made.clone());
    let verdict = bed.up(&made, 1).and_then(|pod| data::read(bed, pod.dir.as_path(), "what the source held"));
    bed.sweep();
    bed.volume = Some(source.clone());
    bed.delete(&made)?;
    if let Some(snapshot) = snapshot {
        drop_snapshot(bed, &snapshot)?;
    }
    verdict
}
