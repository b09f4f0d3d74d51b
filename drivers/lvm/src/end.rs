//! The end of a volume or a snapshot of ours: nobody has it, it is marked and wiped in slices if it is thick, removed, and forgotten.
//!
//! ```text
//! thick: flexvol.state=deleting ──▶ parted from its volume (snapshots) ──▶ wiped ("In progress") ──▶ lvremove
//! thin: lvremove
//! ```
//! From the mark on it is never handed out again, whatever happens to us. A thin one goes in one step and needs none. A thick one
//! takes LVM several even if it is not wiped: a snapshot is parted from its volume first, and blocks may be discarded first.

use flexvolume::{Code, Failure, Lock, Result, World};

use crate::{
    active::{activate, in_use, only},
    dm::Dm,
    group::Group,
    held::Held,
    names::dm_uuid,
    notes::Lasting,
    place::{Place, copied, intents, not_copied},
    remove::{STANDS_ALONE, remove},
    report::{Kind, Volume},
    seal,
    seen::Seen,
    tags::{Ours, State, Wipe},
    taken::{holds_another, is_blank},
    thin::keeps_secrets,
    tool::{Lvm, flush},
    volume,
    wipe::{self, Progress},
};

/// From any state of a volume of ours to none. For a caller that holds the lock of the volume.
///
/// # Errors
/// `busy`: it is attached or in use, or has thick snapshots. In progress: it is being wiped. Or LVM's own.
pub(crate) fn go_on(
    place: &Place,
    volume: &Volume,
    ours: &Ours,
    (group, lock, lvm): (&Group, &Lock, &Lvm),
    world: &World,
) -> Result<()> {
    unused(place, volume, (group, lvm), world)?;
    let group_lock = world.lock(&place.group_lock_key())?;
    let thick = match volume.kind {
        Kind::Thick | Kind::ThickSnapshot => true,
        Kind::Thin { .. } | Kind::ThinPool | Kind::Inner => false,
    };
    let state = match ours.state {
        // What was never handed out holds nobody's data, unless something was copied to it.
        Some(State::Creating) if !holds_another(&volume.tags) || is_blank(&volume.tags) => ours.state,
        Some(State::Deleting | State::Unknown) => ours.state,
        Some(State::Creating) | None => {
            leaves_nothing(volume, ours)?;
            if thick {
                mark(place, volume, (group, &group_lock, lvm), world)?;
                Some(State::Deleting)
            } else {
                ours.state
            }
        }
    };
    // Of a thin one the pool zeroes blocks before they are another's.
    let wiped = thick && ours.wipe != Wipe::None && state == Some(State::Deleting);
    let parted;
    let volume = match volume.kind {
        Kind::ThickSnapshot if wiped => {
            parted = part(place, volume, (group, &group_lock, lvm))?;
            &parted
        }
        Kind::Thick | Kind::Thin { .. } | Kind::ThickSnapshot | Kind::ThinPool | Kind::Inner => volume,
    };
    if wiped && volume.kind == Kind::Thick {
        drop(group_lock);
        let device = match activate(place, volume, (group, lock, lvm), world) {
            // An earlier call's command has removed it while we waited for it.
            Err(_) if !volume::is_there(&volume.uuid, group, lvm)? => {
                return is_gone(place, Some(volume), group, world);
            }
            device => device?,
        };
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

/// Marks it, unless others stand on it since it was looked at: a thick snapshot would be full as soon as the volume is wiped.
/// LVM itself sees to that; where the selection does not fit, it does nothing and says nothing.
fn mark(place: &Place, volume: &Volume, (group, lock, lvm): (&Group, &Lock, &Lvm), world: &World) -> Result<()> {
    let (storage, state) = (place.storage(), State::Deleting.tag());
    let condition = format!("{} && {STANDS_ALONE}", only(&volume.uuid));
    // At boot a snapshot comes up with its volume; parted from that, and not wiped yet, it would come up by itself.
    let words = ["lvchange", "--addtag", &state, "--setautoactivation", "n", "-S", &condition, &storage];
    lvm.change(&format!("mark {storage} as being deleted"), lock, group, &words)?;
    let rows = lvm.ask::<Volume>(Some(group), &[&storage])?.rows;
    let now = rows.iter().find(|one| one.uuid == volume.uuid);
    if now.is_some_and(|now| now.tags.ours().is_some_and(|ours| ours.state == Some(State::Deleting))) {
        return Ok(());
    }
    if let Some(now) = now {
        unused(place, now, (group, lvm), world)?;
    }
    Err(Failure::new(Code::Conflict, format!("{storage} changed while it was looked at; try again")))
}

/// Makes a plain volume of a thick snapshot: its blocks hold what its origin has lost, and only so can they be wiped.
fn part(place: &Place, volume: &Volume, (group, lock, lvm): (&Group, &Lock, &Lvm)) -> Result<Volume> {
    let storage = place.storage();
    let purpose = format!("part the snapshot {storage} from its volume");
    lvm.change(&purpose, lock, group, &["lvconvert", "-y", "--splitsnapshot", &storage])?;
    let rows = lvm.ask::<Volume>(Some(group), &[&storage])?.rows;
    rows.into_iter()
        .find(|one| one.uuid == volume.uuid && one.kind == Kind::Thick)
        .ok_or_else(|| Failure::new(Code::Conflict, format!("{storage} changed while it was deleted; try again")))
}

/// Nobody has it: no attachment of ours, no mount, no program, no thick snapshot, no thin volume that begins with it.
fn unused(place: &Place, volume: &Volume, (group, lvm): (&Group, &Lvm), world: &World) -> Result<()> {
    let storage = place.storage();
    if volume.thick_origin {
        let all = lvm.ask::<Volume>(Some(group), &[group.name.as_str()])?.rows;
        let of_it = all.iter().filter(|one| one.origin.as_deref() == Some(place.lv.as_str()));
        let names: Vec<&str> = of_it.map(|one| one.name.as_str()).collect();
        let message = format!("{storage} has thick snapshots, which would die with it: {}", names.join(", "));
        return Err(Failure::new(Code::Busy, message));
    }
    if volume.external_origin {
        let message =
            format!("{storage} is what thin volumes begin with, which would die with it; see: lvs -o +origin");
        return Err(Failure::new(Code::Busy, message));
    }
    let dm = Dm::with_uuid(&dm_uuid(&volume.group.uuid, &volume.uuid))?;
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
fn leaves_nothing(volume: &Volume, ours: &Ours) -> Result<()> {
    match ours.wipe {
        Wipe::Zero | Wipe::Discard => keeps_secrets(volume),
        Wipe::None => Ok(()),
    }
}

/// A group that is not on this node is no reason to take what is in it for deleted.
pub(crate) fn not_deleted(failure: Failure) -> Failure {
    match failure.code() {
        Some(Code::NotFound) => Failure::internal(failure.to_string()),
        _ => failure,
    }
}

/// A volume that is not there: a dead call's command may have removed it just now, and nobody flushed that.
///
/// # Errors
/// A disk could not be flushed, or a note not be removed.
pub(crate) fn is_gone(place: &Place, volume: Option<&Volume>, group: &Group, world: &World) -> Result<()> {
    flush(group)?;
    forget(place, volume, world)
}

/// Takes away what we noted of a volume that is no more. Last of all the mark that it was there.
pub(crate) fn forget(place: &Place, volume: Option<&Volume>, world: &World) -> Result<()> {
    let seen = Seen::read(place, world)?;
    for uuid in volume.map(|volume| &volume.uuid).into_iter().chain(seen.as_ref().map(|seen| &seen.lv_uuid)) {
        intents(uuid, world)?.clear()?;
        wipe::note(uuid, world)?.remove()?;
        copied(uuid, world)?.remove()?;
        not_copied(uuid, world)?.remove()?;
    }
    place.note("attached", Lasting::ThisBoot, world)?.remove()?;
    seal::lift(place, world)?;
    Seen::remove(place, world)
}
