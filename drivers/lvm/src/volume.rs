//! Volumes as LVM knows them at this moment: looked up by name, in the group that is meant and in no other.

use flexvolume::{Code, Failure, Result, World};

use crate::{
    devices::{self, Found},
    group::Group,
    names::{Uuid, VgName},
    place::Place,
    report::{Vg, Volume},
    tool::Lvm,
};

/// A group, and what is in it of what was looked for.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    /// The group.
    pub(crate) group: Group,
    /// The volume; `None`: it is certainly not there.
    pub(crate) volume: Option<Volume>,
    /// Others that were asked for too and are there, and perhaps more of the group.
    pub(crate) others: Vec<Volume>,
}

/// Looks for the volume of that place, and for others of its group by name. One question, if its disks are known and it
/// is there.
///
/// # Errors
/// Those of [`devices::ask`](crate::devices::ask), and LVM's own. That the volume is not there is none.
pub(crate) fn look(place: &Place, others: &[&str], lvm: &Lvm, world: &World) -> Result<Looked> {
    let names: Vec<String> = [place.lv.as_str()].iter().chain(others).map(|lv| format!("{}/{lv}", place.vg)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    looked(place, lvm, world, |group| Ok(Some(of(group, lvm.ask::<Volume>(Some(group), &names)?.rows))))
}

/// A volume that was made just now, as LVM has it.
///
/// # Errors
/// As [`look`]; or it is gone again.
pub(crate) fn made(place: &Place, lvm: &Lvm, world: &World) -> Result<Volume> {
    let gone = || Failure::internal(format!("{} was made and is not there", place.storage()));
    look(place, &[], lvm, world)?.volume.ok_or_else(gone)
}

/// What [`look`] says, and all others of its group.
///
/// # Errors
/// As [`look`].
pub(crate) fn look_around(place: &Place, lvm: &Lvm, world: &World) -> Result<Looked> {
    looked(place, lvm, world, |group| Ok(everything(group, lvm).ok()))
}

/// `rows` asks in the group as it is remembered; `None`: it is not as it was.
fn looked(
    place: &Place,
    lvm: &Lvm,
    world: &World,
    rows: impl Fn(&Group) -> Result<Option<Vec<Volume>>>,
) -> Result<Looked> {
    in_group(&place.vg, place.vg_uuid.as_ref(), lvm, world, |Found { group, fresh }| {
        // Where more has to be found out than the usual, all of the group tells it at once.
        let rows = if *fresh { Some(everything(group, lvm)?) } else { rows(group)? };
        let Some(rows) = rows else { return Ok(None) };
        let (ours, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|one| one.is(&place.lv));
        let volume = ours.into_iter().next();
        // Disks that seem to be missing may only not be among those that are remembered.
        let sure = *fresh || volume.as_ref().is_some_and(|volume| volume.group.missing_disks == 0);
        Ok(sure.then(|| Looked { group: group.clone(), volume, others }))
    })
}

/// Every volume of a group that people can see.
///
/// # Errors
/// Those of [`devices::ask`](crate::devices::ask), and LVM's own.
pub(crate) fn all(vg: &VgName, uuid: Option<&Uuid>, lvm: &Lvm, world: &World) -> Result<(Group, Vec<Volume>)> {
    in_group(vg, uuid, lvm, world, |Found { group, fresh }| match everything(group, lvm) {
        Ok(volumes) if *fresh || (!volumes.is_empty() && volumes.iter().all(|one| one.group.missing_disks == 0)) => {
            Ok(Some((group.clone(), volumes)))
        }
        Err(failure) if *fresh => Err(failure),
        Ok(_) | Err(_) => Ok(None),
    })
}

/// How large the group is, and what is free in it: its volumes tell, all of which are `volumes`. Only where it has none LVM is asked.
///
/// # Errors
/// LVM's own, or `notFound` if it is gone.
pub(crate) fn group(group: &Group, volumes: &[Volume], lvm: &Lvm) -> Result<Vg> {
    if let Some(volume) = volumes.first() {
        return Ok(volume.group.clone());
    }
    let answer = lvm.ask::<Vg>(Some(group), &[group.name.as_str()])?;
    match (answer.rows.into_iter().find(|one| one.uuid == group.uuid), answer.failed) {
        (Some(vg), _) => Ok(vg),
        (None, Some(failure)) => Err(failure),
        (None, None) => {
            Err(Failure::new(Code::NotFound, format!("the volume group {} is not there any more", group.name)))
        }
    }
}

/// Asks in the group as it is remembered; where that does not hold (`None`), as LVM finds it now.
fn in_group<T>(
    vg: &VgName,
    uuid: Option<&Uuid>,
    lvm: &Lvm,
    world: &World,
    ask: impl Fn(&Found) -> Result<Option<T>>,
) -> Result<T> {
    let found = devices::find(vg, uuid, lvm, world)?;
    if let Some(answer) = ask(&found)? {
        return Ok(answer);
    }
    let fresh = Found { group: devices::ask(vg, uuid, lvm, world)?, fresh: true };
    ask(&fresh)?.ok_or_else(|| Failure::internal(format!("the volume group {vg} changes while it is looked at")))
}

/// Whether this very volume is still in its group.
///
/// # Errors
/// LVM's own.
pub(crate) fn is_there(uuid: &Uuid, group: &Group, lvm: &Lvm) -> Result<bool> {
    let answer = lvm.ask::<Volume>(Some(group), &["-S", &format!("lv_uuid={uuid}"), group.name.as_str()])?;
    match answer.failed {
        Some(failure) => Err(failure),
        None => Ok(of(group, answer.rows).iter().any(|one| one.uuid == *uuid)),
    }
}

fn everything(group: &Group, lvm: &Lvm) -> Result<Vec<Volume>> {
    let answer = lvm.ask::<Volume>(Some(group), &[group.name.as_str()])?;
    match answer.failed {
        Some(failure) => Err(failure),
        None => Ok(of(group, answer.rows)),
    }
}

/// Those of this very group; another of its name may have come since.
fn of(group: &Group, rows: Vec<Volume>) -> Vec<Volume> {
    rows.into_iter().filter(|one| one.group.uuid == group.uuid).collect()
}
