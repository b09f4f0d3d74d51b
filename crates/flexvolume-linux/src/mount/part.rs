//! Which part of which file system a directory or file is.

use std::{os::fd::AsFd, path::Path};

use super::{
    Mounted, Part,
    api::open_point,
    table::{by_id, id_of, path_of},
};
use crate::{Error, ErrorKind, Result};

/// What a view of `path` shows, and the mount that it lies in: `path` may be the root of a mount, or any directory or file. A link
/// anywhere in it is refused; no file system is asked.
///
/// Errors: `NotFound` if it is not there, `Refused` for a link; the table cannot be read.
pub fn part(path: &Path) -> Result<(Mounted, Part)> {
    let fd = open_point(path)?;
    let failed = |e| Error::io("tell which mount holds", path, e);
    let gone = || Error::new(ErrorKind::NotFound, format!("the mount that held {} is gone", path.display()));
    let mounted = by_id(id_of(fd.as_fd()).map_err(failed)?)?.ok_or_else(gone)?;
    let real = path_of(&fd).map_err(failed)?;
    let part = mounted.part_at(real.strip_prefix(&mounted.point).map_err(|_| gone())?);
    Ok((mounted, part))
}
