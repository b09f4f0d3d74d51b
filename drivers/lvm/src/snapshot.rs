//! Snapshots: what a volume holds at this moment, kept. Thin ones at once and without limit; thick ones in a room of
//! their own, which they lose everything in when it is full.

use std::time::{SystemTime, UNIX_EPOCH};

use flexvolume::{Code, Failure, Id, Lock, Options, OptionsExt, Result, Snapshot, World, keys};

use crate::{
    active::refresh,
    create::{room, whole},
    decide::{is_snapshot, partial},
    end,
    group::Group,
    names::{LvName, Uuid},
    place::{Place, VG_UUID},
    report::{Kind, Volume},
    seal,
    snapshot_room::Room,
    stage::Stage,
    tags::{Ours, State},
    taken::{Origin, Taken},
    thin::promise,
    tool::{Lvm, flush},
    volume,
};

/// Takes the snapshot `flexvol/name` of the volume `flexvol/id`.
///
/// # Errors
/// `notFound`: there is no such volume. `permission`: it is not ours. `conflict`: there is another snapshot of that name.
/// `exhausted`: no room. In progress: an earlier one of that name is still being deleted.
pub(crate) fn create(options: &Options, world: &World) -> Result<Snapshot> {
    let name: String = options.required(keys::NAME)?;
    let id: String = options.required(keys::ID)?;
    let of = Place { vg_uuid: options.optional(VG_UUID)?, ..Place::of_id(&id, world)? };
    let place = Place { lv: LvName::for_snapshot(&name), ..of.clone() };
    Id::parse(&place.id())?;
    let (room, lvm) = (Room::of(options)?, Lvm::find()?);
    let lock = place.lock(world)?;
    let mut stage = Stage::set(&of, of.vg_uuid.as_ref(), &lvm, world)?;
    if let Some(there) = stage.volumes.iter().find(|one| one.is(&place.lv)).cloned() {
        let (group, rows) = stage.leave();
        match known(&place, &there, &name, (&of, &rows))? {
            Known::Same(snapshot) => return flush(&group).map(|()| snapshot),
            Known::End(ours) => end::go_on(&place, &there, &ours, (&group, &lock, &lvm), world)?,
        }
        stage = Stage::set(&of, Some(&group.uuid), &lvm, world)?;
    }
    let wish = Wish { place: &place, name, copied_to: None, room };
    take(&wish, &of, stage, (&lock, &lvm), world)?.answer_new(&place)
}

/// What a snapshot that has the name already means.
enum Known {
    /// It is the one that is asked for.
    Same(Snapshot),
    /// It was cut off, or is being deleted: that comes first.
    End(Ours),
}

fn known(place: &Place, there: &Volume, name: &str, (of, rows): (&Place, &[Volume])) -> Result<Known> {
    let storage = place.storage();
    let conflict = |what: &str| Failure::new(Code::Conflict, format!("{storage} is {what}"));
    let Some(ours) = there.tags.ours() else { return Err(conflict("another's volume")) };
    let Some(taken) = Taken::read(there).filter(|taken| taken.copied_to.is_none()) else {
        return Err(conflict("no snapshot that was asked for"));
    };
    if ours.name != name || !ours.is_called(&place.lv) {
        return Err(conflict(&format!("a snapshot of another name ({:?})", ours.name)));
    }
    let origin = Origin { uuid: taken.source_uuid.clone(), id: taken.source.clone() };
    match ours.state {
        Some(State::Unknown) => Err(conflict("in a state that only a later version of this driver knows")),
        Some(State::Creating | State::Deleting) => Ok(Known::End(ours)),
        None if origin.is(of, rows.iter().find(|one| one.is(&of.lv))) => taken.answer(there).map(Known::Same),
        None => Err(conflict(&format!("a snapshot of another volume ({})", taken.source))),
    }
}

