//! Volumes made, copied, grown, measured, listed and deleted at a host's word.

use std::collections::BTreeMap;

use flexvolume::{
    Capacity, Code, Created, Expanded, Failure, Id, Options, OptionsExt, Page, Result, Source, VolumeList, World, keys,
};
use flexvolume_linux::mount::table;

use crate::{
    home::{Kind, Name, Place},
    ids::{id, of_id},
    marker::{Marker, Wish},
    own::{is_nfs, is_own},
    pool::{Job, Said, is_within, subdir, work},
    server::source,
    settings::{OnDelete, Pool, PoolName, Settings},
};

/// Makes the volume called `flexvol/name`, empty or as a copy; the same name and a fitting size again is the same volume.
///
/// # Errors
/// In progress: a copy is under way. `invalid`, `conflict`, `notFound`, `exhausted`; the server's.
pub(crate) fn create(options: &Options, world: &World) -> Result<Created> {
    let settings = Settings::read(world)?;
    let asked = options.optional::<PoolName>("pool")?;
    let original = options.source()?.map(|source| original(&source)).transpose()?;
    let (name, found) = match (&asked, &original) {
        // A copy lies where its original lies.
        (None, Some((of, _))) => settings.pool(Some(of), world)?,
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
    let _lock = world.lock(&id(name, &place))?;
    let source = original.map(|(_, place)| place);
    match work(found, Job::Make { place: place.clone(), wish, source }, world)? {
        Said::Made(marker) => {
            tell(&marker, &id(name, &place), world);
            created(name, found, &place, &marker)
        }
        Said::Done | Said::Listed(_) | Said::Room { .. } | Said::Looked(_) => Err(unexpected()),
    }
}

/// What a copy's reader should hear of, in the log.
pub(crate) fn tell(marker: &Marker, id: &str, world: &World) {
    if let Some(counts) = marker.copied.filter(|counts| counts.left_out + counts.changed > 0) {
        world.log(format_args!(
            "{id}: {} devices, pipes, sockets and other file systems were not copied; {} files were changed while they were",
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
    let _lock = world.lock(&id(name, &place))?;
    let directory = source(&found.server, &found.share, &subdir(found, &place));
    let user = table::all()?
        .into_iter()
        .find(|mounted| is_nfs(mounted) && !is_own(&mounted.point, world) && is_within(&mounted.source, &directory));
    if let Some(user) = user {
        let message = format!("{directory} is mounted at {}; unmount it first", user.point.display());
        return Err(Failure::new(Code::Busy, message));
    }
    work(found, Job::Unmake { place }, world).map(drop)
}

/// One page of the volumes of all pools.
///
/// # Errors
/// `invalid`: the page makes no sense. The server's of any pool: a list that lacks some would be taken for whole.
pub(crate) fn list(options: &Options, world: &World) -> Result<VolumeList> {
    let page = Page::of(options)?;
    let mut all = Vec::new();
    for (name, pool) in &Settings::read(world)?.pools {
        for (found, marker) in listed(pool, Kind::Volume, world)? {
            all.push(created(name, pool, &Place { kind: Kind::Volume, name: found }, &marker)?);
        }
    }
    let (volumes, next) = page.cut(all, |one| &one.id);
    Ok(VolumeList { volumes, next })
}

/// All of a kind in a pool.
pub(crate) fn listed(pool: &Pool, kind: Kind, world: &World) -> Result<Vec<(Name, Marker)>> {
    match work(pool, Job::List { kind }, world)? {
        Said::Listed(all) => Ok(all),
        Said::Made(_) | Said::Done | Said::Room { .. } | Said::Looked(_) => Err(unexpected()),
    }
}

/// What is left on the share of a pool; volumes have it together, and each may have all of it.
///
/// # Errors
/// `invalid`: no such pool. The server's.
pub(crate) fn capacity(options: &Options, world: &World) -> Result<Capacity> {
    let settings = Settings::read(world)?;
    let (_, pool) = settings.pool(options.optional("pool")?.as_ref(), world)?;
    match work(pool, Job::Room, world)? {
        Said::Room { available, .. } => Ok(Capacity { available, maximum: Some(available) }),
        Said::Made(_) | Said::Done | Said::Listed(_) | Said::Looked(_) => Err(unexpected()),
    }
}

/// Accepts another size. Nobody enforces it: a directory has none. Of a volume that we made it is remembered.
///
/// # Errors
/// `notFound`; the server's.
pub(crate) fn expand(options: &Options, bytes: u64, world: &World) -> Result<Expanded> {
    let bytes = match options.get(keys::ID).filter(|id| !id.is_empty()) {
        Some(asked) => {
            let (name, place) =
                of_id(asked).map_err(|why| Failure::new(Code::NotFound, format!("{asked:?}: {why}")))?;
            let settings = Settings::read(world)?;
            let (name, pool) = settings.pool(Some(&name), world)?;
            let _lock = world.lock(&id(name, &place))?;
            match work(pool, Job::Resize { place, bytes }, world)? {
                Said::Made(marker) => marker.bytes,
                Said::Done | Said::Listed(_) | Said::Room { .. } | Said::Looked(_) => return Err(unexpected()),
            }
        }
        None => bytes,
    };
    world.log(format_args!("a size of {bytes} bytes is accepted; nothing enforces it but the server's own quota"));
    Ok(Expanded { bytes: Some(bytes) })
}

/// A child that answers something else than it was asked for.
pub(crate) fn unexpected() -> Failure {
    Failure::internal("the child that works in the pool answered something else than it was asked for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal() {
        assert_eq!(mode("0770").unwrap(), 0o770);
        assert_eq!(mode("2775").unwrap(), 0o2775);
        for bad in ["", "rwx", "0888", "77777", "+770", "-1"] {
            assert!(bad.is_empty() || mode(bad).is_err(), "{bad}");
        }
    }
}
