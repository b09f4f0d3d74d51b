//! Staged drivers for every host: attachments kept and counted, and a stranger's cold calls composed of the staged verbs.
//!
//! ```text
//!   mount PDIR    = attach ▶ waitforattach ▶ mountdevice PDIR      a failure undoes all of it: nobody else will
//!   unmount PDIR  = unmountdevice PDIR ▶ detach, if nothing else uses the storage
//!   expandfs PDIR = expandvolume ▶ expandfs, with the device found from PDIR
//! ```
//!
//! Two locks are held over a composed call, always taken in this order: one for the place (PDIR), one for the storage.
//! A record of the place is written before anything is done and removed when nothing is left; a call that finds the
//! record of one that was cut off undoes what is there and begins again. The record, the attachments and the locks
//! lie below the run folder and are void after a reboot, as what they speak of is.

mod attach;
mod expand;
mod mount;
mod unmount;

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use flexvolume_linux::mount::MountId;
use flexvolume_protocol::{Dir, Options};
use serde::{Deserialize, Serialize};

use crate::{
    World,
    store::{Store, digest},
};

pub(crate) use attach::{attach, detach};
pub(crate) use expand::expandfs;
pub(crate) use mount::mount;
pub(crate) use unmount::unmount;

/// An option that the kit adds when a stranger mounts read-only. The driver is told `rw` all the same, since mounts of
/// one device share a superblock and the kit makes this one mount read-only itself; but nothing should be created or
/// formatted for the sake of one who cannot write.
pub const ONLY_READER: &str = "flexvol/onlyReader";

/// A place that a stranger had a volume mounted at, or began to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The volume's name, under which it is attached.
    name: String,
    /// What names its storage.
    storage: String,
    /// Its device, `""` until that is known.
    device: String,
    /// Our mount, once the call has ended well. Without it (and unless `left`) whatever is mounted there is half-made.
    mount: Option<MountId>,
    /// Unmounted, but somebody we know nothing of still held the device: it is detached by a later call.
    #[serde(default)]
    left: bool,
}

fn records(world: &World) -> Store<Record> {
    Store::new(world.run_dir().join("mounts"))
}

/// The same volume for the same name and the same options of the user, whichever pod asks and however it may write.
pub(crate) fn storage_by_options(options: &Options) -> String {
    let mut told = String::new();
    for (key, value) in options.iter().filter(|(key, _)| !key.starts_with("kubernetes.io/")) {
        told.push_str(&format!("{key:?}={value:?};"));
    }
    format!("{} {}", options.volume_name(), digest(told.as_bytes()))
}

/// The place without doubled and trailing slashes, which hosts write differently from call to call.
fn plain(dir: &Dir) -> String {
    dir.as_path().components().collect::<std::path::PathBuf>().to_string_lossy().into_owned()
}

/// The number of a block device, `None` for anything else that a driver may call its device.
fn block(device: &str) -> Option<u64> {
    let meta = fs::metadata(Path::new(device)).ok()?;
    meta.file_type().is_block_device().then(|| meta.rdev())
}

/// Whether two names mean one device; a logical volume has several.
fn same_device(one: &str, other: &str) -> bool {
    !one.is_empty() && (one == other || block(one).is_some_and(|number| block(other) == Some(number)))
}

/// The name a stranger's node goes by.
fn node() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
