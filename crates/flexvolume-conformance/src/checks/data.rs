//! Bytes: what was written is read, and is still there when the volume comes again.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use flexvolume_linux::{block, mount::table};
use flexvolume_protocol::Dir;

use crate::{
    bed::Bed,
    check::{Check, row},
    level::Severity::Must,
    stop::{Stop, Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "data.bytes",
        Must,
        "what is written to the volume is read from it",
        "contract: Call-outs",
        "mount to be written unless `kubernetes.io/readwrite` is `ro`, and look whether the volume has room",
        &["mount.mounts"],
        |bed| {
            let volume = bed.volume()?;
            let pod = bed.up(&volume, 1)?;
            let written = Written::of(&bed.id);
            written.write(bed, pod.dir.as_path())?;
            written.read(bed, pod.dir.as_path(), "what was just written")
        },
    ),
    row(
        "data.kept",
        Must,
        "what was written is there after the volume was taken down and up again",
        "contract: Call-outs",
        "look for a file system before formatting, and unmount before the device is taken away",
        &["data.bytes", "unmount.undoes"],
        |bed| {
            let volume = bed.volume()?;
            let pod = bed.up(&volume, 1)?;
            if in_memory(bed, &pod.dir)? {
                return skip("the volume is in memory, which is not meant to keep anything");
            }
            let written = Written::of(&bed.id);
            written.write(bed, pod.dir.as_path())?;
            bed.down(&volume, 1)?;
            bed.unstage(&volume)?;
            let pod = bed.up(&volume, 1)?;
            written.read(bed, pod.dir.as_path(), "after unmount and mount, what was written before")
        },
    ),
];

/// Whether it is a file system that forgets when it goes.
pub(crate) fn in_memory(bed: &Bed<'_>, dir: &Dir) -> Result<bool, Stop> {
    Ok(bed.mounted(dir)?.is_some_and(|mounted| ["tmpfs", "ramfs"].contains(&mounted.fs_type.as_str())))
}

/// A mebibyte in a file of the volume, that is like no other.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    bytes: Vec<u8>,
}

impl Written {
    /// What is written by that word.
    pub(crate) fn of(seed: &str) -> Self {
        let seed: u64 = seed.bytes().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let words = (0..1u64 << 17).map(|n| (n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { bytes: words.flat_map(u64::to_le_bytes).collect() }
    }

    /// Writes it to the volume that is mounted at `dir`, in place of what was there.
    pub(crate) fn write(&self, bed: &Bed<'_>, dir: &Path) -> Verdict {
        bed.may_write()?;
        let (path, bytes) = (file(bed, dir), self.bytes.clone());
        let wrote = bed.reach("writing to the volume", move || {
            let mut file = File::create(path)?;
            file.write_all(&bytes)?;
            file.sync_all()
        })?;
        let Err(error) = wrote else { return Ok(()) };
        let kind = error.kind();
        if kind == ErrorKind::ReadOnlyFilesystem && could_be_written(dir)? {
            return fault(
                "nothing can be written, though `kubernetes.io/readwrite` is `rw` and what is mounted can be written elsewhere",
            );
        }
        // Exports that squash root, media that cannot be written: whose doing that is cannot be seen.
        if matches!(kind, ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) {
            return skip(format!("the volume cannot be written ({error}): describe one that root may write to"));
        }
        fault(format!("a mebibyte cannot be written: {error}"))
    }

    /// Whether it is there still; `what` says what it is.
    pub(crate) fn look(&self, bed: &Bed<'_>, dir: &Path, what: &str) -> Verdict {
        let path = file(bed, dir);
        let read = bed.reach("reading from the volume", move || {
            let mut bytes = Vec::new();
            File::open(&path)?.take(2 << 20).read_to_end(&mut bytes)?;
            io::Result::Ok(bytes)
        })?;
        match read {
            Ok(bytes) if bytes == self.bytes => Ok(()),
            Ok(bytes) => fault(format!("{what} is other bytes now ({} of them)", bytes.len())),
            Err(error) => fault(format!("{what} cannot be read: {error}")),
        }
    }

    /// The same, and takes the file away.
    pub(crate) fn read(&self, bed: &Bed<'_>, dir: &Path, what: &str) -> Verdict {
        let verdict = self.look(bed, dir, what);
        Self::remove(bed, dir)?;
        verdict
    }

    /// Takes the file away.
    pub(crate) fn remove(bed: &Bed<'_>, dir: &Path) -> Verdict {
        let path = file(bed, dir);
        bed.reach("removing a file of the volume", move || fs::remove_file(path)).map(drop)
    }
}

/// Whether the file system is mounted to be written somewhere, or lies on a device that can be written.
fn could_be_written(dir: &Path) -> Result<bool, Stop> {
    let Some(mounted) = table::at(dir)? else { return Ok(true) };
    let elsewhere = table::of_device(mounted.dev)?.iter().any(|other| !other.read_only);
    let device = Path::new(&mounted.source);
    Ok(elsewhere || device.starts_with("/dev") && block::is_read_only(device).is_ok_and(|is_read_only| !is_read_only))
}

fn file(bed: &Bed<'_>, dir: &Path) -> PathBuf {
    dir.join(format!(".flexvol-check-{}-data", bed.id))
}
