//! How a volume, a share or all pools do, told soon also where a server is dead.

use flexvolume::{Code, Condition, Failure, Health as Told, Options, Result, World, keys};

use crate::{
    child::Clock,
    ids::pooled,
    letgo::{Health, health},
    name::Place,
    own::Own,
    pool::{Job, Looked, Said, unexpected, work},
    settings::{Pool, Settings},
    share::Share,
    volume::{Volume, is_stated},
};

/// How the volume `flexvol/id` does; one that lies in no pool is known by its `server` and `share`, whatever a person calls it. Without
/// any of these, every pool.
///
/// # Errors
/// `notFound`: nobody knows the volume.
pub(crate) fn told(options: &Options, world: &World) -> Result<Told> {
    let settings = Settings::read(world)?;
    let id = options.get(keys::ID).unwrap_or_default();
    if let Some((_, pool, place)) = pooled(id, &settings) {
        return of_volume(id, pool, place, &settings, world);
    }
    let states_server = is_stated(options);
    if !id.is_empty() && !states_server {
        return Err(unknown(id));
    }
    if states_server {
        let share = Volume::of(options, world)?.share;
        return Ok(match reached(&share, &settings, world)? {
            Some(bad) => bad,
            None => mounted(&share, &settings, world)?,
        });
    }
    for (name, pool) in &settings.pools {
        let told = match reached(&of_pool(pool)?, &settings, world)? {
            Some(bad) => bad,
            None => full(name.to_string(), pool, &settings, world),
        };
        if told.condition != Condition::Ok {
            return Ok(told);
        }
    }
    Ok(good())
}

/// How a volume in a pool does.
fn of_volume(id: &str, pool: &Pool, place: Place, settings: &Settings, world: &World) -> Result<Told> {
    if let Some(bad) = reached(&of_pool(pool)?, settings, world)? {
        return Ok(bad);
    }
    match work(pool, Job::Look { place }, settings, world) {
        Ok(Said::Looked(Looked::Well)) => Ok(good()),
        Ok(Said::Looked(Looked::Lost)) => Ok(bad(
            Condition::DataLoss,
            format!("the directory of {id} is gone; restore it from a backup, or delete it"),
        )),
        Ok(Said::Looked(Looked::Unknown)) => Err(unknown(id)),
        Ok(Said::Made(_) | Said::Done | Said::Names(_) | Said::Read(_) | Said::Room { .. }) => Err(unexpected()),
        Err(failure) => Ok(bad(Condition::Inaccessible, failure.to_string())),
    }
}

fn unknown(id: &str) -> Failure {
    Failure::new(Code::NotFound, format!("there is no volume {id:?}"))
}

/// What is wrong with a share that is mounted here; `None` if it is not, or nothing is.
fn reached(share: &Share, settings: &Settings, world: &World) -> Result<Option<Told>> {
    let clock = Clock::new(settings.brief());
    let own = Own::new(share, world, clock);
    if own.find()?.is_none() {
        return Ok(None);
    }
    let source = share.source();
    Ok(match health(own.point(), share.is_soft(), &clock)? {
        Health::Alive => None,
        Health::Stale => Some(bad(
            Condition::Inaccessible,
            format!(
                "{source} was deleted on its server, or made anew (stale); a pod that is started again gets what is there now"
            ),
        )),
        Health::Silent => Some(bad(Condition::Inaccessible, own.silent().to_string())),
    })
}

/// Whether a share can be mounted at all.
fn mounted(share: &Share, settings: &Settings, world: &World) -> Result<Told> {
    let own = Own::new(share, world, Clock::new(settings.brief()));
    let told = match own.ensure() {
        Ok(_) => good(),
        Err(failure) => bad(Condition::Inaccessible, failure.to_string()),
    };
    own.let_go()?;
    Ok(told)
}

fn full(name: String, pool: &Pool, settings: &Settings, world: &World) -> Told {
    match work(pool, Job::Room, settings, world) {
        Ok(Said::Room { available: 0, .. }) => {
            bad(Condition::Degraded, format!("the pool {name} is full; make room on {}", pool.server))
        }
        Ok(_) => good(),
        Err(failure) => bad(Condition::Inaccessible, format!("the pool {name}: {failure}")),
    }
}

fn of_pool(pool: &Pool) -> Result<Share> {
    pool.mounted().map_err(|why| Failure::new(Code::Invalid, why))
}

fn good() -> Told {
    Told { condition: Condition::Ok, message: String::new() }
}

fn bad(condition: Condition, message: String) -> Told {
    Told { condition, message }
}
