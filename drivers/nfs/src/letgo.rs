//! A mount taken away: in which order, and what of that may be done to whom.
//!
//! ```text
//! plain ──▶ gone
//!   │ in use, and the server answers ─────────────▶ busy: nothing more is done
//!   │ in use, and it does not: others have this superblock ──▶ detach
//!   └─ this is the last mount of it ──▶ force ──▶ plain again ──▶ detach
//! ```
//! Forcing makes everything fail that waits for the server, for every mount of the superblock, and may answer "busy" though it has
//! helped. Detaching gives up the only handle, so it comes last.

use std::{path::Path, time::Duration};

use flexvolume::{Code, Failure, Result, World};
use flexvolume_linux::{
    Error,
    mount::{Mounted, Unmount, table},
};

use crate::{
    child::{Came, ask},
    touch::Touch,
};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    /// Only if nobody uses it.
    Plain,
    /// What waits for the server fails.
    Force,
    /// As the first.
    Again,
    /// Out of sight; gone when the last user is.
    Detach,
}

/// What decides about the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The server answers for this mount.
    pub(crate) alive: bool,
    /// Nobody has another mount of this superblock but we ourselves.
    pub(crate) last: bool,
}

/// What took a mount away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    rung: Rung,
    /// The server answers, but knows nothing of what was mounted.
    stale: bool,
}

/// How a server does, asked through one mount.
#[derive(Debug)]
pub(crate) enum Health {
    /// It answers, be it with an error about this very request.
    Alive,
    /// It answers that what is mounted there is no more.
    Stale,
    /// It does not answer.
    Silent,
}

/// The step after one that did not take the mount away; `None` if there is none: the mount is in use and stays.
pub(crate) fn after(rung: Rung, facts: Facts) -> Option<Rung> {
    match (rung, facts) {
        (Rung::Plain, Facts { alive: true, .. }) => None,
        (Rung::Plain, Facts { alive: false, last: true }) => Some(Rung::Force),
        (Rung::Plain, Facts { alive: false, last: false }) => Some(Rung::Detach),
        (Rung::Force, _) => Some(Rung::Again),
        (Rung::Again, _) => Some(Rung::Detach),
        (Rung::Detach, _) => None,
    }
}

impl Rung {
    fn how(self) -> Unmount {
        match self {
            Self::Plain | Self::Again => Unmount::Plain,
            Self::Force => Unmount::Force,
            Self::Detach => Unmount::Detach,
        }
    }
}

impl Taken {
    /// What was done, for a person, if it was not the usual.
    fn words(self) -> Option<String> {
        let why = if self.stale {
            "since its server does not know it any more (stale)"
        } else {
            "since its server does not answer"
        };
        match self.rung {
            Rung::Plain => None,
            Rung::Force => Some(format!("unmounted by force, {why}")),
            Rung::Again => Some(format!("unmounted after force, {why}")),
            Rung::Detach => Some(format!("detached, {why}, and somebody still uses it; it goes with its last user")),
        }
    }
}

/// Asks through a mount how its server does.
///
/// # Errors
/// Nothing can be asked.
pub(crate) fn health(at: &Path, limit: Duration) -> Result<Health> {
    match ask(&Touch::Probe { at: at.to_owned() }, limit) {
        Came::Answer(Ok(_)) => Ok(Health::Alive),
        Came::Answer(Err(error)) if is_stale(&error) => Ok(Health::Stale),
        Came::Answer(Err(error)) if is_silence(&error) => Ok(Health::Silent),
        Came::Answer(Err(_)) => Ok(Health::Alive),
        Came::Silent => Ok(Health::Silent),
        Came::Lost(error) => Err(error.into()),
    }
}

/// Whether the server says that it knows no such file any more.
pub(crate) fn is_stale(error: &Error) -> bool {
    error.errno() == Some(rustix::io::Errno::STALE.raw_os_error())
}

/// What a soft mount answers of a server that does not.
fn is_silence(error: &Error) -> bool {
    use rustix::io::Errno;
    let silent = [Errno::TIMEDOUT, Errno::IO, Errno::HOSTUNREACH, Errno::HOSTDOWN, Errno::CONNREFUSED, Errno::NOTCONN];
    silent.iter().any(|known| error.errno() == Some(known.raw_os_error()))
}

/// Takes away what is on top at `at`. `ours` are other mounts of the same superblock that use nothing. Gives how that was done.
///
/// # Errors
/// `busy`: somebody uses it, and its server answers. What the kernel says.
pub(crate) fn take_away(at: &Path, mounted: &Mounted, ours: &dyn Fn(&Path) -> bool, limit: Duration) -> Result<Taken> {
    let (mut rung, mut stale) = (Rung::Plain, false);
    let mut facts = None;
    loop {
        let said = ask(&Touch::Unmount { at: at.to_owned(), how: rung.how() }, limit);
        // Only the mount table tells: a child that flushes the last data is silent, and the mount gone.
        if table::by_id(mounted.id)?.is_none() {
            return Ok(Taken { rung, stale });
        }
        let error = match said {
            Came::Answer(Ok(_)) => None,
            Came::Answer(Err(error)) => Some(error),
            Came::Silent => None,
            Came::Lost(error) => return Err(error.into()),
        };
        let known = match facts {
            Some(facts) => facts,
            None => {
                let health = health(at, limit)?;
                stale = matches!(health, Health::Stale);
                *facts.insert(Facts {
                    alive: matches!(health, Health::Alive),
                    last: table::of_device(mounted.dev)?.iter().all(|one| one.id == mounted.id || ours(&one.point)),
                })
            }
        };
        match after(rung, known) {
            Some(next) => rung = next,
            None => {
                return Err(match error {
                    Some(error) => error.into(),
                    None => Failure::new(Code::Busy, format!("cannot unmount {}: it does not end", at.display())),
                });
            }
        }
    }
}

/// Says in the answer and in the log what was done, if it was not the usual.
pub(crate) fn tell(at: &Path, taken: Taken, world: &World) {
    if let Some(words) = taken.words() {
        world.say(format_args!("{}: {words}", at.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps that are taken if none helps.
    fn all(alive: bool, last: bool) -> Vec<Rung> {
        std::iter::successors(Some(Rung::Plain), |rung| after(*rung, Facts { alive, last })).collect()
    }

    #[test]
    fn force_is_for_the_last_mount_of_a_dead_server_alone() {
        assert_eq!(all(true, true), [Rung::Plain], "who writes to a server that answers is not cut off");
        assert_eq!(all(true, false), [Rung::Plain]);
        assert_eq!(all(false, true), [Rung::Plain, Rung::Force, Rung::Again, Rung::Detach]);
        assert_eq!(all(false, false), [Rung::Plain, Rung::Detach], "the others' work goes on when the server is back");
    }
}
