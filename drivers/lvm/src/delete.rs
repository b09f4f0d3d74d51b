//! deletevolume: what may be deleted at all, and what goes with it.

use flexvolume::{Code, Failure, Options, OptionsExt, Result, World, keys};

use crate::{
    copy,
    decide::{is_snapshot, partial},
    end,
    place::{Place, VG_UUID},
    report::{Kind, Volume},
    seen::Seen,
    tags::{Ours, State},
    taken::holds_another,
    tool::Lvm,
    volume,
};

/// Deletes the volume `flexvol/id`. One that is not there is a success.
///
/// # Errors
/// `permission`: it is not ours. `busy`: it is attached or in use, or has thick snapshots. In progress: it is being wiped.
/// A group that is not on this node is a failure without a code: what is in it is not deleted.
pub(crate) fn delete(options: &Options, world: &World) -> Result<()> {
    let id: String = options.required(keys::ID)?;
    let Some(place) = Place::to_delete(&id, world)? else { return Ok(()) };
    let mut place = Place { vg_uuid: options.optional(VG_UUID)?, ..place };
    let lvm = Lvm::find()?;
    let lock = place.lock(world)?;
    // By the id alone another group of that name is not it, if the volume was ever handed out here.
    let used_in = Seen::read(&place, world)?.map(|seen| seen.vg_uuid);
    place.vg_uuid = place.vg_uuid.or_else(|| used_in.clone());
    let looked = volume::look(&place, &[], &lvm, world).map_err(end::not_deleted)?;
    let (group, mut volume) = match looked.volume {
        Some(volume) => (looked.group, volume),
        None if used_in.is_some_and(|uuid| uuid != looked.group.uuid) => return Ok(()),
        None => return end::is_gone(&place, None, &looked.group, world),
    };
    let ours = deletable(&place, &volume)?;
    if volume.thick_origin || ours.state.is_some() && holds_another(&volume.tags) {
        // Snapshots that were only for copies of it, or for it as a copy.
        copy::drop_temporary(&place, &volume, (&group, &lvm), world)?;
        match volume::look(&place, &[], &lvm, world)?.volume {
            Some(now) => volume = now,
            None => return end::is_gone(&place, None, &group, world),
        }
    }
    end::go_on(&place, &volume, &ours, (&group, &lock, &lvm), world)
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
    match volume.kind {
        Kind::Thick | Kind::Thin { .. } => Ok(ours),
        // With a pool all its volumes would go.
        Kind::ThickSnapshot | Kind::ThinPool | Kind::Inner => {
            let message = format!("{storage} is no volume any more, but a pool, a snapshot or a part of another one");
            Err(Failure::new(Code::Conflict, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tags::{Tags, Wipe};

    #[test]
    fn only_volumes_of_ours_are_deleted_and_not_what_became_of_them() {
        let place = Place::recorded("vg/vol1").unwrap();
        let rows: Vec<Volume> = crate::report::read(include_bytes!("../tests/reports/lvs.json")).unwrap();
        let ours = Ours { name: "n".into(), id: place.id(), state: None, wipe: Wipe::Zero }.tags().join(",");
        for row in rows {
            let row = Volume { partial: false, tags: Tags::parse(&ours), ..row };
            let code = deletable(&place, &row).map(drop).map_err(|failure| failure.code());
            let wanted = match row.kind {
                Kind::Thick | Kind::Thin { .. } => Ok(()),
                Kind::ThickSnapshot | Kind::ThinPool | Kind::Inner => Err(Some(Code::Conflict)),
            };
            assert_eq!(code, wanted, "{}", row.name);
            let theirs = Volume { tags: Tags::parse(""), ..row };
            assert_eq!(deletable(&place, &theirs).unwrap_err().code(), Some(Code::Permission));
        }
    }
}
