//! Volumes that begin with the content of another, or of a snapshot. In a thin pool they share its blocks and are there at
//! once; thick ones are copied (see [`copy`]).
//!
//! Either way the file system comes with the UUID of its original, which may be mounted beside it. A new one is chosen
//! here, and given before the first mount (see [`renew`](crate::renew)).

use flexvolume::{Code, Created, Failure, Id, Lock, Options, OptionsExt, Result, Source, World, keys};
use flexvolume_linux::fs::fresh_uuid;

use crate::{
    active::{idle, refresh},
    copy::{self, From},
    create::{self, Wish},
    decide::partial,
    end,
    group::Group,
    mount,
    names::{LvName, VgName},
    place::{Place, VG_UUID},
    provision::{created, not_lost, wanted_size},
    report::Volume,
    snapshot,
    snapshot_room::Room,
    tags::{State, Wipe},
    taken::{Origin, Pending, Taken, blank},
    thin::promise,
    tool::{Lvm, flush},
    volume,
};

/// Makes the volume `flexvol/name` of `source`, inactive.
///
/// # Errors
/// `notFound`: the source is not there, or the clone was used here and is lost. `invalid`: the source is larger than the
/// clone may be, or lies elsewhere. `conflict`: there is another volume of that name, or of another source. `exhausted`: no
/// room. In progress: it is being copied.
pub(crate) fn create(options: &Options, source: &Source, world: &World) -> Result<Created> {
    let name: String = options.required(keys::NAME)?;
    let (id, is_snapshot) = match source {
        Source::Volume(id) => (id, false),
        Source::Snapshot(id) => (id, true),
    };
    let of = Place::of_id(id.as_str(), world)?;
    if let Some(vg) = options.optional::<VgName>("volumegroup")?.filter(|vg| *vg != of.vg) {
        let message = format!("a clone lies in the volume group of its source, {}, and not in {vg}", of.vg);
        return Err(Failure::new(Code::Invalid, message));
    }
    let place = Place { vg: of.vg.clone(), lv: LvName::for_volume(&name), vg_uuid: options.optional(VG_UUID)? };
    Id::parse(&place.id())?;
    mount::check(options)?;
    if place.lv == of.lv {
        return Err(Failure::new(
            Code::Conflict,
            format!("{} is the source, and cannot be its own clone", of.storage()),
        ));
    }
    let lvm = Lvm::find()?;
    let lock = place.lock(world)?;
    // Until the clone says what it is made of, nobody deletes that; a volume is held by the snapshot that is taken of it.
    let source_lock = if is_snapshot { Some(of.lock(world)?) } else { None };
    let (group, mut rows) = volume::all(&place.vg, place.vg_uuid.as_ref(), &lvm, world)?;
    let target = rows.iter().find(|one| one.is(&place.lv));
    // Of a copy that failed what is left goes first, and then the call has failed.
    let failed = target.filter(|target| is_of(target, &of, &rows)).and_then(|target| copy::failed(&target.uuid, world));
    let step = match step(&place, &name, target, &of, &rows)? {
        Step::GoOn if failed.is_some() => Step::End,
        step @ (Step::Make | Step::Done | Step::GoOn | Step::End) => step,
    };
    not_lost(&place, target.map(|target| &target.uuid), world)?;
    match (step, target) {
        (Step::Done, Some(volume)) => {
            same_size(&place, volume.bytes, options)?;
            flush(&group)?;
            idle(&place, volume, (&group, &lock, &lvm), world);
            return created(&place, &volume.group.uuid, volume.bytes, options);
        }
        (Step::End, Some(left)) => {
            copy::drop_temporary(&place, left, (&group, &lvm), world)?;
            if let Some(ours) = left.tags.ours() {
                end::go_on(&place, left, &ours, (&group, &lock, &lvm), world)?;
            }
            if let Some(failure) = failed {
                return Err(failure);
            }
            rows = volume::all(&place.vg, Some(&group.uuid), &lvm, world)?.1;
        }
        (Step::GoOn, Some(begun)) => same_size(&place, begun.bytes, options)?,
        (Step::Make | Step::GoOn | Step::Done | Step::End, _) => {}
    }
    let from = source_of(of, is_snapshot, &rows)?;
    let (least, most) = (fits(&place, from.bytes, options)?, wanted_size(options)?.1);
    let mut wish = Wish::of(&place, &name, least, most, options)?;
    in_the_same_pool(&from, wish.pool.as_ref())?;
    wish.tags.extend(says(&wish, &from)?);
    let change = (&group, &lock, &lvm);
    let bytes = match (from.volume.pool(), rows.iter().find(|one| one.is(&place.lv))) {
        (Some(pool), _) => thin(&place, &wish, &from, pool, change, world)?,
        (None, Some(begun)) => {
            drop(source_lock);
            copy::go_on(&place, begun, (&from, &rows), options, change, world)?.bytes
        }
        (None, None) => {
            wish.tags.push(blank());
            let more = if is_snapshot { 0 } else { Room::of(options)?.bytes(from.bytes) };
            let begun = create::half(&place, &wish, more, &lvm, world)?;
            drop(source_lock);
            copy::go_on(&place, &begun, (&from, &rows), options, change, world)?.bytes
        }
    };
    created(&place, &group.uuid, bytes, options)
}

