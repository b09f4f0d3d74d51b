//! Mounts taken away, gently first: forcing may answer "busy" and yet work, and detaching gives up the only handle.

use std::{
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use rustix::{
    fd::OwnedFd,
    fs::{CWD, OFlags},
    io::Errno,
    mount::UnmountFlags,
};
use serde::{Deserialize, Serialize};

use super::{MountId, Mounted, Presence, look, raw, table};
use crate::{
    Error, ErrorKind, Result,
    real::{astray, open_real},
};

/// How to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unmount {
    /// Only if nobody uses it, which is looked for a few times within a moment.
    Plain,
    /// What the file system is waiting for fails, for every mount of it, so that it can be unmounted. Some answer
    /// "busy" although that has worked: unmount plainly then.
    Force,
    /// Out of sight at once, gone when the last user is. Afterwards nothing can be done about it any more.
    Detach,
}

/// One rung of the ladder that [`unmount_ladder`] climbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A frozen file system is thawed; unmounting a frozen one would block.
    Thaw,
    /// [`Unmount::Plain`].
    Plain,
    /// The connection of a FUSE file system to its server is cut.
    Abort,
    /// [`Unmount::Force`].
    Force,
    /// [`Unmount::Plain`] again.
    Again,
    /// [`Unmount::Detach`].
    Detach,
}

/// The rungs in order. Each may block, so a caller that cannot wait gives every one to a process of its own.
pub const LADDER: [Step; 6] = [Step::Thaw, Step::Plain, Step::Abort, Step::Force, Step::Again, Step::Detach];

/// What is in use may be so for a moment: a process that is being brought into the world has all that its parent has open, until it has
/// become what it is to be.
const MOMENTS: [Duration; 3] = [Duration::from_millis(2), Duration::from_millis(10), Duration::from_millis(50)];

/// Unmounts what is on top at `target`, followed through no link. May block.
///
/// Errors: `NotFound` if nothing is mounted there (or nothing is there), `Busy` if somebody uses it or something is mounted in it,
/// `Refused` for a link above it.
pub fn unmount(target: &Path, how: Unmount) -> Result<()> {
    let (flags, moments) = match how {
        Unmount::Plain => (UnmountFlags::empty(), MOMENTS.as_slice()),
        Unmount::Force => (UnmountFlags::FORCE, [].as_slice()),
        Unmount::Detach => (UnmountFlags::DETACH, [].as_slice()),
    };
    // A trailing slash would follow a link in spite of the flag.
    let bare: PathBuf = target.components().collect();
    let (_parent, held) = held(&bare).map_err(|e| astray(target, e))?;
    let once = || rustix::mount::unmount(&held, flags | UnmountFlags::NOFOLLOW);
    again_while_busy(moments, once, || bare_top(&bare)).map_err(|e| {
        let error = Error::io("unmount", target, e);
        match e {
            Errno::INVAL => error.with_kind(ErrorKind::NotFound).with_cause("nothing is mounted there"),
            Errno::BUSY => error.with_hint("end what has files open or mounts below it"),
            _ => error,
        }
    })
}

/// Unmounts what is on top at `target`, whatever it takes, and says which step did it, after [`Step::Force`] if that was done before and
/// did not do it alone: thaw, plain, cut a FUSE connection, force, plain, detach. None if nothing is mounted there. What touches the whole file system (thaw, cut, force) is only done if this is the
/// last mount of it in this mount namespace; those at or below `idle` do not count: nobody works through them who may not fail.
///
/// This gives up on users of the mount: for a healthy one that may be in use, [`unmount`] it plainly instead. May
/// block: for processes that can be thrown away; or give each [`Step`] of the [`LADDER`] to one with [`unmount_step`].
///
/// Errors: what the last step said.
pub fn unmount_ladder(target: &Path, idle: &[PathBuf]) -> Result<Vec<Step>> {
    if top(target)?.is_none() {
        return Ok(Vec::new());
    }
    let (mut done, mut last) = (Vec::new(), None);
    for step in LADDER {
        match unmount_step(target, step, idle) {
            Ok(true) => {
                done.push(step);
                return Ok(done);
            }
            Ok(false) => {}
            Err(error) => {
                // It answers "busy" and has cut off whoever waited all the same.
                if step == Step::Force && error.kind() == ErrorKind::Busy {
                    done.push(step);
                }
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Busy, format!("cannot unmount {}", target.display()))))
}

