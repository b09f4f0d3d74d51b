//! How a volume does, or the storage itself: what is missing, full, broken, or left in mid-course, with what to do.
//!
//! The findings are pure functions of what LVM says and what this node has noted. Nothing is mended here.

use std::collections::BTreeMap;

use flexvolume::{Code, Condition, Failure, Finding, Health, Id, Options, OptionsExt, Result, World, keys};

use crate::{
    held::Held,
    names::{LvName, VgName},
    place::{Place, VG_UUID},
    report::{Kind, Volume},
    seen::Seen,
    settings::Settings,
    taken::Taken,
    thin::warnings,
    tool::Lvm,
    volume,
};

/// How the volume `flexvol/id` does, or all that is ours.
///
/// # Errors
/// `notFound`: nobody knows the volume. Or LVM's own.
pub(crate) fn health(options: &Options, world: &World) -> Result<Health> {
    match options.optional::<String>(keys::ID)?.filter(|id| !id.is_empty()) {
        Some(id) => {
            let id = Id::parse(&id)?;
            of_volume(&Place { vg_uuid: options.optional(VG_UUID)?, ..Place::of_id(id.as_str(), world)? }, world)
        }
        None => of_storage(world),
    }
}

fn of_volume(place: &Place, world: &World) -> Result<Health> {
    let seen = Seen::read(place, world)?;
    let rows = match volume::all(&place.vg, place.vg_uuid.as_ref(), &Lvm::find()?, world) {
        Ok((_, rows)) => rows,
        // What was here once is believed to be where its disks are.
        Err(failure) if failure.code() == Some(Code::NotFound) && seen.is_some() => {
            return Ok(Finding::told(vec![Finding(Condition::Inaccessible, failure.to_string())]));
        }
        Err(failure) => return Err(failure),
    };
    let held = Held::read(place, world)?;
    let found = judge(place, &rows, seen.as_ref(), held.as_ref(), &Settings::read(world)?)?;
    Ok(Finding::told(found))
}

/// What there is to say of one volume.
///
/// # Errors
/// `notFound`: it is not there and was not seen here, or is not to be used.
fn judge(
    place: &Place,
    rows: &[Volume],
    seen: Option<&Seen>,
    held: Option<&Held>,
    settings: &Settings,
) -> Result<Vec<Finding>> {
    let storage = place.storage();
    let row = rows.iter().find(|one| one.is(&place.lv));
    let is_lost = |what: &str| {
        let message = format!("{storage} was used on this node and {what}; restore it from a backup");
        Ok(vec![Finding(Condition::DataLoss, message)])
    };
    let row = match (row, seen) {
        (None, Some(_)) => return is_lost("is gone"),
        (None, None) => return Err(Failure::new(Code::NotFound, format!("there is no volume {storage}"))),
        (Some(row), Some(seen)) if seen.lv_uuid != row.uuid => return is_lost("is gone; another one has its name now"),
        (Some(row), _) => row,
    };
    if row.tags.ours().is_some_and(|ours| ours.state.is_some()) {
        return Err(Failure::new(Code::NotFound, format!("{storage} is being made or deleted")));
    }
    let mut found = of_row(row, held);
    let pools = rows.iter().filter(|pool| row.pool() == Some(pool.name.as_str()));
    found.extend(pools.flat_map(|pool| of_pool(pool, settings)));
    let snapshots = rows.iter().filter(|one| one.origin.as_deref() == Some(place.lv.as_str()) && one.overflowed);
    found.extend(snapshots.map(|one| Finding(Condition::Degraded, overflowed(one))));
    Ok(found)
}

/// What a volume or snapshot itself says.
fn of_row(row: &Volume, held: Option<&Held>) -> Vec<Finding> {
    let storage = format!("{}/{}", row.group.name, row.name);
    let mut found = Vec::new();
    if row.partial {
        let message = format!(
            "a disk of {storage} is missing (the volume group {} misses {}); bring it back; if LVM goes on calling it \
             missing: vgextend --restoremissing {} DISK",
            row.group.name, row.group.missing_disks, row.group.name
        );
        found.push(Finding(Condition::Inaccessible, message));
    } else if !row.health.is_empty() {
        let condition = if row.pool().is_some() { Condition::Inaccessible } else { Condition::Degraded };
        let message = format!("{storage} is not well: LVM says {:?}; see: lvs -a -o +lv_health_status", row.health);
        found.push(Finding(condition, message));
    }
    if row.suspended {
        let message = format!(
            "the device of {storage} stands still, because a command was cut off; the next attach or detach revives it, \
             or: lvchange --refresh {storage}"
        );
        found.push(Finding(Condition::Inaccessible, message));
    }
    if held.is_some_and(|held| held.lv_uuid == row.uuid) && !row.active {
        let message = format!("{storage} is attached, and its device is gone; attach it again");
        found.push(Finding(Condition::Inaccessible, message));
    }
    if row.overflowed {
        found.push(Finding(Condition::DataLoss, overflowed(row)));
    }
    found
}

