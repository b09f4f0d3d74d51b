//! Volumes made, copied, grown, measured, listed and deleted at a host's word.

use std::collections::BTreeMap;

use flexvolume::{
    Capacity, Code, Created, Expanded, Failure, Id, Options, OptionsExt, Page, Result, Source, VolumeList, World, keys,
};
use flexvolume_linux::mount::table;

use crate::{
    ids::{id, of_id, pooled},
    marker::{Marker, Wish},
    name::{Kind, Name, Place},
    pool::{Job, Said, is_within, made, subdir, unexpected, work},
    settings::{OnDelete, Pool, PoolName, Settings},
    shares::{Shares, is_nfs},
    volume::is_stated,
};

/// Makes the volume called `flexvol/name`, empty or as a copy; the same name and a fitting size again is the same volume.
///
/// # Errors
/// In progress: a copy is under way. `invalid`, `conflict`, `notFound`, `exhausted`; the server's.
pub(crate) fn create(options: &Options, world: &World) -> Result<Created> {
    let settings = Settings::read(world)?;
    let asked = options.optional::<PoolName>("pool")?;
    let original = options.source()?.map(|source| original(&source)).transpose()?;
    // A copy lies where its original lies.
    let of = original.as_ref().map(|(of, _)| settings.known(of, world)).transpose()?;
    let (name, found) = match (&asked, of) {
        (None, Some(of)) => of,
        (asked, _) => settings.pool(asked.as_ref(), world)?,
    };
    if let Some((of, _)) = &original
        && of != name
    {
        let message = format!("a copy lies in the pool of its original, {of}, and not in {name}");
        return Err(Failure::new(Code::Invalid, message));
    }
    let place = Place { kind: Kind::Volume, name: Name::of(&options.required::<String>(keys::NAME)?) };
    let wish = Wish {
        name: options.required(keys::NAME)?,
        required: options.optional(keys::REQUIRED_BYTES)?.unwrap_or_default(),
        limit: options.optional::<u64>(keys::LIMIT_BYTES)?.filter(|limit| *limit > 0),
        source: original.as_ref().map(|(pool, place)| id(pool, place)),
        on_delete: options.optional::<OnDelete>("onDelete")?.unwrap_or(found.on_delete),
        mode: options.get("mode").filter(|text| !text.is_empty()).map(mode).transpose()?,
        uid: options.optional("uid")?,
        gid: options.optional("gid")?,
    };
    let _lock = world.lock_within(&id(name, &place), settings.patience.time())?;
    let source = original.map(|(_, place)| place);
    let marker = made(found, Job::Make { place: place.clone(), wish, source }, &settings, world)?;
    tell(&marker, &id(name, &place), world);
    created(name, found, &place, &marker)
}

/// What a copy's reader should hear of.
pub(crate) fn tell(marker: &Marker, id: &str, world: &World) {
    if let Some(counts) = marker.copied.filter(|counts| counts.left_out + counts.changed > 0) {
        world.say(format_args!(
            "{id}: not copied: {} (devices, pipes, sockets, other file systems, or what the copy's side does not take); changed while they were copied: {}",
            counts.left_out, counts.changed
        ));
    }
}

/// What the source of a copy is.
fn original(source: &Source) -> Result<(PoolName, Place)> {
    let (of, kind) = match source {
        Source::Volume(of) => (of, Kind::Volume),
        Source::Snapshot(of) => (of, Kind::Snapshot),
    };
    match of_id(of.as_str()) {
        Ok((pool, place)) if place.kind == kind => Ok((pool, place)),
        Ok(_) | Err(_) => Err(Failure::new(Code::NotFound, format!("there is no source {:?}", of.as_str()))),
    }
}

/// The mode of a directory, as chmod takes it in digits.
fn mode(text: &str) -> Result<u32> {
    let wrong = || Failure::new(Code::Invalid, format!("the mode {text:?} must be octal, such as 0770"));
    if text.len() > 5 || !text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return Err(wrong());
    }
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(wrong)
}

