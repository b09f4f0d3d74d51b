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
    #[error("no check has a name that begins with {prefix:?}{}", meant(.near))]
    Unknown {
        /// What was asked for.
        prefix: String,
        /// Names that are like it.
        near: Vec<&'static str>,
    },
    /// Nothing is left of what was asked for.
    #[error("no check is left: {0}")]
    Nothing(String),
    /// Mounts need root.
    #[error("the judge mounts volumes as a host does, and this process is not root")]
    NotRoot,
    /// The judge is asked to end, see [`Job::asked`](crate::Job::asked).
    #[error("the judge was asked to end")]
    Asked,
    /// A thread of the judge's own died.
    #[error("the judge lost sight of a call")]
    Lost,
}

fn meant(near: &[&str]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

impl Trouble {
    pub(crate) fn io(what: &str, path: impl AsRef<Path>, error: io::Error) -> Self {
        Self::Linux(flexvolume_linux::Error::io(what, path, error))
    }

    pub(crate) fn path(path: &Path) -> Self {
        Self::Path(path.display().to_string())
    }
}
