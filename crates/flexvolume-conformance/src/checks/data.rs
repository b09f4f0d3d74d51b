//! Bytes: what was written is read, and is still there when the volume comes again.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    bed::Bed,
    check::{Check, row},
    level::Severity::Must,
    stop::{Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "data.bytes",
        Must,
        "what is written to the volume is read from it",
        "contract: Call-outs",
        "look whether the volume is mounted to be written, and has room",
        &["mount.mounts"],
        |bed| {
            let volume = bed.volume()?;
            let pod = bed.up(&volume, 1)?;
            write(bed, pod.dir.as_path())?;
            read(bed, pod.dir.as_path(), "what was just written")
        },
    ),
    row(
        "data.kept",
        Must,
        "what was written is there after the volume was taken down and up again",
        "contract: Call-outs",
        "never format what holds a file system; unmount before the device is taken away",
        &["data.bytes", "unmount.undoes"],
        |bed| {
            let volume = bed.volume()?;
            let pod = bed.up(&volume, 1)?;
            if bed.mounted(&pod.dir)?.is_some_and(|mounted| ["tmpfs", "ramfs"].contains(&mounted.fs_type.as_str())) {
                return skip("the volume is in memory, which is not meant to keep anything");
            }
            write(bed, pod.dir.as_path())?;
            bed.down(&volume, 1)?;
            bed.unstage(&volume)?;
            let pod = bed.up(&volume, 1)?;
            read(bed, pod.dir.as_path(), "after unmount and mount, what was written before")
        },
    ),
];

fn file(bed: &Bed<'_>, dir: &Path) -> PathBuf {
    dir.join(format!(".flexvol-check-{}-data", bed.id))
}

/// A mebibyte that is like no other.
fn pattern(seed: &str) -> Vec<u8> {
    let seed: u64 = seed.bytes().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let words = (0..1u64 << 17).map(|n| (n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).collect()
}

pub(crate) fn write(bed: &Bed<'_>, dir: &Path) -> Verdict {
    bed.may_write()?;
    let (path, bytes) = (file(bed, dir), pattern(&bed.id));
    let wrote = bed.reach("writing to the volume", move || {
        let mut file = File::create(path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    })?;
    wrote.or_else(|error| fault(format!("a mebibyte cannot be written: {error}")))
}

/// Reads it, and takes the file away.
pub(crate) fn read(bed: &Bed<'_>, dir: &Path, what: &str) -> Verdict {
    let path = file(bed, dir);
    let read = bed.reach("reading from the volume", move || {
        let mut bytes = Vec::new();
        File::open(&path)?.read_to_end(&mut bytes)?;
        fs::remove_file(&path)?;
        io::Result::Ok(bytes)
    })?;
    match read {
        Ok(bytes) if bytes == pattern(&bed.id) => Ok(()),
        Ok(bytes) => fault(format!("{what} is other bytes now ({} of them)", bytes.len())),
        Err(error) => fault(format!("{what} cannot be read: {error}")),
    }
}
