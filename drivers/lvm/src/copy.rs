//! Thick clones: copied block by block from something that stands still, in slices that survive being cut off.
//!
//! ```text
//! lvcreate with flexvol.state=creating ──▶ a snapshot of the source, if that is a volume ──▶ copied, slice by slice, "In
//! progress" ──▶ that snapshot goes (and is wiped) ──▶ the state goes: from here on it may be used
//! ```
//! The snapshot has a tag that says for which volume it is. If that volume is no more, or is whole, it goes.

use std::{num::NonZeroU64, path::PathBuf, time::Instant};

use flexvolume::{Code, Failure, Lock, Options, Result, World};
use flexvolume_linux::block::{Alone, Erase};
use serde::{Deserialize, Serialize};

use crate::{
    active::{self, activate, idle, retag},
    create, end,
    group::Group,
    names::{LvName, Uuid},
    place::{Place, copied, not_copied},
    report::Volume,
    settings::Settings,
    snapshot::{self, Wish},
    snapshot_room::Room,
    stage::Stage,
    tags::State,
    taken::{Taken, blank, is_blank},
    tool::Lvm,
    volume,
};

/// As much is copied before the clock is looked at.
const STEP: NonZeroU64 = NonZeroU64::new(16 << 20).unwrap();

/// As much is zeroed at the end of a clone that is larger than its source: what every probe reads there.
const END: u64 = 1 << 20;

/// What is copied.
pub(crate) struct From<'a> {
    /// Where it is.
    pub(crate) place: Place,
    /// What LVM says of it.
    pub(crate) volume: &'a Volume,
    /// How much it holds.
    pub(crate) bytes: u64,
    /// It is a snapshot, which does not change.
    pub(crate) snapshot: bool,
}

impl From<'_> {
    /// The failure for a source that has another size by now.
    pub(crate) fn changed(&self) -> Failure {
        let message = format!("the size of {} has changed while it was looked at; try again", self.place.storage());
        Failure::new(Code::Busy, message)
    }
}

/// How far a copy has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// The snapshot that it is copied from.
    snapshot: Uuid,
    /// All before this byte is copied, durably.
    done: u64,
    /// The volume that the snapshot is of had no device, and was given one for this.
    woke: bool,
}

/// Why a copy has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Why {
    message: String,
    code: Option<Code>,
}

