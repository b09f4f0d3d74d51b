//! A file system of any type mounted: by the kernel alone, or by the helper program that its type has.

use std::path::Path;

use super::{
    api::{FsMount, Tree, is_read_only},
    helper,
};
use crate::Result;

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
