//! Making a mounted file system as large as its device.

use std::{os::linux::fs::MetadataExt, os::unix::fs::MetadataExt as _, path::Path};

use rustix::thread::{CapabilitySet, capabilities};

use super::{
    check,
    device::Device,
    kind::FsType,
    probe::{Glance, glance},
    tool::{BTRFS, RESIZE2FS, XFS_GROWFS},
    usage::usage,
};
use crate::{Error, ErrorKind, Result};

/// Btrfs leaves the rest of a device that fills no sector of its own unused.
const SECTOR: u64 = 4095;

/// The kernel refuses to resize a btrfs to less than this, be it larger than before.
const BTRFS_LEAST: u64 = 256 << 20;

/// Grows the file system on `device`, mounted read-write at `mounted_at`, to the size of the device. One that fills
/// it already is left as it is. Reaches into the mount: call it in a worker.
///
/// # Errors
/// `Invalid` if another file system is mounted there, `Busy` if another call works on the device, `Unsupported` if
/// it is of a type we do not grow, the program for it is not installed, or (ext3, ext4) we lack CAP_SYS_RESOURCE; `Io`
/// with the program's words.
pub fn grow_fs(device: &Path, mounted_at: &Path) -> Result<()> {
    let held = Device::lock(device)?;
    let fs_type = type_of(&held)?;
    let (source, target) = (device.to_string_lossy(), mounted_at.to_string_lossy());
    let purpose = format!("grow the {fs_type} on {source}");
    match fs_type {
        FsType::Ext3 | FsType::Ext4 => {
            // resize2fs works on the device; were it not mounted here, it would resize one that was not checked.
            same_device(device, mounted_at)?;
            RESIZE2FS.succeed(&purpose, &[&source], Some(&held)).map_err(capable)?;
        }
        FsType::Xfs => {
            same_device(device, mounted_at)?;
            XFS_GROWFS.succeed(&purpose, &["-d", &target], Some(&held))?;
        }
        // Btrfs refuses to resize what is smaller than 256 MiB even if there is nothing to do.
        FsType::Btrfs if usage(mounted_at)?.total >= held.size() & !SECTOR => {}
        FsType::Btrfs if held.size() < BTRFS_LEAST => {
            let context = format!("cannot {purpose}: btrfs resizes nothing to less than 256 MiB");
            return Err(Error::new(ErrorKind::Unsupported, context).with_hint("ask for 256 MiB or more"));
        }
        // It shows a device number of its own, so the mount cannot be compared; it resizes device 1 of what is there.
        FsType::Btrfs => {
            BTRFS.succeed(&purpose, &["filesystem", "resize", "max", &target], Some(&held))?;
        }
    }
    Ok(())
}

/// Grows the unmounted ext3 or ext4 on `device` to the size of the device, after a full check.
///
/// # Errors
/// `Unsupported` for XFS and Btrfs, which grow only while mounted; `Busy` if the device is in use; `Corrupted` if the
/// check leaves errors; else as [`grow_fs`].
pub fn grow_unmounted(device: &Path) -> Result<()> {
    let held = Device::lock(device)?;
    let fs_type = type_of(&held)?;
    let purpose = format!("grow the {fs_type} on {}", device.display());
    match fs_type {
        FsType::Ext3 | FsType::Ext4 => {}
        FsType::Xfs | FsType::Btrfs => {
            let context = format!("cannot {purpose}: it grows only while it is mounted");
            return Err(Error::new(ErrorKind::Unsupported, context).with_hint("mount it first"));
        }
    }
    if !held.is_free()? {
        return Err(Error::new(ErrorKind::Busy, format!("cannot {purpose} unmounted: something uses it")));
    }
    check::repair(&held, fs_type, check::Depth::Full)?;
    RESIZE2FS.succeed(&purpose, &[&device.to_string_lossy()], Some(&held)).map(drop)
}

fn type_of(device: &Device) -> Result<FsType> {
    match glance(device)? {
        Glance::Whole { name, .. } => FsType::parse(name),
        Glance::Nothing | Glance::Doubt => {
            let context =
                format!("cannot grow {}: no file system of ours is recognised on it", device.path().display());
            Err(Error::new(ErrorKind::Invalid, context))
        }
    }
}

/// The kernel grows a mounted ext4 only for the bearer of one capability, which containers and some services lack.
fn capable(error: Error) -> Error {
    match capabilities(None) {
        Ok(ours) if !ours.effective.contains(CapabilitySet::SYS_RESOURCE) => {
            error.with_kind(ErrorKind::Unsupported).with_hint(
                "growing it while mounted needs CAP_SYS_RESOURCE: run with it, or grow it while it is unmounted",
            )
        }
        Ok(_) | Err(_) => error,
    }
}

fn same_device(device: &Path, mounted_at: &Path) -> Result<()> {
    let look = |path: &Path| std::fs::metadata(path).map_err(|error| Error::io("look at", path, error));
    if look(device)?.rdev() == look(mounted_at)?.st_dev() {
        return Ok(());
    }
    let context = format!("cannot grow: {} is not mounted at {}", device.display(), mounted_at.display());
    Err(Error::new(ErrorKind::Invalid, context))
}
