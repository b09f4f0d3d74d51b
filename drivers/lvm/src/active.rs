//! Volumes with a device: given one, found, revived where a command was cut off. The verbs after attach ask its note and the
//! kernel; where the note does not hold, LVM is asked.

use std::path::PathBuf;

use flexvolume::{Code, Failure, Lock, Result, World};

use crate::{
    decide::is_snapshot,
    devices,
    dm::Dm,
    group::Group,
    held::{Held, whose},
    names::{LvName, Uuid, dm_uuid},
    place::Place,
    report::Volume,
    seal,
    tool::Lvm,
    volume,
};

/// Adds and removes tags of this very volume, in one step.
///
/// # Errors
/// LVM's own.
pub(crate) fn retag(
    place: &Place,
    uuid: &Uuid,
    add: &[String],
    remove: &[String],
    (group, lock, lvm): (&Group, &Lock, &Lvm),
) -> Result<()> {
    let (storage, only) = (place.storage(), only(uuid));
    let mut words = vec!["lvchange"];
    words.extend(add.iter().flat_map(|tag| ["--addtag", tag]));
    words.extend(remove.iter().flat_map(|tag| ["--deltag", tag]));
    words.extend(["-S", &only, &storage]);
    lvm.change(&format!("tag {storage}"), lock, group, &words)
}

/// The selection by which LVM itself, under its own lock, sees that a name is still the volume that is meant.
pub(crate) fn only(uuid: &Uuid) -> String {
    format!("lv_uuid={uuid}")
}

/// Gives the volume a device, sealed, revives a suspended one, and says where it is. `lock` is the volume's own.
///
/// # Errors
/// LVM's own; or the device is not there although LVM says so.
pub(crate) fn activate(
    place: &Place,
    volume: &Volume,
    (group, lock, lvm): (&Group, &Lock, &Lvm),
    world: &World,
) -> Result<PathBuf> {
    let storage = place.storage();
    seal::set(place, world)?;
    if volume.thick_origin && !volume.active {
        seal_snapshots(place, group, lvm, world)?;
    }
    if volume.suspended {
        refresh(place, &volume.uuid, group, lock, lvm)?;
    }
    if !volume.active {
        let words = ["lvchange", "-ay", "-K", "-S", &only(&volume.uuid), &storage];
        lvm.change(&format!("activate {storage}"), lock, group, &words)?;
    }
    let wanted = dm_uuid(&volume.group.uuid, &volume.uuid);
    let nodes = volume.path.iter().chain(&volume.dm_path);
    if let Some(found) = nodes.into_iter().find(|path| Dm::at(path).is_some_and(|dm| dm.uuid() == wanted)) {
        return Ok(found.clone());
    }
    let message = match Dm::with_uuid(&wanted)? {
        Some(_) => format!("{storage} is active, but none of its names leads to its device; run: vgmknodes {storage}"),
        None => format!("{storage} was not activated: it changed while it was looked at; try again"),
    };
    Err(Failure::internal(message))
}

/// Thick snapshots get a device whenever their volume does. Their seals stay until they are deleted.
fn seal_snapshots(place: &Place, group: &Group, lvm: &Lvm, world: &World) -> Result<()> {
    let rows = lvm.ask::<Volume>(Some(group), &[group.name.as_str()])?.rows;
    for row in rows.iter().filter(|row| row.origin.as_deref() == Some(place.lv.as_str())) {
        // One that is called otherwise is not ours.
        if let Ok(lv) = LvName::parse(&row.name) {
            seal::set(&Place { lv, ..place.clone() }, world)?;
        }
    }
    Ok(())
}

/// Takes the device away of a volume that was active for our own work alone; one that is attached keeps it. `lock` is the
/// volume's own.
///
/// # Errors
/// LVM's own: somebody has it open, for one.
pub(crate) fn lay_down(
    place: &Place,
    uuid: &Uuid,
    (group, lock, lvm): (&Group, &Lock, &Lvm),
    world: &World,
) -> Result<()> {
    if Held::read(place, world)?.is_some_and(|held| held.lv_uuid == *uuid) {
        return Ok(());
    }
    let (storage, only) = (place.storage(), only(uuid));
    lvm.change(&format!("deactivate {storage}"), lock, group, &["lvchange", "-an", "-S", &only, &storage])?;
    seal::lift(place, world)
}

