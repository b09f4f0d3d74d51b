//! Killed while a snapshot is taken or deleted: the same call again does it, does it once, and the volume holds what it held.

use flexvolume_protocol::{CreateSnapshot, DeleteSnapshot, Extension, Id, Options, Snapshot, VerbName, keys};

use super::{
    data::Written,
    kill::rest,
    kill_made::{each, took},
    snapshots::{Filter, drop_snapshot, fill, listed, made_of, snapshot_call, take, take_ready, with},
};
use crate::{
    bed::{Bed, Volume},
    check::{Check, extra},
    level::Severity::Must,
    stop::{Stop, Verdict, fault},
};

pub(crate) const CHECKS: &[Check] = &[
    extra(
        "kill.createsnapshot",
        Must,
        "a `createsnapshot` that was killed in its middle takes one whole snapshot when it is called again",
        "extensions: Rules",
        "take the snapshot under a name that counts for nothing, and give it its own in one last step",
        &["snapshot.listed"],
        |bed| with(bed, Extension::Snapshot, "killed-of", create),
    ),
    extra(
        "kill.deletesnapshot",
        Must,
        "a `deletesnapshot` that was killed in its middle deletes all of the snapshot when it is called again, and nothing of its volume",
        "extensions: Rules",
        "take the snapshot out of sight in one first step, and find what is left of it by its id",
        &["snapshot.listed", "snapshot.deletes-again"],
        |bed| with(bed, Extension::Snapshot, "undeleted-of", delete),
    ),
];

/// What the volume holds when a snapshot of it is taken.
const HELD: &str = "what the source held";

fn create(bed: &mut Bed<'_>, volume: &Volume) -> Verdict {
    let first = take(bed, volume, "unkilled")?;
    let usual = took(bed, VerbName::CreateSnapshot);
    drop_snapshot(bed, &first.snapshot)?;
    each(bed, VerbName::CreateSnapshot, usual, |bed, n, at| {
        fill(bed, volume, HELD)?;
        let what = format!("killed{n}");
        let call: CreateSnapshot = snapshot_call(bed, volume, &what);
        let was_killed = bed.caller.kill(&call, at)?;
        rest(bed)?;
        let one = take_ready(bed, volume, &what)?;
        let verdict = whole(bed, volume, &what, &one);
        bed.volume = Some(volume.clone());
        let dropped = drop_snapshot(bed, &one.snapshot);
        verdict.and(dropped).map(|()| was_killed)
    })
}

/// There once, and with all that the volume held.
fn whole(bed: &mut Bed<'_>, volume: &Volume, what: &str, one: &Snapshot) -> Verdict {
    let again = take(bed, volume, what)?;
    if again.snapshot != one.snapshot {
        drop_snapshot(bed, &again.snapshot)?;
        return fault("called again twice, it took two snapshots");
    }
    let of_it = listed(bed, Filter::Of(volume))?;
    match of_it.iter().filter(|listed| listed.snapshot == one.snapshot).count() {
        1 if of_it.len() == 1 => {}
        1 => return fault(format!("called again it took one snapshot, and the volume has {} of them", of_it.len())),
        many => return fault(format!("called again it succeeded, and the list has the snapshot {many} times")),
    }
    if bed.has(Extension::Clone) { made_of(bed, volume, keys::SOURCE_SNAPSHOT, Some(&one.snapshot)) } else { Ok(()) }
}

fn delete(bed: &mut Bed<'_>, volume: &Volume) -> Verdict {
    fill(bed, volume, HELD)?;
    let first = take(bed, volume, "unkilled")?;
    drop_snapshot(bed, &first.snapshot)?;
    let usual = took(bed, VerbName::DeleteSnapshot);
    each(bed, VerbName::DeleteSnapshot, usual, |bed, n, at| {
        let what = format!("deleted{n}");
        let one = take(bed, volume, &what)?;
        let was_killed = bed.caller.kill(&call(&one.snapshot), at)?;
        rest(bed)?;
        drop_snapshot(bed, &one.snapshot)?;
        if listed(bed, Filter::Of(volume))?.iter().any(|listed| listed.snapshot == one.snapshot) {
            return fault("called again it succeeded, and the list still has the snapshot");
        }
        // Nothing of it is in the way of the next one of that name.
        let anew = take(bed, volume, &what)?;
        drop_snapshot(bed, &anew.snapshot)?;
        Ok::<_, Stop>(was_killed)
    })?;
    let pod = bed.up(volume, 1)?;
    Written::of(HELD).read(bed, pod.dir.as_path(), "after kills in the middle of deletesnapshot, what the volume held")
}

fn call(snapshot: &Id) -> DeleteSnapshot {
    let mut options = Options::default();
    options.insert(keys::SNAPSHOT, snapshot.as_str());
    DeleteSnapshot { options }
}