/// What a clone will say of itself beside what any volume says.
fn says(wish: &Wish, from: &From<'_>) -> Result<Vec<String>> {
    let origin = Origin { uuid: from.volume.uuid.clone(), id: from.place.id() };
    let grow = wish.bytes > from.bytes || Pending::read(&from.volume.tags).grow;
    let pending = Pending { renew: Some(fresh_uuid()?), grow };
    Ok(origin.tags().into_iter().chain(pending.tags()).collect())
}

/// What to do about what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing is there: make it.
    Make,
    /// It is the clone that is asked for, whole.
    Done,
    /// It is that one, half-made.
    GoOn,
    /// Something of ours that was never handed out, or is being deleted: it goes first.
    End,
}

fn step(place: &Place, name: &str, target: Option<&Volume>, of: &Place, rows: &[Volume]) -> Result<Step> {
    let Some(target) = target else { return Ok(Step::Make) };
    let storage = place.storage();
    let conflict =
        |other: &str| Failure::new(Code::Conflict, format!("there is a volume {storage} already, with {other}"));
    let ours = target.tags.ours().ok_or_else(|| conflict("another maker"))?;
    if ours.name != name || !ours.is_called(&place.lv) {
        return Err(conflict(&format!("another name ({:?})", ours.name)));
    }
    let row = rows.iter().find(|one| one.is(&of.lv));
    let same = is_of(target, of, rows);
    match ours.state {
        Some(State::Unknown) => Err(conflict("a state that only a later version of this driver knows")),
        Some(State::Deleting) => Ok(Step::End),
        // What shares blocks is there in one step, or begun anew.
        Some(State::Creating) if same && row.is_some_and(|row| row.pool().is_none()) => Ok(Step::GoOn),
        Some(State::Creating) => Ok(Step::End),
        None if same => Ok(Step::Done),
        None => Err(conflict("the content of another, or none")),
    }
}

/// Whether it says that it is a clone of that source.
fn is_of(target: &Volume, of: &Place, rows: &[Volume]) -> bool {
    Origin::read(&target.tags).is_some_and(|origin| origin.is(of, rows.iter().find(|one| one.is(&of.lv))))
}

/// The source, if a volume can be made of it.
fn source_of(place: Place, is_snapshot: bool, rows: &[Volume]) -> Result<From<'_>> {
    let storage = place.storage();
    if !is_snapshot {
        let volume = snapshot::usable(&place, rows)?;
        return Ok(From { place, volume, bytes: volume.bytes, snapshot: false });
    }
    let found = rows.iter().find(|one| one.is(&place.lv)).and_then(|row| Some((row, Taken::read(row)?)));
    let Some((volume, taken)) = found.filter(|(_, taken)| taken.copied_to.is_none()) else {
        return Err(Failure::new(Code::NotFound, format!("there is no snapshot {storage}")));
    };
    if taken.ours.state.is_some() || !taken.ours.is_called(&place.lv) {
        return Err(Failure::new(
            Code::NotFound,
            format!("{storage} is being made or deleted, or is another snapshot"),
        ));
    }
    if volume.overflowed {
        return Err(Failure::internal(format!(
            "the snapshot {storage} is lost: its volume has changed more than it had room for; delete it, and give the \
             next one more (snapshotSize)"
        )));
    }
    if volume.partial {
        return Err(partial(&place, volume));
    }
    Ok(From { place, volume, bytes: taken.bytes, snapshot: true })
}

/// The sizes that were asked for: at least, and at most. One that nobody asked for is no wish.
fn asked(options: &Options) -> Result<(Option<u64>, Option<u64>)> {
    let (wanted, most) = wanted_size(options)?;
    let is_asked = options.get(keys::REQUIRED_BYTES).is_some() || options.get("size").is_some();
    Ok((is_asked.then_some(wanted), most))
}

