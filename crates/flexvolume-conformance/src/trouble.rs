//! Why the judge itself cannot go on.

use std::{io, path::Path};

/// The judge itself cannot go on; the driver is not to blame.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The kernel did not let it.
    #[error(transparent)]
    Linux(#[from] flexvolume_linux::Error),
    /// A path cannot be used.
    #[error(
        "the path {0:?} cannot be given to a driver: it must be absolute, in UTF-8, and without `..`; choose another root"
    )]
    Path(String),
    /// No check has such a name.
    #[error("no check has a name that begins with {0:?}; `flexvol check --list` names them")]
    Unknown(String),
}

impl Trouble {
    pub(crate) fn io(what: &str, path: impl AsRef<Path>, error: io::Error) -> Self {
        Self::Linux(flexvolume_linux::Error::io(what, path, error))
    }

    pub(crate) fn path(path: &Path) -> Self {
        Self::Path(path.display().to_string())
    }
}
