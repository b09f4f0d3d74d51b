//! Disks of a crash point as devices that recovery may write to; what it wrote is forgotten when the power goes again.

use std::fs::File;
use std::io;
use std::path::Path;

use super::dm::Mapped;
use super::loops::Loop;

/// Sectors of a chunk, the piece that is copied when it is first written to.
const CHUNK: u64 = 8;

/// A disk under power. Dropping it takes away whatever lies on it, and leaves its image as it was.
pub struct Powered {
    device: Mapped,
}

impl Powered {
    /// The image as the disk `name`; changes go to a nameless file in `dir`, best in memory.
    ///
    /// # Errors
    /// A device cannot be made.
    pub fn up(name: &str, image: &Path, dir: &Path) -> io::Result<Powered> {
        let file = File::open(image)?;
        let bytes = file.metadata()?.len();
        let changes = tempfile::tempfile_in(dir)?;
        // As much again, and what the target keeps of each chunk.
        changes.set_len(bytes + bytes / 64 + (1 << 20))?;
        let (origin, changes) = (Loop::attach(&file, true)?, Loop::attach(&changes, false)?);
        let words = format!("{} {} N {CHUNK}", origin.path().display(), changes.path().display());
        let device = Mapped::create(&format!("powercut-{name}"), bytes / 512, "snapshot", &words)?;
        Ok(Powered { device })
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Path {
        self.device.path()
    }

    /// Takes away the devices that lie on it, as a power cut does.
    ///
    /// # Errors
    /// One is in use, for example mounted.
    pub fn clear(&self) -> io::Result<()> {
        self.device.clear()
    }
}
