//! Work in a pool: what a child does there, and how it is had done.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flexvolume::{Code, Failure, Result, World};
use flexvolume_linux::{Error, tree::Folder, worker::Task};
use rustix::fs::{AtFlags, StatxFlags, fstat, fstatvfs, major, minor, statx};
use serde::{Deserialize, Serialize};

use crate::{
    child::{Came, Clock, ask},
    home::{Home, Kind, Name, Place},
    letgo::is_stale,
    make,
    marker::{Marker, State, Wish},
    own::Own,
    server::Below,
    settings::{Pool, Settings},
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
    pub(crate) job: Job,
}

/// What.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Make a tree, perhaps as a copy of another one.
    Make { place: Place, wish: Wish, source: Option<Place> },
    /// Delete it.
    Unmake { place: Place },
    /// List all of a kind.
    List { kind: Kind },
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
    /// These are there.
    Listed(Vec<(Name, Marker)>),
    /// Bytes that can still be written, and all that there are.
    Room { available: u64, total: u64 },
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
        let root = Folder::place(&self.mounted)?;
        let stat = fstat(&root).map_err(|e| Error::io("look at", &self.mounted, e))?;
        if (major(stat.st_dev), minor(stat.st_dev)) != self.dev {
            return Err(Refused::Gone);
        }
        let how = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC | AtFlags::NO_AUTOMOUNT;
        statx(&root, "", how, StatxFlags::BASIC_STATS)
            .map_err(|e| Error::io("ask the server for", &self.mounted, e))?;
        let base = root.sub(self.base.path())?.reading()?;
        Ok(done(base, self.job, self.now, Instant::now() + self.slice)?)
    }
}

/// Does it. Whatever is only asked for makes nothing.
pub(crate) fn done(base: Folder, job: Job, now: i64, until: Instant) -> Result<Said> {
    match job {
        Job::Make { place, wish, source } => {
            let room = room(&base)?;
            let home = Home::make(base)?;
            if home.marker(&place)?.is_none() && wish.required > room.0 {
                let message =
                    format!("there are {} bytes left on the share, and {} are asked for", room.0, wish.required);
                return Err(Failure::new(Code::Exhausted, message));
            }
            Ok(Said::Made(make::make(&home, &place, &wish, source.as_ref(), now, until)?))
        }
        Job::Unmake { place } => {
            if let Some(home) = Home::find(base)? {
                unmake::unmake(&home, &place, now, until)?;
            }
            Ok(Said::Done)
        }
        Job::List { kind } => {
            let all = Home::find(base)?.map(|home| home.all(kind)).transpose()?.unwrap_or_default();
            Ok(Said::Listed(all.into_iter().filter(|(_, marker)| marker.state == State::Ready).collect()))
        }
        Job::Room => {
            let (available, total) = room(&base)?;
            Ok(Said::Room { available, total })
        }
        Job::Resize { place, bytes } => {
            let unknown = || Failure::new(Code::NotFound, format!("there is no volume {}", place.name.as_str()));
            let home = Home::find(base)?.ok_or_else(unknown)?;
            let marker = make::ready(&home, &place)?;
            let marker = Marker { bytes: bytes.max(marker.bytes), ..marker };
            home.mark(&place, &marker)?;
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

fn room(base: &Folder) -> Result<(u64, u64)> {
    let stat = fstatvfs(base).map_err(|e| Error::io("measure", base.path(), e))?;
    let unit = if stat.f_frsize == 0 { stat.f_bsize } else { stat.f_frsize };
    Ok((stat.f_bavail.saturating_mul(unit), stat.f_blocks.saturating_mul(unit)))
}

/// So often a share may be taken away beneath us, or be stale, before we give up.
const TRIES: u32 = 5;

/// Has something done in a pool, whose share is mounted for that if it is not. Nobody's mount is left behind.
///
/// # Errors
/// What came of it; what keeps the share from being mounted; the server does not answer.
pub(crate) fn work(pool: &Pool, job: Job, world: &World) -> Result<Said> {
    let settings = Settings::read(world)?;
    let (patience, slice) = match job {
        Job::Room | Job::Look { .. } => (Settings::brief(world), Duration::ZERO),
        Job::Make { .. } | Job::Unmake { .. } | Job::List { .. } | Job::Resize { .. } => {
            (settings.patience.time(), settings.slice.time())
        }
    };
    let share = pool.mounted().map_err(|why| Failure::new(Code::Invalid, why))?;
    let own = Own::new(&share, world, Clock::new(patience));
    let done = tried(&own, pool, &job, patience, slice);
    // What was done is done, whatever becomes of the mount.
    if let Err(failure) = own.let_go() {
        world.log(format_args!("{} stays mounted: {failure}", share.source()));
    }
    done
}

fn tried(own: &Own<'_>, pool: &Pool, job: &Job, patience: Duration, slice: Duration) -> Result<Said> {
    for _ in 0..TRIES {
        let mounted = own.ensure()?;
        let work = Work {
            mounted: own.point().to_owned(),
            dev: mounted.dev,
            base: pool.base.clone(),
            now: now(),
            slice,
            job: job.clone(),
        };
        match ask(&work, patience + slice) {
            Came::Answer(Ok(said)) => return Ok(said),
            Came::Answer(Err(Refused::Gone)) => {}
            Came::Answer(Err(Refused::Stale)) => own.replace()?,
            Came::Answer(Err(Refused::InProgress)) => return Err(Failure::in_progress()),
            Came::Answer(Err(Refused::Failed(code, message))) => {
                return Err(failed(code.as_deref().and_then(Code::parse), message));
            }
            Came::Lost(error) => return Err(error.into()),
            Came::Silent => return Err(own.silent()),
        }
    }
    Err(Failure::new(Code::Busy, format!("{} is taken away or stale all the time", own.share.source())))
}

/// A child's failure. That root may not do something is nearly always the export's doing.
fn failed(code: Option<Code>, message: String) -> Failure {
    match code {
        Some(Code::Permission) => {
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

/// Whether a path is this directory or one in it.
pub(crate) fn is_within(source: &str, directory: &str) -> bool {
    Path::new(source).starts_with(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_told_from_one_whose_name_begins_alike() {
        assert!(is_within("nas:/srv/v", "nas:/srv/v") && is_within("nas:/srv/v/sub", "nas:/srv/v"));
        assert!(!is_within("nas:/srv/v2", "nas:/srv/v") && !is_within("nas:/srv", "nas:/srv/v"));
    }
}
