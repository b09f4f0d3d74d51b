//! Work in a pool: what a child does there, and how it is had done.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flexvolume::{Code, Failure, Result, World};
use flexvolume_linux::{Error, tree::Folder, worker::Task};
use rustix::fs::fstatvfs;
use serde::{Deserialize, Serialize};

use crate::{
    child::{Came, Clock, ask},
    home::{Held, Home, Times},
    letgo::is_stale,
    make,
    marker::{Marker, State, Wish},
    name::{Kind, Name, Place},
    own::{Own, TRIES},
    server::Below,
    settings::{Pool, Settings},
    touch::shown,
    unmake,
};

/// Something to be done in a pool whose share is mounted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    mounted: PathBuf,
    dev: (u32, u32),
    base: Below,
    now: i64,
    slice: Duration,
    /// For so long somebody waits for it.
    limit: Duration,
    pub(crate) job: Job,
}

/// What.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Make a tree, perhaps as a copy of another one.
    Make { place: Place, wish: Wish, source: Option<Place> },
    /// Delete it.
    Unmake { place: Place },
    /// Name all of a kind.
    Names { kind: Kind },
    /// Read what is noted of these.
    Read { kind: Kind, names: Vec<Name> },
    /// Measure the room.
    Room,
    /// Remember another size.
    Resize { place: Place, bytes: u64 },
    /// Look how a tree does.
    Look { place: Place },
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// The tree that is there now.
    Made(Marker),
    /// It is done.
    Done,
    /// These have a marker.
    Names(Vec<Name>),
    /// What is noted of each that is there and whole, in the order of the names; fewer than were asked for if the time was over.
    Read(Vec<Option<Marker>>),
    /// So many bytes can still be written.
    Room { available: u64 },
    /// How the tree does.
    Looked(Looked),
}

/// How a tree does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Looked {
    /// It is there.
    Well,
    /// Its marker is there and it is not.
    Lost,
    /// Nobody knows it.
    Unknown,
}

/// Why nothing came of it: a failure that can cross the border of a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Refused {
    /// The share is not mounted there any more.
    Gone,
    /// It is, and its server does not know it any more.
    Stale,
    /// There is more to do.
    InProgress,
    /// A failure, with the word of its code.
    Failed(Option<String>, String),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        if failure.is_in_progress() {
            return Self::InProgress;
        }
        Self::Failed(failure.code().map(|code| code.as_str().to_owned()), failure.to_string())
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        if is_stale(&error) { Self::Stale } else { Failure::from(error).into() }
    }
}

impl Task for Work {
    const NAME: &'static str = "flexvol-nfs-pool";
    const DIES_WITH_PARENT: bool = true;

    type Answer = std::result::Result<Said, Refused>;

    fn run(self) -> Self::Answer {
        let begun = Instant::now();
        let times = Times { until: begun + self.slice, end: begun + self.limit };
        let Some(root) = shown(&self.mounted, self.dev)? else { return Err(Refused::Gone) };
        let base = root.sub(self.base.path())?.reading()?;
        Ok(done(base, self.job, self.now, times)?)
    }
}

/// Does it. Whatever is only asked for makes nothing.
pub(crate) fn done(base: Folder, job: Job, now: i64, times: Times) -> Result<Said> {
    match job {
        Job::Make { place, wish, source } => {
            let room = room(&base)?;
            let home = Held::take(Home::make(base)?, &place, times)?;
            if home.marker(&place)?.is_none() && wish.required > room {
                let message = format!("there are {room} bytes left on the share, and {} are asked for", wish.required);
                return Err(Failure::new(Code::Exhausted, message));
            }
            Ok(Said::Made(make::make(&home, &wish, source.as_ref(), now)?))
        }
        Job::Unmake { place } => {
            if let Some(home) = Home::find(base)? {
                unmake::unmake(&Held::take(home, &place, times)?, now, times.until)?;
            }
            Ok(Said::Done)
        }
        Job::Names { kind } => {
            Ok(Said::Names(Home::find(base)?.map(|home| home.all(kind)).transpose()?.unwrap_or_default()))
        }
        Job::Read { kind, names } => {
            let Some(home) = Home::find(base)? else { return Ok(Said::Read(vec![None; names.len()])) };
            let mut all = Vec::new();
            for name in names {
                let marker = home.marker(&Place { kind, name })?;
                all.push(marker.filter(|marker| marker.state == State::Ready));
                if Instant::now() >= times.until {
                    break;
                }
            }
            Ok(Said::Read(all))
        }
        Job::Room => Ok(Said::Room { available: room(&base)? }),
        Job::Resize { place, bytes } => {
            let unknown = || Failure::new(Code::NotFound, format!("there is no volume {}", place.name.as_str()));
            let home = Home::find(base)?.ok_or_else(unknown)?;
            let home = Held::take(home, &place, times)?;
            let marker = make::ready(&home, &place)?;
            let marker = Marker { bytes: bytes.max(marker.bytes), ..marker };
            home.mark(&marker)?;
            Ok(Said::Made(marker))
        }
        Job::Look { place } => {
            let Some(home) = Home::find(base)? else { return Ok(Said::Looked(Looked::Unknown)) };
            Ok(Said::Looked(match home.marker(&place)? {
                Some(marker) if marker.state == State::Ready && home.is_directory(&place)? => Looked::Well,
                Some(marker) if marker.state == State::Ready => Looked::Lost,
                Some(_) | None => Looked::Unknown,
            }))
        }
    }
}