/// Works for one slice on the clone `target`, which is half-made, and answers with it when it is whole. `lock` is the
/// clone's own.
///
/// # Errors
/// In progress, until it is whole. `exhausted`: there is no room for the snapshot, or it overflowed. Any but `busy` is told
/// when what was copied is wiped and removed; until then it is in progress too (see [`failed`]).
pub(crate) fn go_on(
    place: &Place,
    target: &Volume,
    (from, rows): (&From<'_>, &[Volume]),
    options: &Options,
    (group, lock, lvm): (&Group, &Lock, &Lvm),
    world: &World,
) -> Result<Volume> {
    let room = Room::of(options)?;
    let failure = match work(place, target, (from, rows), room, (group, lock, lvm), world) {
        Ok(()) => return Ok(target.clone()),
        Err(failure) if failure.is_in_progress() || failure.code() == Some(Code::Busy) => return Err(failure),
        Err(failure) => failure,
    };
    let why = Why { message: failure.to_string(), code: failure.code() };
    let noted = not_copied(&target.uuid, world).and_then(|note| note.write(&why));
    match abandon(place, target, (group, lock, lvm), world) {
        Ok(()) => Err(failure),
        Err(left) if left.is_in_progress() && noted.is_ok() => Err(left),
        Err(left) => Err(failure.within(&format!("what was made of it is still there ({left})"))),
    }
}

fn work(
    place: &Place,
    target: &Volume,
    (from, rows): (&From<'_>, &[Volume]),
    room: Room,
    (group, lock, lvm): (&Group, &Lock, &Lvm),
    world: &World,
) -> Result<()> {
    let note = copied(&target.uuid, world)?;
    let mut progress = note.read::<Progress>()?;
    let is_done = |progress: &Option<Progress>| progress.as_ref().is_some_and(|progress| progress.done >= from.bytes);
    if !is_done(&progress) {
        let (still_place, still) = if from.snapshot {
            (from.place.clone(), from.volume.clone())
        } else {
            temporary(place, target, (from, rows), room, (group, lvm), world)?
        };
        let earlier = progress.take().filter(|progress| progress.snapshot == still.uuid);
        let mut now = earlier.unwrap_or(Progress { snapshot: still.uuid.clone(), done: 0, woke: false });
        let device = awake((&still_place, &still), rows, &mut now.woke, (group, lvm), world)?;
        let target_device = activate(place, target, (group, lock, lvm), world)?;
        let end = Instant::now() + Settings::read(world)?.slice.time();
        let alone = Alone::open(&target_device)?;
        if is_blank(&target.tags) {
            let group_lock = world.lock(&place.group_lock_key())?;
            retag(place, &target.uuid, &[], &[blank()], (group, &group_lock, lvm))?;
        }
        match alone.copy_from(&device, now.done, STEP, &mut |_| Instant::now() < end) {
            Ok(done) => now.done = done,
            Err(error) => {
                let rows = volume::all(&place.vg, Some(&group.uuid), lvm, world)?.1;
                return Err(match rows.iter().find(|one| one.uuid == still.uuid) {
                    Some(row) if row.overflowed => overflowed(&still_place, from),
                    Some(_) | None => error.into(),
                });
            }
        }
        if now.done >= from.bytes {
            tail(&alone, from.bytes)?;
        }
        note.write(&now)?;
        progress = Some(now);
        if !is_done(&progress) {
            return Err(Failure::in_progress());
        }
    }
    drop_temporary(place, target, (group, lvm), world)?;
    if progress.is_some_and(|progress| progress.woke) {
        let_rest(from, rows, (group, lvm), world);
    }
    let group_lock = world.lock(&place.group_lock_key())?;
    create::publish(place, (group, &group_lock, lvm))?;
    drop(group_lock);
    idle(place, &Volume { active: true, ..target.clone() }, (group, lock, lvm), world);
    note.remove()
}

fn overflowed(still: &Place, from: &From<'_>) -> Failure {
    let message = format!(
        "the snapshot {} of {} is lost: more has changed than it had room for; give it more (snapshotSize)",
        still.storage(),
        from.place.storage()
    );
    Failure::new(Code::Exhausted, message)
}

/// The snapshot that a volume is copied from: the one that is there for that, or a new one.
fn temporary(
    place: &Place,
    target: &Volume,
    (from, rows): (&From<'_>, &[Volume]),
    room: Room,
    (group, lvm): (&Group, &Lvm),
    world: &World,
) -> Result<(Place, Volume)> {
    let still = Place { lv: place.lv.for_copy(), ..place.clone() };
    let lock = still.lock(world)?;
    if let Some(there) = rows.iter().find(|one| one.is(&still.lv)) {
        match Taken::read(there).filter(|taken| taken.copied_to.is_some()) {
            Some(taken) if taken.ours.state.is_none() && taken.copied_to.as_ref() == Some(&target.uuid) => {
                if there.overflowed {
                    return Err(overflowed(&still, from));
                }
                return Ok((still, there.clone()));
            }
            Some(taken) => end::go_on(&still, there, &taken.ours, (group, &lock, lvm), world)?,
            None => {
                let message = format!("the name {} is another volume's, and needed for the copy", still.storage());
                return Err(Failure::new(Code::Conflict, message));
            }
        }
    }
    let wish = Wish { place: &still, name: still.lv.to_string(), copied_to: Some(&target.uuid), room };
    let stage = Stage::set(&from.place, Some(&group.uuid), lvm, world)?;
    if snapshot::take(&wish, &from.place, stage, (&lock, lvm), world)?.bytes != from.bytes {
        return Err(from.changed());
    }
    let taken = volume::made(&still, lvm, world)?;
    Ok((still, taken))
}

/// The device of a snapshot. A thick one has one only together with its volume.
fn awake(
    (place, still): (&Place, &Volume),
    rows: &[Volume],
    woke: &mut bool,
    (group, lvm): (&Group, &Lvm),
    world: &World,
) -> Result<PathBuf> {
    let parent = parent(place, still, rows)?;
    if let Some((of, volume)) = &parent
        && !(volume.active && still.active)
    {
        let lock = of.lock(world)?;
        *woke |= !volume.active;
        activate(of, volume, (group, &lock, lvm), world)?;
    }
    let lock = place.lock(world)?;
    let now = Volume { active: parent.is_some() || still.active, ..still.clone() };
    activate(place, &now, (group, &lock, lvm), world)
}

/// The volume that a thick snapshot is of.
fn parent(place: &Place, still: &Volume, rows: &[Volume]) -> Result<Option<(Place, Volume)>> {
    let Some(origin) = still.origin.as_deref() else { return Ok(None) };
    let row = rows.iter().find(|one| one.name == origin);
    let row = row.ok_or_else(|| Failure::internal(format!("{}/{origin} is not there any more", place.vg)))?;
    Ok(Some((Place { lv: LvName::parse(origin)?, ..place.clone() }, row.clone())))
}

/// Takes the device of the source away again, if nobody has attached it since.
fn let_rest(from: &From<'_>, rows: &[Volume], (group, lvm): (&Group, &Lvm), world: &World) {
    let done = || -> Result<()> {
        let (place, volume) = match parent(&from.place, from.volume, rows)? {
            Some(parent) => parent,
            None => (from.place.clone(), from.volume.clone()),
        };
        let lock = place.lock(world)?;
        active::lay_down(&place, &volume.uuid, (group, &lock, lvm), world)
    };
    if let Err(failure) = done() {
        world.log(format_args!("{} stays active after it was copied: {failure}", from.place.storage()));
    }
}

/// What others left at the end of the blocks that a larger clone was given is nothing of its own.
fn tail(alone: &Alone, source: u64) -> Result<()> {
    let size = alone.size();
    if size > source {
        alone.erase(Erase::Zero, source.max(size.saturating_sub(END))..size, STEP, &mut |_| true)?;
    }
    Ok(())
}

/// Removes the snapshots that were taken for copies to this volume, and those of it for copies that are no more, or are
/// whole.
///
/// # Errors
/// In progress: one is being wiped. Or LVM's own.
pub(crate) fn drop_temporary(
    place: &Place,
    volume: &Volume,
    (group, lvm): (&Group, &Lvm),
    world: &World,
) -> Result<()> {
    let rows = volume::all(&place.vg, Some(&group.uuid), lvm, world)?.1;
    for row in rows.iter().filter(|row| is_left(row, volume, &rows)) {
        let Some(taken) = Taken::read(row) else { continue };
        let still = Place { lv: LvName::parse(&row.name)?, ..place.clone() };
        let lock = still.lock(world)?;
        end::go_on(&still, row, &taken.ours, (group, &lock, lvm), world)?;
    }
    Ok(())
}

/// Whether `row` is a snapshot for a copy that nobody needs any more once `volume` is done with.
fn is_left(row: &Volume, volume: &Volume, rows: &[Volume]) -> bool {
    let Some((taken, target)) = Taken::read(row).and_then(|taken| Some((taken.clone(), taken.copied_to?))) else {
        return false;
    };
    if target == volume.uuid {
        return true;
    }
    let is_copied =
        |one: &Volume| one.uuid == target && one.tags.ours().is_some_and(|ours| ours.state == Some(State::Creating));
    taken.source_uuid == volume.uuid && !rows.iter().any(is_copied)
}

/// Takes away what a failed copy left, the snapshot for it first.
fn abandon(place: &Place, target: &Volume, (group, lock, lvm): (&Group, &Lock, &Lvm), world: &World) -> Result<()> {
    drop_temporary(place, target, (group, lvm), world)?;
    // It is not blank any more, if something was copied to it.
    let rows = volume::all(&place.vg, Some(&group.uuid), lvm, world)?.1;
    let now = rows.iter().find(|one| one.uuid == target.uuid);
    match now.and_then(|now| Some((now, now.tags.ours()?))) {
        Some((now, ours)) => end::go_on(place, now, &ours, (group, lock, lvm), world),
        None => Ok(()),
    }
}

/// Why the copy to this volume has failed, if it has; to be told when nothing of it is left.
pub(crate) fn failed(target: &Uuid, world: &World) -> Option<Failure> {
    let Why { message, code } = not_copied(target, world).and_then(|note| note.read()).ok()??;
    Some(code.map_or_else(|| Failure::internal(&message), |code| Failure::new(code, &message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-JdoK8j";

    fn row(name: &str) -> Volume {
        let rows: Vec<Volume> = crate::report::read(include_bytes!("../tests/reports/snapshots.json")).unwrap();
        rows.into_iter().find(|one| one.name == name).unwrap()
    }

    #[test]
    fn a_snapshot_for_a_copy_goes_with_the_copy_and_never_before() {
        let (still, clone, source) = (row("copy-clone"), row("clone"), row("vol1"));
        let whole = Volume { tags: crate::tags::Tags::default(), ..clone.clone() };
        assert!(is_left(&still, &clone, std::slice::from_ref(&clone)), "its copy is done with");
        assert!(!is_left(&still, &source, std::slice::from_ref(&clone)), "its copy is still being made");
        assert!(
            is_left(&still, &source, &[]) && is_left(&still, &source, &[whole]),
            "its copy is no more, or is whole"
        );
        let other = Volume { uuid: Uuid::parse(ONE).unwrap(), ..source.clone() };
        assert!(!is_left(&still, &other, &[]), "it is of another volume");
        for name in ["snap-good", "snap-thin", "vol1", "clone", "pool"] {
            assert!(!is_left(&row(name), &source, &[]), "{name} was asked for");
        }
    }
}