/// That a clone which is there, whole or not, is as large as is asked for now.
///
/// # Errors
/// `conflict`: it was asked for with another size.
fn same_size(place: &Place, has: u64, options: &Options) -> Result<()> {
    let (wanted, most) = asked(options)?;
    if wanted.is_none_or(|wanted| wanted <= has) && most.is_none_or(|most| has <= most) {
        return Ok(());
    }
    let message = format!("there is a volume {} already, with another size ({has} bytes)", place.storage());
    Err(Failure::new(Code::Conflict, message))
}

/// How large a clone of so many bytes becomes: as wished, and never smaller than its source.
fn fits(place: &Place, source: u64, options: &Options) -> Result<u64> {
    let (wanted, most) = asked(options)?;
    let bytes = wanted.map_or(source, |wanted| wanted.max(source));
    match most {
        Some(most) if most < bytes => {
            let message = format!(
                "{} cannot be made: its source has {source} bytes, and no more than {most} are wanted",
                place.storage()
            );
            Err(Failure::new(Code::Invalid, message))
        }
        Some(_) | None => Ok(bytes),
    }
}

fn in_the_same_pool(from: &From<'_>, pool: Option<&LvName>) -> Result<()> {
    match (pool.map(LvName::as_str), from.volume.pool()) {
        (None, _) => Ok(()),
        (Some(wanted), Some(has)) if wanted == has => Ok(()),
        (Some(wanted), _) => {
            let storage = from.place.storage();
            let message = format!("{storage} is not in the thin pool {wanted}, and its clone lies where it lies");
            Err(Failure::new(Code::Invalid, message))
        }
    }
}

/// A clone that shares the blocks of its source, and how large it is.
fn thin(
    place: &Place,
    wish: &Wish,
    from: &From<'_>,
    pool: &str,
    (group, lock, lvm): (&Group, &Lock, &Lvm),
    world: &World,
) -> Result<u64> {
    lvcreate(place, wish, from, pool, (group, lvm), world).map_err(|failure| {
        let left = volume::look(place, &[], lvm, world).ok().and_then(|looked| looked.volume);
        let undone = match left.as_ref().and_then(|left| Some((left, left.tags.ours()?))) {
            Some((left, ours)) if ours.state == Some(State::Creating) => {
                end::go_on(place, left, &ours, (group, lock, lvm), world)
            }
            Some(_) | None => Ok(()),
        };
        match undone {
            Ok(()) => failure,
            Err(undo) => failure.within(&format!("what was made of it is still there ({undo})")),
        }
    })
}

fn lvcreate(
    place: &Place,
    wish: &Wish,
    from: &From<'_>,
    pool: &str,
    (group, lvm): (&Group, &Lvm),
    world: &World,
) -> Result<u64> {
    let lock = world.lock(&place.group_lock_key())?;
    let rows = volume::all(&place.vg, Some(&group.uuid), lvm, world)?.1;
    let is_usable = |one: &Volume| one.tags.ours().is_some_and(|ours| ours.state.is_none());
    let Some(source) = rows.iter().find(|one| one.uuid == from.volume.uuid && is_usable(one)) else {
        let message = format!("{} is being deleted", from.place.storage());
        return Err(Failure::new(Code::NotFound, message));
    };
    if source.bytes != from.volume.bytes {
        return Err(from.changed());
    }
    // A size that LVM has made is one of whole extents.
    let larger = wish.bytes > source.bytes;
    let bytes = if larger { create::rounded(wish, &source.group)? } else { source.bytes };
    let pool = promise(pool, bytes, &rows, group, world)?;
    if wish.ours.wipe != Wipe::None {
        pool.keeps_secrets()?;
    }
    let (storage, source) = (place.storage(), from.place.storage());
    let tags = wish.all_tags();
    // Only its attachment makes it active.
    let mut words = vec!["lvcreate", "-s", "-y", "-ky", "-n", place.lv.as_str()];
    words.extend(tags.iter().flat_map(|tag| ["--addtag", tag]));
    words.push(&source);
    let purpose = format!("make {storage} of {source}");
    if let Err(failure) = lvm.change(&purpose, &lock, group, &words) {
        // It stands still while it is cloned.
        let rows = volume::all(&place.vg, Some(&group.uuid), lvm, world)?.1;
        if rows.iter().any(|one| one.uuid == from.volume.uuid && one.suspended) {
            refresh(&from.place, &from.volume.uuid, group, &lock, lvm)?;
        }
        return Err(failure);
    }
    if larger {
        let size = format!("{bytes}b");
        lvm.change(&purpose, &lock, group, &["lvextend", "-L", &size, &storage])?;
    }
    create::publish(place, (group, &lock, lvm))?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "clone_tests.rs"]
mod tests;