/// Sees to it that a volume that was only made has neither device nor seal; a call may have been cut off before it took those
/// away.
pub(crate) fn idle(place: &Place, volume: &Volume, change: (&Group, &Lock, &Lvm), world: &World) {
    let done = match (volume.active, volume.open) {
        (true, true) => return,
        (true, false) => lay_down(place, &volume.uuid, change, world),
        (false, _) => seal::lift(place, world),
    };
    if let Err(failure) = done {
        world.log(format_args!("{} is made, and stays active or sealed: {failure}", place.storage()));
    }
}

/// Lets a suspended device go on, by the metadata that LVM has now.
pub(crate) fn refresh(place: &Place, uuid: &Uuid, group: &Group, lock: &Lock, lvm: &Lvm) -> Result<()> {
    let storage = place.storage();
    let words = ["lvchange", "--refresh", "-S", &only(uuid), &storage];
    lvm.change(&format!("revive {storage}, which is suspended,"), lock, group, &words)
}

/// The volume's device, if it has one.
///
/// # Errors
/// LVM could not be asked.
pub(crate) fn find(place: &Place, world: &World) -> Result<Option<Held>> {
    if let Some(held) = Held::read(place, world)?
        && held.dm().is_some()
    {
        return Ok(Some(held));
    }
    let looked = volume::look(place, &[], &Lvm::find()?, world)?;
    // A snapshot has a device whenever its volume has, and is never attached itself.
    let Some(volume) = looked.volume.filter(|volume| !is_snapshot(&volume.tags)) else { return Ok(None) };
    let wanted = dm_uuid(&volume.group.uuid, &volume.uuid);
    let nodes = volume.path.iter().chain(&volume.dm_path);
    let device = nodes.into_iter().find(|path| Dm::at(path).is_some_and(|dm| dm.uuid() == wanted)).cloned();
    Ok(device.map(|device| Held::of(&volume, device, looked.group.devices)))
}

/// The volume's device, awake; not being attached is a failure. It has no code: the volume itself may be well.
///
/// # Errors
/// It is not attached, or could not be revived.
pub(crate) fn expect(place: &Place, world: &World) -> Result<Held> {
    let held = find(place, world)?.ok_or_else(|| {
        Failure::internal(format!("{} is not attached on this node; attach comes first", place.storage()))
    })?;
    awake(place, &held, world)?;
    Ok(held)
}

/// Revives the device if it is suspended: whoever touched it would hang.
pub(crate) fn awake(place: &Place, held: &Held, world: &World) -> Result<()> {
    if !held.dm_anywhere()?.is_some_and(|dm| dm.suspended()) {
        return Ok(());
    }
    let lvm = Lvm::find()?;
    let lock = place.lock(world)?;
    refresh(place, &held.lv_uuid, &group_of(place, held, &lvm, world), &lock, &lvm)
}

/// Revives the device with that number if it is a volume of ours that is suspended.
///
/// # Errors
/// It could not be revived.
pub(crate) fn awake_number(number: (u32, u32), world: &World) -> Result<()> {
    let Some(dm) = Dm::numbered(number).filter(Dm::suspended) else { return Ok(()) };
    match whose(&dm, world) {
        Some((place, held)) => awake(&place, &held, world),
        None => Ok(()),
    }
}

/// The volume's group, where that can be told; else as it was when the volume was attached: what is to be let go must not
/// fail for a disk that has come or gone since.
pub(crate) fn group_of(place: &Place, held: &Held, lvm: &Lvm, world: &World) -> Group {
    let at_attach = || Group { name: place.vg.clone(), uuid: held.vg_uuid.clone(), devices: held.disks.clone() };
    devices::find(&place.vg, Some(&held.vg_uuid), lvm, world).map_or_else(|_| at_attach(), |found| found.group)
}

/// The failure for a volume that somebody uses, with who, as far as that is seen.
pub(crate) fn in_use(place: &Place, dm: &Dm) -> Failure {
    let users = dm.users();
    let who = if users.is_empty() { String::new() } else { format!(" by {users}") };
    Failure::new(Code::Busy, format!("{} is in use{who}; end that first", place.storage()))
}