/// The volume that a snapshot is to be taken of.
///
/// # Errors
/// `notFound`: it is not there, or not to be used. `permission`: it is not ours. `invalid`: it is no volume.
pub(crate) fn usable<'a>(of: &Place, rows: &'a [Volume]) -> Result<&'a Volume> {
    let storage = of.storage();
    let Some(volume) = rows.iter().find(|one| one.is(&of.lv)) else {
        return Err(Failure::new(Code::NotFound, format!("there is no volume {storage}")));
    };
    let Some(ours) = volume.tags.ours() else {
        let message = format!("{storage} was not made by this driver; let it adopt the volume first: adopt: \"true\"");
        return Err(Failure::new(Code::Permission, message));
    };
    if is_snapshot(&volume.tags) || !matches!(volume.kind, Kind::Thick | Kind::Thin { .. }) {
        return Err(Failure::new(Code::Invalid, format!("{storage} is no volume")));
    }
    if ours.state.is_some() || !ours.is_called(&of.lv) {
        return Err(Failure::new(Code::NotFound, format!("{storage} is being made or deleted, or is another volume")));
    }
    if volume.partial {
        return Err(partial(of, volume));
    }
    Ok(volume)
}

/// A snapshot that is to be taken.
pub(crate) struct Wish<'a> {
    /// Where.
    pub(crate) place: &'a Place,
    /// The name it was asked for by.
    pub(crate) name: String,
    /// The volume that it is copied to, if that is all it is for.
    pub(crate) copied_to: Option<&'a Uuid>,
    /// If it is thick.
    pub(crate) room: Room,
}

/// Takes it. For a caller that holds `lock`, that of the snapshot; nothing has its name. Cut off, or failed, it leaves
/// nothing that is ever taken for a snapshot, and its volume is not left suspended.
///
/// # Errors
/// Those of [`usable`]. `exhausted`: there is no room for it. Or LVM's own.
pub(crate) fn take(
    wish: &Wish<'_>,
    of: &Place,
    stage: Stage,
    (lock, lvm): (&Lock, &Lvm),
    world: &World,
) -> Result<Taken> {
    let (place, storage) = (wish.place, wish.place.storage());
    // Under the lock of the group nobody marks the source as being deleted, or takes it away.
    let Stage { lock: group_lock, group, volumes: rows } = stage;
    let source = usable(of, &rows)?;
    if source.suspended {
        refresh(of, &source.uuid, &group, &group_lock, lvm)?;
    }
    let cow = match source.pool() {
        Some(pool) => {
            promise(pool, source.bytes, &rows, &group, world)?;
            None
        }
        None => {
            let bytes = source.group.round_up(wish.room.bytes(source.bytes));
            room(&source.group, bytes)?;
            Some(format!("{bytes}b"))
        }
    };
    let wipe = source.tags.ours().map_or_else(Default::default, |theirs| theirs.wipe);
    let taken = Taken {
        ours: Ours { name: wish.name.clone(), id: place.id(), state: Some(State::Creating), wipe },
        source: of.id(),
        source_uuid: source.uuid.clone(),
        created: now(),
        bytes: source.bytes,
        copied_to: wish.copied_to.cloned(),
    };
    let (tags, origin) = (taken.tags(), of.storage());
    // A thick one has a device from the start, if its volume has.
    if cow.is_some() {
        seal::set(place, world)?;
    }
    let mut words = vec!["lvcreate", "-s", "-y", "-n", place.lv.as_str()];
    match &cow {
        Some(bytes) => words.extend(["-L", bytes]),
        // It gets a device when it is attached as a clone, and not before.
        None => words.push("-ky"),
    }
    words.extend(tags.iter().flat_map(|tag| ["--addtag", tag]));
    words.push(&origin);
    let done = lvm
        .change(&format!("take the snapshot {storage} of {origin}"), &group_lock, &group, &words)
        .and_then(|()| whole(place, &[], (&group, &group_lock, lvm)));
    drop(group_lock);
    match done {
        Ok(()) => Ok(Taken { ours: Ours { state: None, ..taken.ours }, ..taken }),
        Err(failure) => match undo(wish, (of, source), (&group, lock, lvm), world) {
            Ok(()) => Err(failure),
            Err(undo) => Err(failure.within(&format!("what was made of it is still there ({undo})"))),
        },
    }
}

