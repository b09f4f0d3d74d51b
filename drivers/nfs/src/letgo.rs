//! A mount taken away: in which order, and what of that may be done to whom.
//!
//! ```text
//! plain ──▶ gone
//!   │ in use, and the server answers ─────────────▶ busy: nothing more is done
//!   │ in use, and stale: nobody waits for anything ─▶ detach
//!   │ in use, and it is silent: others have this superblock ──▶ detach
//!   └─ this is the last mount of it ──▶ force ──▶ plain again ──▶ detach
//! ```
//! Forcing makes everything fail that waits for the server, for every mount of the superblock, and may answer "busy" though it has
//! helped. Detaching gives up the only handle, so it comes last.

use std::path::Path;

use flexvolume::{Code, Failure, Result, World};
use flexvolume_linux::{
    Error,
    mount::{Mounted, Unmount, table},
};

use crate::{
    child::{Came, Clock, ask},
    shares::Shares,
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

/// How a server does, asked through one mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answers, be it with an error about this very request.
    Alive,
    /// It answers that what is mounted there is no more.
    Stale,
    /// It does not answer.
    Silent,
}

/// What decides about the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// How the server does.
    pub(crate) health: Health,
    /// Nobody has another mount of this superblock but we ourselves.
    pub(crate) last: bool,
}

/// How a mount came down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As any other.
    Plainly,
    /// As any other, and what was written last is still on its way to a server that does not answer.
    Owing,
    /// By this step, for that reason.
    By(Rung, Health),
}

