//! A file system of any type mounted: by the kernel alone, or by the helper program that its type has.

use std::{path::Path, time::Duration};

use super::{
    api::{FsMount, Tree, is_read_only},
    helper,
};
use crate::{Error, ErrorKind, Result, process::Kill};

/// Between asking a helper to end and ending it. As much again passes before it is given up: whoever waits for who waits for it
/// adds twice that, and something for himself.
const GRACE: Duration = Duration::from_secs(1);

/// Mounts a file system at `target`, a directory by a path without links; it has all its flags before it can be seen.
///
/// Types with a helper program of mount(8) (`/sbin/mount.nfs` and the like) go through that; their flags are given as
/// options and made sure of afterwards. May block as long as device or server pleases.
///
/// Errors: as [`Tree::new`] and [`Tree::attach`]; what a helper said is the error's cause. After an error nothing is
/// mounted that was not before.
pub fn mount(wanted: &FsMount<'_>, target: &Path) -> Result<()> {
    match helper::find(wanted.fs_type) {
        Some(program) => helper::run(&program, wanted, is_read_only(wanted)?, target),
        None => Tree::new(wanted)?.attach(target),
    }
}

/// Mounts as [`mount`] does, by the helper program of the type alone, which is ended if it takes longer than `limit`; that may take two
/// seconds more.
///
/// # Errors
/// `Unsupported` if there is no such program; what it said is the error's cause.
pub fn mount_by_helper(wanted: &FsMount<'_>, target: &Path, limit: Duration) -> Result<()> {
    let Some(program) = helper::find(wanted.fs_type) else {
        let context = format!("cannot mount {0}: there is no program mount.{0}", wanted.fs_type);
        return Err(Error::new(ErrorKind::Unsupported, context));
    };
    let kill = Kill::After { at: limit, grace: GRACE };
    helper::run_within(&program, wanted, is_read_only(wanted)?, target, kill)
}
