//! The kernel's own view: which mounts and loop devices lie below a folder, asked without any code of the product.

use crate::sh;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One mount: the number the kernel gave it, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mount {
    pub(super) id: u64,
    pub(super) point: PathBuf,
}

/// A loop device and the file behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    pub(super) device: PathBuf,
    pub(super) file: PathBuf,
}

/// Every mount at or below `dir`, in the order they were made.
pub(super) fn mounts(dir: &Path) -> Result<Vec<Mount>> {
    let table = std::fs::read("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    Ok(parse(&table).into_iter().filter(|mount| mount.point.starts_with(dir)).collect())
}

fn parse(table: &[u8]) -> Vec<Mount> {
    let lines = table.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
            Some(Mount { id, point: unescaped(fields.nth(3)?) })
        })
        .collect()
}

/// The kernel writes a blank in a path as `\040`, and tab, line feed and backslash likewise.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut out = Vec::new();
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (byte, octal) {
            (b'\\', Some(real)) => {
                out.push(real);
                rest = &after[3..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// Every loop device whose file lies below `dir`.
pub(super) fn loops(dir: &Path) -> Result<Vec<Loop>> {
    let block = Path::new("/sys/block");
    let entries = match std::fs::read_dir(block) {
        Ok(entries) => entries,
        // A bare container has none.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("cannot list /sys/block"),
    };
    let mut loops = Vec::new();
    for entry in entries.flatten() {
        // A device without a file has no such entry; nor has one that was detached this very moment.
        if let Ok(file) = std::fs::read_to_string(entry.path().join("loop/backing_file")) {
            let file = file.trim_end_matches('\n');
            let file = PathBuf::from(file.strip_suffix(" (deleted)").unwrap_or(file));
            if file.starts_with(dir) {
                loops.push(Loop { device: Path::new("/dev").join(entry.file_name()), file });
            }
        }
    }
    loops.sort_by(|a, b| a.device.cmp(&b.device));
    Ok(loops)
}

/// Takes away whatever is mounted or attached below `dir`: what a demo leaves that was interrupted.
pub(super) fn sweep(dir: &Path) -> Result<()> {
    // The latest first: it may lie on an earlier one.
    for mount in mounts(dir)?.iter().rev() {
        let umount = |how: &[&str]| sh::output(Command::new("umount").args(how).arg(&mount.point));
        if umount(&[]).is_err() {
            umount(&["--lazy"]).with_context(|| format!("cannot unmount {}", mount.point.display()))?;
        }
    }
    for device in loops(dir)? {
        sh::output(Command::new("losetup").arg("--detach").arg(&device.device))
            .with_context(|| format!("cannot detach {}", device.device.display()))?;
    }
    // A device that was busy a moment ago is let go by the kernel itself once it can be.
    for _ in 0..50 {
        if mounts(dir)?.is_empty() && loops(dir)?.is_empty() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    bail!("{} still holds mounts or loop devices: {:?} {:?}", dir.display(), mounts(dir)?, loops(dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read_with_its_escapes() {
        let table = b"36 35 98:0 /m /mnt/a\\040b\\134c rw,noatime master:1 - ext4 /dev/x rw\n37 36 0:1 / / rw - tmpfs none rw\nodd\n";
        let mounts = parse(table);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0], Mount { id: 36, point: PathBuf::from("/mnt/a b\\c") });
        assert_eq!(mounts[1].point, Path::new("/"));
    }

    #[test]
    fn only_what_lies_below_is_seen() {
        assert!(!mounts(Path::new("/")).unwrap().is_empty());
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(mounts(empty.path()).unwrap(), []);
        assert_eq!(loops(empty.path()).unwrap(), []);
    }
}