/// The step after one that did not take the mount away; `None` if there is none: the mount is in use and stays.
pub(crate) fn after(rung: Rung, facts: Facts) -> Option<Rung> {
    match (rung, facts.health, facts.last) {
        (Rung::Plain, Health::Alive, _) => None,
        (Rung::Plain, Health::Silent, true) => Some(Rung::Force),
        (Rung::Plain, Health::Stale, _) | (Rung::Plain, Health::Silent, false) => Some(Rung::Detach),
        (Rung::Force, _, _) => Some(Rung::Again),
        (Rung::Again, _, _) => Some(Rung::Detach),
        (Rung::Detach, _, _) => None,
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

impl Way {
    /// What was done, for a person; `None` for the usual.
    pub(crate) fn words(self) -> Option<String> {
        let (rung, health) = match self {
            Self::Plainly | Self::By(Rung::Plain, _) => return None,
            Self::Owing => {
                return Some(
                    "unmounted; its server does not answer, and gets what was written last when it is back".to_owned(),
                );
            }
            Self::By(rung, health) => (rung, health),
        };
        let done = match rung {
            Rung::Plain => "unmounted",
            Rung::Force => "unmounted by force",
            Rung::Again => "unmounted after force",
            Rung::Detach => "detached, to go with its last user",
        };
        let why = match health {
            Health::Alive => "since it is in use",
            Health::Stale => "since its server does not know it any more (stale)",
            Health::Silent => "since its server does not answer",
        };
        let lost = match rung {
            Rung::Force | Rung::Again => "; what waited for it to be written is lost",
            Rung::Plain | Rung::Detach => "",
        };
        Some(format!("{done}, {why}{lost}"))
    }
}

/// Asks through a mount how its server does.
///
/// # Errors
/// Nothing can be asked.
pub(crate) fn health(at: &Path, soft: bool, clock: &Clock) -> Result<Health> {
    match ask(&Touch::Probe { at: at.to_owned() }, clock.step()) {
        Came::Answer(Ok(_)) => Ok(Health::Alive),
        Came::Answer(Err(error)) if is_stale(&error) => Ok(Health::Stale),
        Came::Answer(Err(error)) if soft && is_silence(&error) => Ok(Health::Silent),
        Came::Answer(Err(_)) => Ok(Health::Alive),
        Came::Silent => Ok(Health::Silent),
        Came::Lost(error) => Err(error.into()),
    }
}

/// Whether the server says that it knows no such file any more.
pub(crate) fn is_stale(error: &Error) -> bool {
    error.errno() == Some(rustix::io::Errno::STALE.raw_os_error())
}

/// What a soft mount answers of a server that does not. On a hard one it would be the server's own word.
fn is_silence(error: &Error) -> bool {
    use rustix::io::Errno;
    let silent = [Errno::TIMEDOUT, Errno::IO, Errno::HOSTUNREACH, Errno::HOSTDOWN, Errno::CONNREFUSED, Errno::NOTCONN];
    silent.iter().any(|known| error.errno() == Some(known.raw_os_error()))
}

/// Takes away what is on top at `at`, and says how it went.
///
/// # Errors
/// `busy`: somebody uses it, and its server answers. What the kernel says.
pub(crate) fn take_away(at: &Path, mounted: &Mounted, shares: &Shares, clock: &Clock) -> Result<Way> {
    let first = Touch::Unmount { at: at.to_owned(), how: Rung::Plain.how() };
    by_steps(first, at, mounted, shares, clock)
}

/// The same for our own mount of a share of which there is no view: one that was shown meanwhile has it put back.
///
/// # Errors
/// As [`take_away`].
pub(crate) fn take_own(at: &Path, mounted: &Mounted, shares: &Shares, clock: &Clock) -> Result<Way> {
    by_steps(Touch::LetGo { at: at.to_owned(), dev: mounted.dev }, at, mounted, shares, clock)
}

fn by_steps(first: Touch, at: &Path, mounted: &Mounted, shares: &Shares, clock: &Clock) -> Result<Way> {
    let mut step = first;
    let (mut rung, mut facts) = (Rung::Plain, None);
    loop {
        let (silent, error) = match ask(&step, clock.step()) {
            Came::Answer(Ok(_)) => (false, None),
            Came::Answer(Err(error)) => (false, Some(error)),
            Came::Silent => (true, None),
            Came::Lost(error) => return Err(error.into()),
        };
        // Only the mount table tells: a child that writes the last data back is silent, and the mount gone.
        if table::by_id(mounted.id)?.is_none() {
            return Ok(match facts {
                None if silent => Way::Owing,
                None => Way::Plainly,
                Some(Facts { health, .. }) => Way::By(rung, health),
            });
        }
        let known = match facts {
            Some(facts) => facts,
            None => {
                let all = table::of_device(mounted.dev)?;
                // Through our own mount another call may be at work, and a server that it keeps busy is not dead.
                let last = !shares.holds(at) && all.iter().all(|one| one.id == mounted.id || shares.holds(&one.point));
                *facts.insert(Facts { health: health(at, shares.are_soft(&all), clock)?, last })
            }
        };
        match after(rung, known) {
            Some(next) => {
                rung = next;
                step = Touch::Unmount { at: at.to_owned(), how: rung.how() };
            }
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
pub(crate) fn tell(at: &Path, way: Way, world: &World) {
    if let Some(words) = way.words() {
        world.say(format_args!("{}: {words}", at.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps that are taken if none helps.
    fn all(health: Health, last: bool) -> Vec<Rung> {
        std::iter::successors(Some(Rung::Plain), |rung| after(*rung, Facts { health, last })).collect()
    }

    #[test]
    fn force_is_for_the_last_mount_of_a_dead_server_alone() {
        for last in [true, false] {
            assert_eq!(all(Health::Alive, last), [Rung::Plain], "who writes to a server that answers is not cut off");
            assert_eq!(all(Health::Stale, last), [Rung::Plain, Rung::Detach], "nobody waits for it");
        }
        assert_eq!(all(Health::Silent, true), [Rung::Plain, Rung::Force, Rung::Again, Rung::Detach]);
        let others = all(Health::Silent, false);
        assert_eq!(others, [Rung::Plain, Rung::Detach], "the others' work goes on when the server is back");
    }

    #[test]
    fn what_was_done_is_told_with_its_reason() {
        let words = |rung, health| Way::By(rung, health).words().unwrap();
        assert_eq!(
            words(Rung::Again, Health::Silent),
            "unmounted after force, since its server does not answer; what waited for it to be written is lost"
        );
        assert_eq!(
            words(Rung::Detach, Health::Stale),
            "detached, to go with its last user, since its server does not know it any more (stale)"
        );
        assert!(Way::Owing.words().is_some_and(|words| words.contains("when it is back")));
        assert_eq!((Way::Plainly.words(), Way::By(Rung::Plain, Health::Silent).words()), (None, None));
    }

    #[test]
    fn an_error_is_silence_on_a_soft_mount_alone() {
        let error = |errno: rustix::io::Errno| Error::io("ask", "/x", errno);
        assert!(is_silence(&error(rustix::io::Errno::IO)) && is_silence(&error(rustix::io::Errno::TIMEDOUT)));
        assert!(!is_silence(&error(rustix::io::Errno::ACCESS)) && !is_silence(&error(rustix::io::Errno::STALE)));
    }
}
