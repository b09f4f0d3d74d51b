//! Snapshots: copies that lie beside the volumes, out of their sight, and are listed.

use flexvolume::{
    Code, Failure, Id, Options, OptionsExt, Page, Result, Snapshot, SnapshotList, Timestamp, World, keys,
};

use crate::{
    ids::{id, of_id},
    marker::{Marker, Wish},
    name::{Kind, Name, Place},
    pool::{Job, made, work},
    provision::{Row, listed, noted, tell},
    settings::{OnDelete, PoolName, Settings},
};

/// Copies the volume `flexvol/id` as it is while that lasts, under `flexvol/name`; the same name again is the same snapshot.
///
/// # Errors
/// In progress: the copy is under way. `notFound`, `conflict`; the server's.
pub(crate) fn create(options: &Options, world: &World) -> Result<Snapshot> {
    let asked: String = options.required(keys::ID)?;
    let unknown = || Failure::new(Code::NotFound, format!("there is no volume {asked:?}"));
    let (pool, volume) = of_id(&asked).map_err(|_| unknown())?;
    if volume.kind != Kind::Volume {
        return Err(unknown());
    }
    let settings = Settings::read(world)?;
    let (pool, found) = settings.known(&pool, world)?;
    let name: String = options.required(keys::NAME)?;
    let place = Place { kind: Kind::Snapshot, name: Name::of(&name) };
    let wish = Wish {
        name,
        required: 0,
        limit: None,
        source: Some(id(pool, &volume)),
        on_delete: OnDelete::Delete,
        mode: None,
        uid: None,
        gid: None,
    };
    let _lock = world.lock_within(&id(pool, &place), settings.patience.time())?;
    let marker = made(found, Job::Make { place: place.clone(), wish, source: Some(volume) }, &settings, world)?;
    tell(&marker, &id(pool, &place), world);
    answer(pool, &place.name, &marker)
}

/// Deletes the snapshot `flexvol/snapshot`; one that nobody knows is a success.
///
/// # Errors
/// In progress: it is being removed. `busy`: it is being copied. The server's.
pub(crate) fn delete(options: &Options, world: &World) -> Result<()> {
    let asked: String = options.required(keys::SNAPSHOT)?;
    let Ok((name, place)) = of_id(&asked) else { return Ok(()) };
    if place.kind != Kind::Snapshot {
        return Ok(());
    }
    let settings = Settings::read(world)?;
    let (name, found) = settings.pool(Some(&name), world)?;
    let _lock = world.lock_within(&id(name, &place), settings.patience.time())?;
    work(found, Job::Unmake { place }, &settings, world).map(drop)
}

/// One page of the snapshots: all, those of the volume `flexvol/id`, or `flexvol/snapshot` alone.
///
/// # Errors
/// `invalid`: the page makes no sense. The server's of any pool.
pub(crate) fn list(options: &Options, world: &World) -> Result<SnapshotList> {
    let page = Page::of(options)?;
    let wish = |key: &str| options.get(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let (of, only) = (wish(keys::ID), wish(keys::SNAPSHOT));
    let settings = Settings::read(world)?;
    let (found, next) = match &only {
        Some(only) => (one(&settings, only, world)?.into_iter().collect(), None),
        None => listed(&settings, Kind::Snapshot, &page, world)?,
    };
    let mut snapshots = Vec::new();
    for (pool, _, place, marker) in found {
        snapshots.push(answer(pool, &place.name, &marker)?);
    }
    snapshots.retain(|one| of.as_ref().is_none_or(|id| one.id.as_ref().is_some_and(|theirs| theirs.as_str() == id)));
    Ok(SnapshotList { snapshots, next })
}

/// The snapshot with this id, if there is one.
fn one<'a>(settings: &'a Settings, id: &str, world: &World) -> Result<Option<Row<'a>>> {
    let Ok((name, place)) = of_id(id) else { return Ok(None) };
    let Some((name, pool)) = settings.pools.get_key_value(&name).filter(|_| place.kind == Kind::Snapshot) else {
        return Ok(None);
    };
    let known = noted(pool, place.kind, vec![place.name.clone()], settings, world)?;
    Ok(known.into_iter().flatten().next().map(|marker| (name, pool, place, marker)))
}

/// The moment is that of its beginning: what was written before is in it, and what was written while it was copied may be.
fn answer(pool: &PoolName, name: &Name, marker: &Marker) -> Result<Snapshot> {
    let place = Place { kind: Kind::Snapshot, name: name.clone() };
    let created = Timestamp::from_unix(marker.made, 0)
        .ok_or_else(|| Failure::internal(format!("the marker of {} has no time that can be", name.as_str())))?;
    Ok(Snapshot {
        snapshot: Id::parse(&id(pool, &place))?,
        id: marker.source.as_deref().map(Id::parse).transpose()?,
        bytes: Some(marker.bytes).filter(|bytes| *bytes > 0),
        created,
        ready: true,
    })
}