/// The volume, as a host keeps it.
fn created(name: &PoolName, pool: &Pool, place: &Place, marker: &Marker) -> Result<Created> {
    let mut options = BTreeMap::from([
        ("server".to_owned(), pool.server.name().to_owned()),
        ("share".to_owned(), pool.share.as_str().to_owned()),
        ("protocol".to_owned(), pool.protocol.vers().to_owned()),
        ("subdir".to_owned(), subdir(pool, place).as_str().to_owned()),
    ]);
    if !pool.mount_options.is_empty() {
        options.insert("mountOptions".to_owned(), pool.mount_options.clone());
    }
    for (key, value) in [("sec", &pool.sec), ("xprtsec", &pool.xprtsec)] {
        options.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
    }
    let bytes = Some(marker.bytes).filter(|bytes| *bytes > 0);
    Ok(Created { id: Id::parse(&id(name, place))?, bytes, options })
}

/// Deletes the volume with `flexvol/id`; one that nobody knows is a success, one that is mounted here is busy.
///
/// # Errors
/// In progress: it is being removed. `busy`; the server's.
pub(crate) fn delete(options: &Options, world: &World) -> Result<()> {
    let asked: String = options.required(keys::ID)?;
    let Ok((name, place)) = of_id(&asked) else { return Ok(()) };
    let settings = Settings::read(world)?;
    let (name, found) = settings.pool(Some(&name), world)?;
    if place.kind != Kind::Volume {
        return Ok(());
    }
    let _lock = world.lock_within(&id(name, &place), settings.patience.time())?;
    let directory = found.path().join(place.name.as_str());
    let shares = Shares::of(world);
    let user = table::all()?
        .into_iter()
        .find(|mounted| is_nfs(mounted) && !shares.holds(&mounted.point) && is_within(&mounted.source, &directory));
    if let Some(user) = user {
        let message = format!(
            "{} is mounted at {}, from {}; unmount it first",
            directory.display(),
            user.point.display(),
            user.source
        );
        return Err(Failure::new(Code::Busy, message));
    }
    work(found, Job::Unmake { place }, &settings, world).map(drop)
}

/// One page of the volumes of all pools.
///
/// # Errors
/// `invalid`: the page makes no sense. The server's of any pool: a list that lacks some would be taken for whole.
pub(crate) fn list(options: &Options, world: &World) -> Result<VolumeList> {
    let settings = Settings::read(world)?;
    let (found, next) = listed(&settings, Kind::Volume, &Page::of(options)?, world)?;
    let row = |(name, pool, place, marker): Row<'_>| created(name, pool, &place, &marker);
    Ok(VolumeList { volumes: found.into_iter().map(row).collect::<Result<_>>()?, next })
}

/// Something that is listed, in its pool.
pub(crate) type Row<'a> = (&'a PoolName, &'a Pool, Place, Marker);

/// One page of all of a kind, and the token of the next. The names are read of all, and what is noted of those on the page; a page
/// that takes too long is shorter.
///
/// # Errors
/// The server's of any pool.
pub(crate) fn listed<'a>(
    settings: &'a Settings,
    kind: Kind,
    page: &Page,
    world: &World,
) -> Result<(Vec<Row<'a>>, Option<String>)> {
    let mut all = Vec::new();
    for (name, pool) in &settings.pools {
        for place in names(pool, kind, settings, world)? {
            all.push((Id::parse(&id(name, &place))?, name, pool, place));
        }
    }
    let (page, next) = page.cut(all, |one| &one.0);
    let mut rows = Vec::new();
    // Ids are in order, so those of a pool are one after the other.
    for group in page.chunk_by(|one, other| one.1 == other.1) {
        let Some((_, _, pool, _)) = group.first() else { continue };
        let known = noted(pool, kind, group.iter().map(|one| one.3.name.clone()).collect(), settings, world)?;
        let last = group.get(..known.len()).and_then(<[_]>::last).map(|one| one.0.as_str().to_owned());
        let whole = known.len() == group.len();
        for ((_, name, pool, place), marker) in group.iter().zip(known) {
            rows.extend(marker.map(|marker| (*name, *pool, place.clone(), marker)));
        }
        if !whole {
            return Ok((rows, last));
        }
    }
    Ok((rows, next))
}

fn names(pool: &Pool, kind: Kind, settings: &Settings, world: &World) -> Result<Vec<Place>> {
    match work(pool, Job::Names { kind }, settings, world)? {
        Said::Names(all) => Ok(all.into_iter().map(|name| Place { kind, name }).collect()),
        Said::Made(_) | Said::Done | Said::Read(_) | Said::Room { .. } | Said::Looked(_) => Err(unexpected()),
    }
}