fn overflowed(row: &Volume) -> String {
    format!(
        "the snapshot {}/{} is lost: its volume has changed more than it had room for; delete it, and give the next one \
         more (snapshotSize)",
        row.group.name, row.name
    )
}

fn of_pool(pool: &Volume, settings: &Settings) -> Vec<Finding> {
    let stands = !pool.health.is_empty() && !pool.partial;
    let condition = if stands { Condition::Inaccessible } else { Condition::Degraded };
    let mut found: Vec<Finding> = warnings(pool, settings).into_iter().map(|text| Finding(condition, text)).collect();
    if pool.check_needed {
        let name = format!("{}/{}", pool.group.name, pool.name);
        let message = format!(
            "the metadata of the thin pool {name} has to be checked; take its volumes out of use, then: lvconvert --repair \
             {name}"
        );
        found.push(Finding(Condition::Degraded, message));
    }
    found
}

fn of_storage(world: &World) -> Result<Health> {
    let (settings, lvm) = (Settings::read(world)?, Lvm::find()?);
    let mut rows = Vec::new();
    let mut found = Vec::new();
    match settings.allowed() {
        Some(groups) => {
            for vg in groups {
                match volume::all(vg, None, &lvm, world) {
                    Ok((_, more)) => rows.extend(more),
                    Err(failure) => found.push(Finding(Condition::Inaccessible, failure.to_string())),
                }
            }
        }
        None => {
            let answer = lvm.ask::<Volume>(None, &[])?;
            match answer.failed {
                Some(failure) if answer.rows.is_empty() => {
                    found.push(Finding(Condition::Inaccessible, failure.to_string()));
                }
                // Groups that LVM could not read are nobody's concern, or are named in the settings.
                Some(_) | None => rows = answer.rows,
            }
        }
    }
    let held = |row: &Volume| -> Option<Held> {
        let lv = LvName::parse(&row.name).ok()?;
        Held::read(&Place { vg: row.group.name.clone(), lv, vg_uuid: None }, world).ok()?
    };
    let in_reach = !rows.is_empty() || found.is_empty();
    found.extend(survey(&rows, &held, &settings));
    // One part that cannot be used leaves the others.
    let found = if in_reach { found.into_iter().map(Finding::of_a_part).collect() } else { found };
    Ok(Finding::told(found))
}

/// What there is to say of everything that is ours, and of the groups and pools it lies in.
fn survey(rows: &[Volume], held: &dyn Fn(&Volume) -> Option<Held>, settings: &Settings) -> Vec<Finding> {
    let ours: Vec<&Volume> = rows.iter().filter(|row| row.tags.ours().is_some()).collect();
    let touched: BTreeMap<&VgName, u64> = ours.iter().map(|row| (&row.group.name, row.group.missing_disks)).collect();
    let mut found = Vec::new();
    for (vg, missing) in touched.iter().filter(|(_, missing)| **missing > 0) {
        let message = format!("disks of the volume group {vg} are missing ({missing}); bring them back; see: pvs");
        found.push(Finding(Condition::Inaccessible, message));
    }
    for pool in rows.iter().filter(|row| row.kind == Kind::ThinPool && touched.contains_key(&row.group.name)) {
        found.extend(of_pool(pool, settings));
    }
    for row in ours {
        // A copy of ours is told of when it fails.
        let own = Taken::read(row).is_none_or(|taken| taken.copied_to.is_none());
        // The disks that are missing have been told of.
        let health = if row.partial { String::new() } else { row.health.clone() };
        let row = Volume { partial: false, health, ..row.clone() };
        found.extend(of_row(&row, held(&row).as_ref()).into_iter().filter(|_| own));
    }
    found
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
