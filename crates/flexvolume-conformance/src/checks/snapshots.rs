//! Snapshots, and volumes that begin with what another holds.

use flexvolume_protocol::{CreateSnapshot, DeleteSnapshot, Extension, Id, ListSnapshots, Options, Snapshot, keys};

use super::{
    data::Written,
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
        "look for a snapshot of that name before taking one, and answer the one that is there",
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
        "list what is there at this moment, page by page, and not what a record says",
        &["snapshot.creates"],
        |bed| {
            with(bed, Extension::Snapshot, "snaps", |bed, volume| {
                let one = take(bed, volume, "l")?;
                let there = has(bed, &one.snapshot)?;
                drop_snapshot(bed, &one.snapshot)?;
                match (there, has(bed, &one.snapshot)?) {
                    (true, false) => Ok(()),
                    (false, _) => fault("listsnapshots does not have the snapshot that was just made"),
                    (true, true) => fault("listsnapshots still has the snapshot that was deleted"),
                }
            })
        },
    ),
    extra(
        "snapshot.filters",
        Must,
        "`listsnapshots` with `flexvol/id` lists those of that volume alone, with `flexvol/snapshot` that one alone, and what fits nothing is an empty list",
        "extensions: Snapshots",
        "leave out of the list, before it is cut into pages, whatever is not of the volume or is not the snapshot that is named",
        &["snapshot.listed"],
        |bed| with(bed, Extension::Snapshot, "filtered", filters),
    ),
    extra(
        "snapshot.deletes-again",
        Must,
        "`deletesnapshot` of what is deleted succeeds",
        "extensions: Rules",
        "take a snapshot that is not there for deleted, and answer Success",
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
        "look for the volume first, and say `notFound` if it is not there, which callers act on",
        &["snapshot.creates"],
        |bed| {
            announced(bed, Extension::Snapshot)?;
            parameters(bed)?;
            let mut options = Options::default();
            options.insert(keys::NAME, name(bed, "never"));
            options.insert(keys::ID, format!("flexvol-check-never-{}", bed.id));
            let heard = bed.patiently(&CreateSnapshot { options })?;
            super::provision::fails(heard, "createsnapshot of an unknown volume", flexvolume_protocol::Code::NotFound)
        },
    ),
    extra(
        "clone.holds-the-same",
        Must,
        "a clone begins with what its source holds",
        "extensions: Volumes",
        "copy the source whole while nobody writes to it, or say `busy`; never answer an empty volume",
        &["provision.creates", "data.kept"],
        |bed| with(bed, Extension::Clone, "source", |bed, volume| same(bed, volume, keys::SOURCE_VOLUME)),
    ),
    extra(
        "clone.of-a-snapshot",
        Must,
        "a volume made of a snapshot holds what the source held then",
        "extensions: Snapshots",
        "make the new volume of what the snapshot keeps, not of what its volume holds by now",
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

/// The call that takes a snapshot.
pub(super) fn snapshot_call(bed: &Bed<'_>, volume: &Volume, what: &str) -> CreateSnapshot {
    let mut options = bed.made_options(volume);
    options.insert(keys::NAME, name(bed, what));
    CreateSnapshot { options }
}

pub(super) fn take(bed: &mut Bed<'_>, volume: &Volume, what: &str) -> Result<Snapshot, Stop> {
    bed.patiently(&snapshot_call(bed, volume, what))?.success("createsnapshot")
}

/// Taken, and ready to make a volume of: while it is not, hosts ask again.
pub(super) fn take_ready(bed: &mut Bed<'_>, volume: &Volume, what: &str) -> Result<Snapshot, Stop> {
    let call = snapshot_call(bed, volume, what);
    let taken = bed.until(|bed| {
        let taken = bed.patiently(&call)?.success("createsnapshot")?;
        let is_ready = taken.ready;
        Ok::<_, Stop>((taken, is_ready))
    })?;
    if taken.ready {
        return Ok(taken);
    }
    drop_snapshot(bed, &taken.snapshot)?;
    fault(format!("the snapshot was not `ready` within {} s", bed.caller.limit().as_secs()))
}

pub(super) fn drop_snapshot(bed: &mut Bed<'_>, snapshot: &Id) -> Verdict {
    let mut options = Options::default();
    options.insert(keys::SNAPSHOT, snapshot.as_str());
    bed.patiently(&DeleteSnapshot { options })?.success("deletesnapshot")
}

/// Which snapshots are asked for.
#[derive(Clone, Copy)]
pub(super) enum Filter<'a> {
    All,
    Of(&'a Volume),
    One(&'a str),
}

/// Those, page by page.
pub(super) fn listed(bed: &mut Bed<'_>, filter: Filter<'_>) -> Result<Vec<Snapshot>, Stop> {
    let (mut token, mut all) = (String::new(), Vec::new());
    for _ in 0..1000 {
        let mut options = match filter {
            Filter::All | Filter::One(_) => Options::default(),
            Filter::Of(volume) => bed.made_options(volume),
        };
        if let Filter::One(snapshot) = filter {
            options.insert(keys::SNAPSHOT, snapshot);
        }
        options.insert(keys::TOKEN, token);
        let mut page = bed.caller.ask(&ListSnapshots { options })?.success("listsnapshots")?;
        all.append(&mut page.snapshots);
        match page.next {
            Some(next) => token = next,
            None => return Ok(all),
        }
    }
    fault("listsnapshots has no end")
}

fn has(bed: &mut Bed<'_>, snapshot: &Id) -> Result<bool, Stop> {
    Ok(listed(bed, Filter::All)?.iter().any(|one| one.snapshot == *snapshot))
}

/// Two volumes with a snapshot each.
fn filters(bed: &mut Bed<'_>, volume: &Volume) -> Verdict {
    let (parameters, name) = (parameters(bed)?, name(bed, "filtered-other"));
    let other = bed.create(&name, &parameters, &[])?;
    let (one, another) = (take(bed, volume, "f")?, take(bed, &other, "g")?);
    let verdict = filtered(bed, volume, &one, &another);
    drop_snapshot(bed, &one.snapshot)?;
    drop_snapshot(bed, &another.snapshot)?;
    bed.delete(&other)?;
    verdict
}

fn filtered(bed: &mut Bed<'_>, volume: &Volume, one: &Snapshot, another: &Snapshot) -> Verdict {
    let of_it = listed(bed, Filter::Of(volume))?;
    let names = |all: &[Snapshot]| all.iter().map(|one| one.snapshot.as_str().to_owned()).collect::<Vec<_>>();
    if names(&of_it) != [one.snapshot.as_str()] {
        return fault(format!("asked for those of a volume with one snapshot listsnapshots has {:?}", names(&of_it)));
    }
    if of_it.first().and_then(|one| one.id.as_ref()) != volume.id.as_ref() {
        return fault("the snapshot that listsnapshots has of a volume does not have that volume's `id`");
    }
    let just_one = listed(bed, Filter::One(another.snapshot.as_str()))?;
    if names(&just_one) != [another.snapshot.as_str()] {
        return fault(format!("asked for one snapshot listsnapshots has {:?}", names(&just_one)));
    }
    let never = format!("flexvol-check-never-{}", bed.id);
    match listed(bed, Filter::One(&never))?.is_empty() {
        true => Ok(()),
        false => fault("asked for a snapshot that never was listsnapshots has some"),
    }
}

/// Bytes are written to the source, and read from what is made of it. Between a snapshot and that the source gets others.
fn same(bed: &mut Bed<'_>, source: &Volume, key: &str) -> Verdict {
    fill(bed, source, "what the source held")?;
    let snapshot = match key == keys::SOURCE_SNAPSHOT {
        true => Some(take_ready(bed, source, "c")?.snapshot),
        false => None,
    };
    let verdict = made_of(bed, source, key, snapshot.as_ref());
    bed.volume = Some(source.clone());
    let dropped = snapshot.map_or(Ok(()), |snapshot| drop_snapshot(bed, &snapshot));
    verdict.and(dropped)
}

pub(super) fn made_of(bed: &mut Bed<'_>, source: &Volume, key: &str, snapshot: Option<&Id>) -> Verdict {
    if snapshot.is_some() {
        fill(bed, source, "what the source held later")?;
    }
    let Some(from) = snapshot.or(source.id.as_ref()) else { return skip("the source has no id") };
    let (parameters, name) = (parameters(bed)?, name(bed, "clone"));
    let made = bed.create(&name, &parameters, &[(key, from.as_str())])?;
    bed.volume = Some(made.clone());
    let verdict = bed
        .up(&made, 1)
        .and_then(|pod| Written::of("what the source held").read(bed, pod.dir.as_path(), "what the source held"));
    bed.sweep();
    let deleted = bed.delete(&made);
    verdict.and(deleted)
}

/// Writes these bytes, which lie in the volume afterwards.
pub(super) fn fill(bed: &mut Bed<'_>, volume: &Volume, what: &str) -> Verdict {
    let pod = bed.up(volume, 1)?;
    Written::of(what).write(bed, pod.dir.as_path())?;
    bed.down(volume, 1)?;
    bed.unstage(volume)
}