/// What is noted of those that are whole.
pub(crate) fn noted(
    pool: &Pool,
    kind: Kind,
    names: Vec<Name>,
    settings: &Settings,
    world: &World,
) -> Result<Vec<Option<Marker>>> {
    match work(pool, Job::Read { kind, names }, settings, world)? {
        Said::Read(all) => Ok(all),
        Said::Made(_) | Said::Done | Said::Names(_) | Said::Room { .. } | Said::Looked(_) => Err(unexpected()),
    }
}

/// What is left on the share of a pool; volumes have it together, and each may have all of it.
///
/// # Errors
/// `invalid`: no such pool. The server's.
pub(crate) fn capacity(options: &Options, world: &World) -> Result<Capacity> {
    let settings = Settings::read(world)?;
    let (_, pool) = settings.pool(options.optional("pool")?.as_ref(), world)?;
    match work(pool, Job::Room, &settings, world)? {
        Said::Room { available, .. } => Ok(Capacity { available, maximum: Some(available) }),
        Said::Made(_) | Said::Done | Said::Names(_) | Said::Read(_) | Said::Looked(_) => Err(unexpected()),
    }
}

/// Accepts another size. Nobody enforces it: a directory has none. Of a volume that we made it is remembered.
///
/// # Errors
/// `notFound`; the server's.
pub(crate) fn expand(options: &Options, bytes: u64, world: &World) -> Result<Expanded> {
    let id_of = options.get(keys::ID).filter(|id| !id.is_empty());
    let settings = Settings::read(world)?;
    let bytes = match id_of.map(|asked| (asked, pooled(asked, &settings))) {
        Some((_, Some((name, pool, place)))) if place.kind == Kind::Volume => {
            let _lock = world.lock_within(&id(name, &place), settings.patience.time())?;
            made(pool, Job::Resize { place, bytes }, &settings, world)?.bytes
        }
        // It lies in no pool, and is called as a person likes.
        Some((_, None)) if is_stated(options) => bytes,
        Some((asked, Some(_) | None)) => {
            return Err(Failure::new(Code::NotFound, format!("there is no volume {asked:?}")));
        }
        None => bytes,
    };
    world.say(format_args!("a size of {bytes} bytes is accepted; nothing enforces it but the server's own quota"));
    Ok(Expanded { bytes: Some(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_no_pool_is_not_found() {
        let tmp = tempfile::tempdir().unwrap();
        let pools = r#"{"pools":{"p":{"server":"nas","share":"/srv"}}}"#;
        std::fs::write(tmp.path().join("settings.json"), pools).unwrap();
        let world = World::below(flexvolume::DriverName::parse("v/nfs").unwrap(), tmp.path());
        let options = |json: &str| Options::parse(json).unwrap();
        let copy = options(r#"{"flexvol/name":"c","flexvol/sourceVolume":"gone/v"}"#);
        let into = options(r#"{"flexvol/name":"c","flexvol/sourceSnapshot":"gone/snap/v","pool":"p"}"#);
        let snapshot = options(r#"{"flexvol/name":"s","flexvol/id":"gone/v"}"#);
        let mut failures = vec![
            create(&copy, &world).unwrap_err(),
            create(&into, &world).unwrap_err(),
            crate::snapshot::create(&snapshot, &world).unwrap_err(),
        ];
        for id in ["gone/v", "p/snap/s", "none"] {
            failures.push(expand(&options(&format!(r#"{{"flexvol/id":"{id}"}}"#)), 1, &world).unwrap_err());
        }
        let stated = options(r#"{"flexvol/id":"none","server":"nas","share":"/srv/none"}"#);
        assert_eq!(expand(&stated, 7, &world).unwrap().bytes, Some(7), "a person's own");
        for failure in failures {
            assert_eq!(failure.code(), Some(Code::NotFound), "{failure}");
        }
        let nowhere = create(&options(r#"{"flexvol/name":"v","pool":"gone"}"#), &world).unwrap_err();
        assert_eq!(nowhere.code(), Some(Code::Invalid), "a parameter is no id");
    }

    #[test]
    fn a_mode_is_octal() {
        assert_eq!(mode("0770").unwrap(), 0o770);
        assert_eq!(mode("2775").unwrap(), 0o2775);
        for bad in ["", "rwx", "0888", "77777", "+770", "-1"] {
            assert!(bad.is_empty() || mode(bad).is_err(), "{bad}");
        }
    }
}