fn room(base: &Folder) -> Result<u64> {
    let stat = fstatvfs(base).map_err(|e| Error::io("measure", base.path(), e))?;
    let unit = if stat.f_frsize == 0 { stat.f_bsize } else { stat.f_frsize };
    Ok(stat.f_bavail.saturating_mul(unit))
}

/// For so long markers are read for one page of a list; hosts wait ten seconds for it.
const PAGE: Duration = Duration::from_secs(2);

/// Has something done in a pool, whose share is mounted for that if it is not. Nobody's mount is left behind.
///
/// # Errors
/// What came of it; what keeps the share from being mounted; the server does not answer.
pub(crate) fn work(pool: &Pool, job: Job, settings: &Settings, world: &World) -> Result<Said> {
    let (patience, slice) = match job {
        Job::Room | Job::Look { .. } => (settings.brief(), Duration::ZERO),
        // A page that takes longer is shorter.
        Job::Names { .. } | Job::Read { .. } => (settings.brief(), settings.slice.time().min(PAGE)),
        Job::Make { .. } | Job::Unmake { .. } | Job::Resize { .. } => (settings.patience.time(), settings.slice.time()),
    };
    let share = pool.mounted().map_err(|why| Failure::new(Code::Invalid, why))?;
    let own = Own::new(&share, world, Clock::new(patience));
    let done = tried(&own, pool, &job, slice);
    // What was done is done, whatever becomes of the mount.
    if let Err(failure) = own.let_go() {
        world.log(format_args!("{} stays mounted: {failure}", share.source()));
    }
    done
}

/// Has a tree made or changed.
///
/// # Errors
/// As [`work`].
pub(crate) fn made(pool: &Pool, job: Job, settings: &Settings, world: &World) -> Result<Marker> {
    match work(pool, job, settings, world)? {
        Said::Made(marker) => Ok(marker),
        Said::Done | Said::Names(_) | Said::Read(_) | Said::Room { .. } | Said::Looked(_) => Err(unexpected()),
    }
}

/// A child that answers something else than it was asked for.
pub(crate) fn unexpected() -> Failure {
    Failure::internal("the child that works in the pool answered something else than it was asked for")
}

fn tried(own: &Own<'_>, pool: &Pool, job: &Job, slice: Duration) -> Result<Said> {
    for _ in 0..TRIES {
        let mounted = own.ensure()?;
        let work = Work {
            mounted: own.point().to_owned(),
            dev: mounted.dev,
            base: pool.base.clone(),
            now: now(),
            slice,
            limit: own.clock.step() + slice,
            job: job.clone(),
        };
        match ask(&work, work.limit) {
            Came::Answer(Ok(said)) => return Ok(said),
            Came::Answer(Err(Refused::Gone)) => {}
            Came::Answer(Err(Refused::Stale)) => own.replace()?,
            Came::Answer(Err(Refused::InProgress)) => return Err(Failure::in_progress()),
            Came::Answer(Err(Refused::Failed(code, message))) => {
                return Err(failed(code.as_deref().and_then(Code::parse), message));
            }
            Came::Lost(error) => return Err(error.into()),
            Came::Silent if locks(job) => {
                let grace = "if it was started just now it gives no locks for a while, 90 s as a rule: then try again";
                return Err(Failure::internal(format!("{}; {grace}", own.silent())));
            }
            Came::Silent => return Err(own.silent()),
        }
    }
    Err(Failure::new(Code::Busy, format!("{} is taken away or stale all the time", own.share.source())))
}

/// Whether a tree is locked on the server for it.
fn locks(job: &Job) -> bool {
    match job {
        Job::Make { .. } | Job::Unmake { .. } | Job::Resize { .. } => true,
        Job::Names { .. } | Job::Read { .. } | Job::Room | Job::Look { .. } => false,
    }
}

/// A child's failure. That root may not do something is nearly always the export's doing.
fn failed(code: Option<Code>, message: String) -> Failure {
    match code {
        Some(Code::Permission) if !message.contains("no_root_squash") => {
            let hint = "if the server makes root somebody else, export the share with no_root_squash";
            Failure::new(Code::Permission, format!("{message}; {hint}"))
        }
        Some(code) => Failure::new(code, message),
        None => Failure::internal(message),
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or_default()
}

/// The path of a volume's directory beneath its share.
pub(crate) fn subdir(pool: &Pool, place: &Place) -> Below {
    pool.base.join(place.name.as_str())
}

/// Whether the source of a mount may be this directory, or one in it, of whichever server: one has many names, and to the kernel all
/// of them are the first that was used.
pub(crate) fn is_within(source: &str, directory: &Path) -> bool {
    source.split_once(":/").is_some_and(|(_, path)| Path::new("/").join(path).starts_with(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_told_from_one_whose_name_begins_alike() {
        let is_in_v = |source: &str| is_within(source, Path::new("/srv/v"));
        assert!(is_in_v("nas:/srv/v") && is_in_v("nas.example:/srv/v/sub") && is_in_v("[::1]:/srv/v"));
        assert!(!is_in_v("nas:/srv/v2") && !is_in_v("nas:/srv") && !is_in_v("nas:/") && !is_in_v("/srv/v"));
    }
}