/// Does one step of the ladder for what is on top at `target`: `true` if it is unmounted now (or was before), `false` if
/// the step does not unmount or does not fit this mount. `idle` as for [`unmount_ladder`]. May block.
///
/// Errors: what the kernel said; go on with the next step.
pub fn unmount_step(target: &Path, step: Step, idle: &[PathBuf]) -> Result<bool> {
    let Some(mounted) = top(target)? else { return Ok(true) };
    let unmount = |how| match unmount(target, how) {
        Ok(()) => Ok(true),
        // A step before may have worked late.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    };
    match step {
        Step::Plain | Step::Again => unmount(Unmount::Plain),
        Step::Detach => unmount(Unmount::Detach),
        Step::Force if is_last(&mounted, idle)? => unmount(Unmount::Force),
        Step::Abort if is_fuse(&mounted) && is_last(&mounted, idle)? => abort(&mounted),
        Step::Thaw if can_freeze(&mounted) && is_last(&mounted, idle)? => thaw(target),
        Step::Force | Step::Abort | Step::Thaw => Ok(false),
    }
}

/// What is mounted on top there. Some file systems that have failed do not even say what they are any more (a shut-down XFS): the
/// table knows them by their path.
fn top(target: &Path) -> Result<Option<Mounted>> {
    match look(target)? {
        Presence::Mount(id) => table::by_id(id),
        Presence::Corrupted(_) => {
            let real = table::real_path(CWD, target).map_err(|e| Error::io("look at", target, e))?;
            Ok(table::stacked(&real)?.pop())
        }
        Presence::Absent | Presence::Plain | Presence::Symlink | Presence::Other => Ok(None),
    }
}

/// The same place by way of its parent, held open: holding the place itself would keep the mount in use.
fn held(target: &Path) -> rustix::io::Result<(Option<OwnedFd>, PathBuf)> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Ok((None, target.to_owned()));
    };
    let parent = open_real(if parent.as_os_str().is_empty() { Path::new(".") } else { parent }, OFlags::PATH)?;
    let held = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
    Ok((Some(parent), held))
}

/// Tries again after each moment what is busy, as long as the same is on top: what came there meanwhile is not what was to go. `on_top` is
/// what that is, or none if it will be busy for longer than a moment.
fn again_while_busy<T: PartialEq>(
    moments: &[Duration],
    mut once: impl FnMut() -> rustix::io::Result<()>,
    on_top: impl Fn() -> Option<T>,
) -> rustix::io::Result<()> {
    for moment in moments {
        match once() {
            Err(Errno::BUSY) => {}
            came => return came,
        }
        let busy = on_top();
        if busy.is_none() {
            return Err(Errno::BUSY);
        }
        sleep(*moment);
        if on_top() != busy {
            return Err(Errno::BUSY);
        }
    }
    once()
}

/// What is on top there, if nothing is mounted in it, which would keep it for longer than a moment. This looks at all mounts.
fn bare_top(target: &Path) -> Option<MountId> {
    let there = top(target).ok()??.id;
    table::under(there).is_ok_and(|inner| inner.is_empty()).then_some(there)
}

fn is_last(mounted: &Mounted, idle: &[PathBuf]) -> Result<bool> {
    let is_idle = |point: &Path| idle.iter().any(|idle| point.starts_with(idle));
    Ok(table::of_device(mounted.dev)?.iter().all(|one| one.id == mounted.id || is_idle(&one.point)))
}

fn is_fuse(mounted: &Mounted) -> bool {
    mounted.fs_type == "fuse" || mounted.fs_type == "fuseblk" || mounted.fs_type.starts_with("fuse.")
}

/// Those on a block device, and btrfs, which hides its own.
fn can_freeze(mounted: &Mounted) -> bool {
    mounted.dev.0 != 0 || mounted.fs_type == "btrfs"
}

/// The kernel names the connection by the device number, in its own packing.
fn abort(mounted: &Mounted) -> Result<bool> {
    let (major, minor) = mounted.dev;
    let file = format!("/sys/fs/fuse/connections/{}/abort", (u64::from(major) << 20) | u64::from(minor));
    match std::fs::write(&file, "1") {
        Ok(()) => Ok(false),
        // Where the fusectl file system is not mounted, forcing does the same.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("write to", file, error)),
    }
}

fn thaw(target: &Path) -> Result<bool> {
    let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = open_real(target, how).map_err(|e| astray(target, e))?;
    match raw::thaw(&fd) {
        Ok(()) => Ok(false),
        // "Invalid argument" says that it was not frozen; the second, that this type cannot be.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(false),
        Err(error) => Err(Error::io("thaw", target, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_is_busy_for_a_moment_is_tried_again_and_not_for_ever() {
        let mut tries = 0;
        let mut busy = |until| {
            tries += 1;
            if tries < until { Err(Errno::BUSY) } else { Ok(()) }
        };
        assert_eq!(again_while_busy(&MOMENTS, || busy(4), || Some(1)), Ok(()));
        assert_eq!(again_while_busy(&MOMENTS, || busy(9), || Some(1)), Err(Errno::BUSY));
        assert_eq!(tries, 8);
        let mut tries = 0;
        let mut once = |came| {
            tries += 1;
            Err(came)
        };
        assert_eq!(again_while_busy(&MOMENTS, || once(Errno::BUSY), || None::<u8>), Err(Errno::BUSY));
        assert_eq!(again_while_busy(&MOMENTS, || once(Errno::INVAL), || Some(1)), Err(Errno::INVAL));
        assert_eq!(again_while_busy(&[], || once(Errno::BUSY), || Some(1)), Err(Errno::BUSY));
        assert_eq!(tries, 3, "what lasts, and what is not busy, is tried once");
        let (tries, looks) = (Cell::new(0), Cell::new(0));
        let another = || {
            looks.set(looks.get() + 1);
            Some(looks.get())
        };
        let once = || {
            tries.set(tries.get() + 1);
            Err(Errno::BUSY)
        };
        assert_eq!(again_while_busy(&MOMENTS, once, another), Err(Errno::BUSY));
        assert_eq!(tries.get(), 1, "what came on top meanwhile is not touched");
    }
}
