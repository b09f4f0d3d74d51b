//! What this driver has made, in pages: volumes and snapshots that are whole, in the groups that it may touch.

use flexvolume::{
    Code, Created, Id, Options, OptionsExt, Page, Result, Snapshot, SnapshotList, VolumeList, World, keys,
};

use crate::{
    decide::is_snapshot,
    kept,
    names::LvName,
    place::Place,
    report::{Kind, Volume},
    settings::Settings,
    taken::Taken,
    tool::Lvm,
    volume,
};

/// One page of the volumes.
///
/// # Errors
/// `invalid`: the page makes no sense. Or LVM's own.
pub(crate) fn volumes(options: &Options, world: &World) -> Result<VolumeList> {
    let page = Page::of(options)?;
    let found = every(world)?.iter().filter_map(listed).collect();
    let (volumes, next) = page.cut(found, |one| &one.id);
    Ok(VolumeList { volumes, next })
}

/// One page of the snapshots: all, those of the volume `flexvol/id`, or `flexvol/snapshot` alone.
///
/// # Errors
/// `invalid`: the page makes no sense. Or LVM's own.
pub(crate) fn snapshots(options: &Options, world: &World) -> Result<SnapshotList> {
    let page = Page::of(options)?;
    let (of, only) = (wish(options, keys::ID)?, wish(options, keys::SNAPSHOT)?);
    let rows = every(world)?;
    let mut found: Vec<Snapshot> = rows.iter().filter_map(|row| taken(row, &rows)).collect();
    found.retain(|one| of.as_ref().is_none_or(|id| one.id.as_ref() == Some(id)));
    found.retain(|one| only.as_ref().is_none_or(|id| one.snapshot == *id));
    let (snapshots, next) = page.cut(found, |one| &one.snapshot);
    Ok(SnapshotList { snapshots, next })
}

fn wish(options: &Options, key: &str) -> Result<Option<Id>> {
    if options.get(key) == Some("") { Ok(None) } else { options.optional(key) }
}

/// Every volume of the groups that may be touched.
///
/// # Errors
/// LVM's own. A group that the settings name and that is not on this node has no volumes here.
pub(crate) fn every(world: &World) -> Result<Vec<Volume>> {
    let (settings, lvm) = (Settings::read(world)?, Lvm::find()?);
    let Some(allowed) = settings.allowed() else {
        // What has no tag of ours is of no interest; neither are groups that LVM could not read.
        let answer = lvm.ask::<Volume>(None, &["-S", "lv_tags={\"flexvol.maker=lvm\"}"])?;
        return match (answer.rows, answer.failed) {
            (rows, Some(failure)) if rows.is_empty() => Err(failure),
            (rows, _) => Ok(rows),
        };
    };
    let mut rows = Vec::new();
    for vg in allowed {
        match volume::all(vg, None, &lvm, world) {
            Ok((_, found)) => rows.extend(found),
            Err(failure) if failure.code() == Some(Code::NotFound) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(rows)
}

/// The volume as its host was told of it when it was made, if it is one, ours, and whole.
fn listed(row: &Volume) -> Option<Created> {
    let ours = row.tags.ours().filter(|ours| ours.state.is_none())?;
    let place = Place { vg: row.group.name.clone(), lv: LvName::parse(&row.name).ok()?, vg_uuid: None };
    let is_volume = matches!(row.kind, Kind::Thick | Kind::Thin { .. }) && !is_snapshot(&row.tags);
    if !is_volume || !ours.is_called(&place.lv) {
        return None;
    }
    let options = kept::of_tags(&place, &row.group.uuid, &row.tags);
    Some(Created { id: Id::parse(&place.id()).ok()?, bytes: Some(row.bytes), options })
}

/// The snapshot as its host was told of it, if it is one that somebody asked for; among all these.
fn taken(row: &Volume, rows: &[Volume]) -> Option<Snapshot> {
    let asked_for = |taken: &Taken| {
        let called = LvName::parse(&row.name).is_ok_and(|lv| taken.ours.is_called(&lv));
        called && taken.ours.state.is_none() && taken.copied_to.is_none()
    };
    Taken::read(row).filter(asked_for)?.listed(row, rows).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_and_whole_is_listed() {
        let rows: Vec<Volume> = crate::report::read(include_bytes!("../tests/reports/snapshots.json")).unwrap();
        let volumes: Vec<Created> = rows.iter().filter_map(listed).collect();
        let ids: Vec<&str> = volumes.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["vg/db", "vg/vol1"], "neither snapshots, nor the half-made, nor others' volumes");
        assert_eq!(volumes[1].options["mkfsOptions"], "-m 1");
        assert_eq!(volumes[1].options["volumeID"], "vol1");

        let snapshots: Vec<Snapshot> = rows.iter().filter_map(|row| taken(row, &rows)).collect();
        let told: Vec<(&str, &str)> =
            snapshots.iter().map(|one| (one.snapshot.as_str(), one.id.as_ref().unwrap().as_str())).collect();
        let wanted = [("vg/snap-full", "vg/vol1"), ("vg/snap-good", "vg/vol1"), ("vg/snap-thin", "vg/db")];
        assert_eq!(told, wanted, "not what was taken for a copy");
        // Of a volume that is gone, whose name another one has.
        let mut later = rows.clone();
        later.iter_mut().filter(|one| one.name == "db").for_each(|db| db.uuid = rows[0].uuid.clone());
        let thin = later.iter().find(|one| one.name == "snap-thin").and_then(|row| taken(row, &later)).unwrap();
        assert_ne!(thin.id, snapshots[2].id);

        let renamed = Volume { name: "other".into(), ..rows.iter().find(|one| one.name == "vol1").unwrap().clone() };
        assert_eq!(listed(&renamed), None);
    }
}
