//! A volume shown at a host's directory, and taken away from there: a view of our own mount of its share.

use std::path::Path;

use flexvolume::{Code, Failure, Result, World};
use flexvolume_linux::mount::{self, Flags, Mounted, Presence, set_flags, table};

use crate::{
    child::{Came, Clock, ask},
    letgo::{Health, health, is_stale, take_away, tell},
    own::{Own, TRIES, release},
    shares::{Shares, is_nfs},
    touch::{Done, Touch},
    volume::Volume,
};

/// More mounts than this upon one another are not a mistake any more.
const MOST_LAYERS: usize = 32;

/// What is to be done about a directory that the volume is mounted at already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It is as it should be.
    Right,
    /// It must not be written to from now on.
    Forbid,
    /// It may be written to now, its server does not know it any more, or it was mounted with other options: another view takes its place.
    Replace,
}

/// Shows the volume at `dir`, which is there.
///
/// # Errors
/// `conflict`: something else is mounted there. What keeps the share from being mounted.
pub(crate) fn mount(volume: &Volume, dir: &Path, world: &World) -> Result<()> {
    let clock = Clock::of(world);
    let own = Own::new(&volume.share, world, clock);
    if let Some(there) = table::at(dir)? {
        if !is_nfs(&there) || there.source != volume.source() {
            let message = format!("{} from {} is mounted at {}", there.fs_type, there.source, dir.display());
            return Err(Failure::new(Code::Conflict, format!("{message}; it is left alone")));
        }
        let stale = match health(dir, volume.share.is_soft(), &clock)? {
            Health::Silent => return Err(own.silent()),
            Health::Alive => false,
            Health::Stale => true,
        };
        let is_its = own.has(&there)?;
        match judge(!stale && is_its, there.read_only, volume.read_only) {
            Found::Right => return Ok(()),
            Found::Forbid => return Ok(set_flags(dir, Flags { read_only: true, ..Flags::default() })?),
            Found::Replace => {
                away(dir, &there, &clock, world)?;
                if !is_its {
                    release(there.dev, world, &clock)?;
                }
            }
        }
    }
    let shown = show(volume, &own, dir, &clock);
    if let Err(failure) = &shown
        && failure.code() != Some(Code::Busy)
    {
        // Nobody will ask for the share to be taken away that was mounted for nothing.
        let _ = own.let_go();
    }
    shown
}

/// Makes a view of the share, which is mounted for that if it is not.
fn show(volume: &Volume, own: &Own<'_>, dir: &Path, clock: &Clock) -> Result<()> {
    let mut last = None;
    for _ in 0..TRIES {
        let mounted = own.ensure()?;
        let step = Touch::Bind {
            mounted: own.point().to_owned(),
            dev: mounted.dev,
            subdir: volume.subdir.clone(),
            at: dir.to_owned(),
            read_only: volume.read_only,
        };
        match ask(&step, clock.step()) {
            Came::Answer(Ok(Done::Yes)) => return Ok(()),
            // The last volume of the share went away just now.
            Came::Answer(Ok(Done::Gone)) => {}
            Came::Answer(Err(error)) if is_stale(&error) => {
                own.replace()?;
                last = Some(error);
            }
            Came::Answer(Err(error)) | Came::Lost(error) => return Err(error.into()),
            // It may have come at the last moment; it is there whole or not at all.
            Came::Silent if table::at(dir)?.is_some_and(|there| there.dev == mounted.dev) => return Ok(()),
            Came::Silent => return Err(own.silent()),
        }
    }
    Err(match last {
        Some(error) => error.into(),
        None => Failure::new(Code::Busy, format!("{} is taken away all the time", volume.share.source())),
    })
}

fn judge(good: bool, read_only: bool, wanted: bool) -> Found {
    match (good, read_only, wanted) {
        (false, _, _) | (true, true, false) => Found::Replace,
        (true, false, true) => Found::Forbid,
        (true, _, _) => Found::Right,
    }
}

/// Takes away whatever is mounted at `dir`, and our own mount of the share if this was the last view of it.
///
/// # Errors
/// `busy`: somebody uses it, and its server answers. What the kernel says.
pub(crate) fn unmount(dir: &Path, world: &World) -> Result<()> {
    let clock = Clock::of(world);
    for _ in 0..MOST_LAYERS {
        match mount::look(dir)? {
            Presence::Absent | Presence::Plain => return Ok(()),
            Presence::Mount(_) | Presence::Corrupted(_) => {}
            Presence::Symlink | Presence::Other => {
                return Err(Failure::new(Code::Invalid, format!("{} is no directory", dir.display())));
            }
        }
        let Some(there) = table::at(dir)? else { continue };
        away(dir, &there, &clock, world)?;
        if is_nfs(&there) {
            release(there.dev, world, &clock)?;
        }
    }
    Err(Failure::internal(format!("{} is mounted more than {MOST_LAYERS} times; unmount it by hand", dir.display())))
}

fn away(dir: &Path, there: &Mounted, clock: &Clock, world: &World) -> Result<()> {
    let way = take_away(dir, there, &Shares::of(world), clock)?;
    tell(dir, way, world);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_already_is_kept_forbidden_or_replaced() {
        let of = |good, read_only, wanted| judge(good, read_only, wanted);
        assert_eq!(of(true, true, true), Found::Right);
        assert_eq!(of(true, false, false), Found::Right);
        assert_eq!(of(true, false, true), Found::Forbid);
        assert_eq!(of(true, true, false), Found::Replace);
        for (read_only, wanted) in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(of(false, read_only, wanted), Found::Replace, "stale, or with other options");
        }
    }
}