/// Takes away what a failed one left, and lets its volume go on.
fn undo(
    wish: &Wish<'_>,
    (of, source): (&Place, &Volume),
    (group, lock, lvm): (&Group, &Lock, &Lvm),
    world: &World,
) -> Result<()> {
    let rows = volume::all(&of.vg, Some(&group.uuid), lvm, world)?.1;
    if rows.iter().any(|one| one.uuid == source.uuid && one.suspended) {
        let group_lock = world.lock(&of.group_lock_key())?;
        refresh(of, &source.uuid, group, &group_lock, lvm)?;
    }
    let left = rows.iter().find(|one| one.is(&wish.place.lv) && is_snapshot(&one.tags));
    match left.and_then(|left| Some((left, left.tags.ours()?))) {
        Some((left, ours)) if ours.state == Some(State::Creating) => {
            end::go_on(wish.place, left, &ours, (group, lock, lvm), world)
        }
        Some(_) | None => Ok(()),
    }
}

/// Deletes the snapshot `flexvol/snapshot`. One that is not there is a success.
///
/// # Errors
/// `invalid`: it is a volume. `busy`: a clone is being made of it, or somebody has it open. In progress: it is being wiped.
pub(crate) fn delete(options: &Options, world: &World) -> Result<()> {
    let id: String = options.required(keys::SNAPSHOT)?;
    let Some(place) = Place::to_delete(&id, world)? else { return Ok(()) };
    let place = Place { vg_uuid: options.optional(VG_UUID)?, ..place };
    let lvm = Lvm::find()?;
    let lock = place.lock(world)?;
    let (group, rows) = volume::all(&place.vg, place.vg_uuid.as_ref(), &lvm, world).map_err(end::not_deleted)?;
    let Some(volume) = rows.iter().find(|one| one.is(&place.lv)) else {
        return end::is_gone(&place, None, &group, world);
    };
    let ours = deletable(&place, volume, &rows)?;
    end::go_on(&place, volume, &ours, (&group, &lock, &lvm), world)
}

fn deletable(place: &Place, volume: &Volume, rows: &[Volume]) -> Result<Ours> {
    let storage = place.storage();
    let Some(ours) = volume.tags.ours() else {
        let message = format!("{storage} was not made by this driver, so it is not deleted");
        return Err(Failure::new(Code::Permission, message));
    };
    if !is_snapshot(&volume.tags) {
        return Err(Failure::new(Code::Invalid, format!("{storage} is no snapshot; deletevolume deletes volumes")));
    }
    if !ours.is_called(&place.lv) {
        let message = format!("{storage} is not that snapshot: its tag says that it is {}", ours.id);
        return Err(Failure::new(Code::Conflict, message));
    }
    if ours.state == Some(State::Unknown) {
        let message = format!("a later version of this driver works on {storage}; use that one");
        return Err(Failure::new(Code::Unsupported, message));
    }
    if volume.partial {
        return Err(partial(place, volume));
    }
    let is_made_of_it = |one: &&Volume| {
        let unfinished = one.tags.ours().is_some_and(|ours| ours.state == Some(State::Creating));
        unfinished && Origin::read(&one.tags).is_some_and(|origin| origin.uuid == volume.uuid)
    };
    match rows.iter().find(is_made_of_it) {
        Some(clone) => {
            let message = format!("{}/{} is still being made of {storage}", place.vg, clone.name);
            Err(Failure::new(Code::Busy, message))
        }
        None => Ok(ours),
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
