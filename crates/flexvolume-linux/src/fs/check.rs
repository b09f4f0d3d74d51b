//! Checking a file system before it is mounted, and judging one that a dead call may have left.

use super::{
    device::Device,
    kind::FsType,
    tool::{BTRFS, E2FSCK, Nature, XFS_REPAIR},
};
use crate::{Error, ErrorKind, Result};

/// e2fsck's status: errors are left.
const LEFT: i32 = 4;

/// How much of a file system is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// What is needed: nothing beyond the superblock if it was unmounted properly.
    Needed,
    /// Everything; the program for it has to be there.
    Full,
}

/// Puts an unclean ext3 or ext4 in order before a writing mount; the answer is what a person should hear of it.
/// XFS and Btrfs recover by themselves at mount (their fsck programs do nothing, by design).
///
/// # Errors
/// `Corrupted` if errors are left that only a person may mend.
pub(super) fn repair(device: &Device, fs_type: FsType, depth: Depth) -> Result<Vec<String>> {
    match fs_type {
        FsType::Xfs | FsType::Btrfs => return Ok(Vec::new()),
        FsType::Ext3 | FsType::Ext4 => {}
    }
    let path = device.path().to_string_lossy();
    let args: &[&str] = match depth {
        Depth::Needed => &["-p", &path],
        Depth::Full => &["-f", "-p", &path],
    };
    let ended = match E2FSCK.run(&format!("check {path}"), args, Nature::Lasting, Some(device)) {
        Ok(ended) => ended,
        // Without the program the file system is mounted unchecked, as Kubernetes does; the kernel replays the journal.
        Err(error) if error.kind() == ErrorKind::Unsupported && depth == Depth::Needed => {
            return Ok(vec![format!("{error}; {}", error.hint().unwrap_or_default())]);
        }
        Err(error) => return Err(error),
    };
    match ended.code {
        Some(0) => Ok(Vec::new()),
        Some(1) => Ok(vec![format!("e2fsck mended {path}: {}", ended.words())]),
        Some(code) if code & LEFT != 0 => {
            Err(Error::new(ErrorKind::Corrupted, format!("{path} has errors that e2fsck does not mend unasked"))
                .with_cause(ended.words())
                .with_hint(advice(fs_type, &path)))
        }
        Some(code) => Ok(vec![format!("e2fsck of {path} ended with status {code}: {}", ended.words())]),
        None => Ok(vec![format!("e2fsck of {path} was ended by a signal")]),
    }
}

/// What a person can do about a file system that is broken.
pub(super) fn advice(fs_type: FsType, path: &str) -> String {
    let command = match fs_type {
        FsType::Ext3 | FsType::Ext4 => "e2fsck -f",
        FsType::Xfs => "xfs_repair",
        FsType::Btrfs => "btrfs check",
    };
    format!("save what you can, then run: {command} {path}")
}

/// Whether a file system that was never mounted is whole. Writes nothing to the device.
pub(super) fn is_clean(device: &Device, fs_type: FsType) -> Result<bool> {
    let path = device.path().to_string_lossy();
    let (tool, args): (_, &[&str]) = match fs_type {
        FsType::Ext3 | FsType::Ext4 => (E2FSCK, &["-n", "-f", &path]),
        FsType::Xfs => (XFS_REPAIR, &["-n", &path]),
        FsType::Btrfs => (BTRFS, &["check", "--readonly", &path]),
    };
    let purpose = format!("check {path}");
    match tool.run(&purpose, args, Nature::Lasting, Some(device))?.code {
        Some(code) => Ok(code == 0),
        None => Err(Error::new(ErrorKind::Io, format!("cannot {purpose}: {} was ended by a signal", tool.name))),
    }
}
