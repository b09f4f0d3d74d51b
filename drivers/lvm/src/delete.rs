//! Deletion: only what is ours and in nobody's use, marked first, wiped in slices, then removed.
//!
//! ```text
//! flexvol.state=deleting ──▶ wiped (thick; slice by slice, "In progress") ──▶ lvremove ──▶ our notes about it go
//! ```
//! From the mark on it is never handed out again, whatever happens to us.

use flexvolume::{Code, Failure, Lock, Options, OptionsExt, Result, World, keys};

use crate::{
    active::{Held, activate, in_use, retag},
    decide::{is_snapshot, partial},
    dm::Dm,
    group::Group,
    names::dm_uuid,
    notes::Lasting,
    place::{Place, VG_UUID, intents},
    remove::remove,
    report::{Kind, Volume},
    seen::Seen,
    tags::{Ours, State, Wipe},
    thin::Pool,
    tool::Lvm,
    volume,
    wipe::{self, Progress},
};

/// Deletes the volume `flexvol/id`. One that is not there is a success.
///
/// # Errors
/// `permission`: it is not ours. `busy`: it is attached or in use, or has thick snapshots. In progress: it is being wiped.
/// A group that is not on this node is a failure without a code: what is in it is not deleted.
pub(crate) fn delete(options: &Options, world: &World) -> Result<()> {
    let id: String = options.required(keys::ID)?;
    let place = Place { vg_uuid: options.optional(VG_UUID)?, ..Place::of_id(&id, world)? };
    let lvm = Lvm::find()?;
    let lock = world.lock(&place.lock_key())?;
    let looked = volume::look(&place, &[], &lvm, world).map_err(|failure| match failure.code() {
        Some(Code::NotFound) => Failure::internal(failure.to_string()),
        _ => failure,
    })?;
    let Some(volume) = looked.volume else { return forget(&place, None, world) };
    let ours = deletable(&place, &volume)?;
    go_on(&place, &volume, &ours, (&looked.group, &lock, &lvm), world)
}

/// From any state of a volume of ours to none. For a caller that holds the lock of the volume.
///
/// # Errors
/// As [`delete`].
pub(crate) fn go_on(
    place: &Place,
    volume: &Volume,
    ours: &Ours,
    (group, lock, lvm): (&Group, &Lock, &Lvm),
    world: &World,
) -> Result<()> {
    unused(place, volume, (group, lvm), world)?;
    let group_lock = world.lock(&place.group_lock_key())?;
    let state = match ours.state {
        Some(state) => state,
        None => {
            leaves_nothing(volume, ours, (group, lvm), world)?;
            retag(place, &volume.uuid, &[State::Deleting.tag()], &[], (group, &group_lock, lvm))?;
            State::Deleting
        }
    };
    // What was never handed out holds nobody's data.
    if state == State::Deleting && ours.wipe != Wipe::None && volume.kind == Kind::Thick {
        drop(group_lock);
        let device = activate(place, volume, group, lock, lvm)?;
        match wipe::slice(place, &volume.uuid, &device, ours.wipe, world)? {
            Progress::Done => {}
            Progress::Until(_) => return Err(Failure::in_progress()),
        }
        let group_lock = world.lock(&place.group_lock_key())?;
        remove(place, volume, state, (group, &group_lock, lvm))?;
    } else {
        remove(place, volume, state, (group, &group_lock, lvm))?;
    }
    forget(place, Some(volume), world)
}

/// What may be deleted at all.
fn deletable(place: &Place, volume: &Volume) -> Result<Ours> {
    let storage = place.storage();
    let Some(ours) = volume.tags.ours() else {
        let message = format!("{storage} was not made by this driver, so it is not deleted");
        return Err(Failure::new(Code::Permission, message));
    };
    if !ours.is_called(&place.lv) {
        let message = format!("{storage} is not that volume: its tag says that it is {}", ours.id);
        return Err(Failure::new(Code::Conflict, message));
    }
    if is_snapshot(&volume.tags) {
        return Err(Failure::new(Code::Invalid, format!("{storage} is a snapshot; deletesnapshot deletes it")));
    }
    if ours.state == Some(State::Unknown) {
        let message = format!("a later version of this driver works on {storage}; use that one");
        return Err(Failure::new(Code::Unsupported, message));
    }
    if volume.partial {
        return Err(partial(place, volume));
    }
    Ok(ours)
}

/// Nobody has it: no attachment of ours, no mount, no program, no thick snapshot.
fn unused(place: &Place, volume: &Volume, (group, lvm): (&Group, &Lvm), world: &World) -> Result<()> {
    let storage = place.storage();
    if volume.thick_origin {
        let all = lvm.ask::<Volume>(Some(group), &[group.name.as_str()])?.rows;
        let of_it = all.iter().filter(|one| one.origin.as_deref() == Some(place.lv.as_str()));
        let names: Vec<&str> = of_it.map(|one| one.name.as_str()).collect();
        let message = format!("{storage} has thick snapshots, which would die with it: {}", names.join(", "));
        return Err(Failure::new(Code::Busy, message));
    }
    let dm = Dm::with_uuid(&dm_uuid(&volume.vg_uuid, &volume.uuid))?;
    let attached = Held::read(place, world)?.is_some_and(|held| held.lv_uuid == volume.uuid);
    match dm {
        Some(_) if attached => {
            Err(Failure::new(Code::Busy, format!("{storage} is attached on this node; detach it first")))
        }
        Some(dm) if volume.open => Err(in_use(place, &dm)),
        Some(_) | None => Ok(()),
    }
}

/// That what a thin volume leaves in its pool reaches nobody. Thick ones are wiped.
fn leaves_nothing(volume: &Volume, ours: &Ours, (group, lvm): (&Group, &Lvm), _world: &World) -> Result<()> {
    match (volume.pool(), ours.wipe) {
        (Some(pool), Wipe::Zero | Wipe::Discard) => {
            let all = lvm.ask::<Volume>(Some(group), &[group.name.as_str()])?.rows;
            Pool::look(pool, &all, group, lvm)?.keeps_secrets()
        }
        (Some(_), Wipe::None) | (None, _) => Ok(()),
    }
}

/// Takes away what we noted of a volume that is no more. Last of all the mark that it was there.
fn forget(place: &Place, volume: Option<&Volume>, world: &World) -> Result<()> {
    let seen = Seen::read(place, world)?;
    for uuid in volume.map(|volume| &volume.uuid).into_iter().chain(seen.as_ref().map(|seen| &seen.lv_uuid)) {
        intents(uuid, world)?.clear()?;
        wipe::note(uuid, world)?.remove()?;
    }
    place.note("attached", Lasting::ThisBoot, world)?.remove()?;
    Seen::remove(place, world)
}
