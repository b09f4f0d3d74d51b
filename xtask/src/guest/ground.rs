//! What every machine stands on: a host that can have guests, the image, and the executables of this build.

use super::{
    host::{Host, NoGuest},
    image::{self, Image},
    kit::Kit,
    places,
};
use crate::sh;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// What every machine stands on: the image, the executables, and a folder for what goes with it.
pub(crate) struct Ground {
    pub(super) image: Image,
    pub(crate) kit: Kit,
    pub(super) runs: PathBuf,
}

impl Ground {
    /// Prepares this machine for guests, or says why there can be none.
    pub(crate) fn ready(kit: Kit) -> Result<Result<Ground, NoGuest>> {
        Self::with_image(kit, false)
    }

    pub(super) fn with_image(kit: Kit, fresh: bool) -> Result<Result<Ground, NoGuest>> {
        let dir = Self::dir()?;
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let host = match Host::ready(&dir)? {
            Ok(host) => host,
            Err(why) => return Ok(Err(why)),
        };
        let image = match image::get(&host, &dir, fresh)? {
            Ok(image) => image,
            Err(why) => return Ok(Err(why)),
        };
        let runs = Self::runs()?;
        places::sweep(&runs);
        Ok(Ok(Ground { image, kit, runs }))
    }

    /// The image in a few words.
    pub(super) fn about(&self) -> String {
        self.image.about()
    }

    fn dir() -> Result<PathBuf> {
        Ok(sh::target_dir()?.join("guest"))
    }

    /// Where machines have their folders, each its own.
    pub(super) fn runs() -> Result<PathBuf> {
        Ok(Self::dir()?.join("run"))
    }
}
