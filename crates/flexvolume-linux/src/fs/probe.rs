//! What a device holds, by two independent probes: our own reading of superblocks, and blkid.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    device::{Device, ENDS},
    signature::{Signature, Window, signatures},
    tool::{BLKID, Nature},
};
use crate::{Error, ErrorKind, Result};

/// What the quick look reads at either end; all places where our own probe looks lie within.
const GLANCE: u64 = 128 << 10;

/// What a device holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Both probes are silent and the first and last MiB hold nothing but zeroes.
    Empty,
    /// One file system, on which both probes agree.
    Filesystem {
        /// Its type as blkid names it; may be one that we do not make.
        fs_type: String,
        /// Its UUID in lower case, empty if it has none of the usual form.
        uuid: String,
        /// Its mkfs has not finished.
        in_progress: bool,
    },
    /// Both probes are silent, yet there are bytes.
    Unsigned {
        /// Offset of the first byte that is not zero.
        at: u64,
    },
    /// Anything else: a partition table, LUKS, LVM, RAID, swap, several signatures, probes that disagree.
    Unknown {
        /// What it seems to be, for a person.
        why: String,
    },
}

/// Looks at `device` with both probes and scans its ends. Changes nothing, takes no lock.
///
/// # Errors
/// `Io` if the device cannot be read, `Invalid` if it is no block device, `Unsupported` if blkid is not installed.
pub fn content(device: &Path) -> Result<Content> {
    full(&Device::open(device)?)
}

/// The in-process half, for the many times when nothing will be formatted.
#[derive(Debug)]
pub(super) enum Glance {
    /// Nothing known, and what was read is zero.
    Nothing,
    /// Exactly one signature: a file system whose mkfs has finished.
    Whole { name: &'static str, uuid: String },
    /// Anything that deserves both probes.
    Doubt,
}

/// Reads a little of both ends and judges by our own probe alone.
pub(super) fn glance(device: &Device) -> Result<Glance> {
    let (found, zero) = own(device)?;
    Ok(match found.as_slice() {
        [] if zero => Glance::Nothing,
        [Signature { name, uuid, in_progress: false, filesystem: true }] => Glance::Whole { name, uuid: uuid.clone() },
        _ => Glance::Doubt,
    })
}

fn own(device: &Device) -> Result<(Vec<Signature>, bool)> {
    let head = device.read(0, GLANCE)?;
    let at = device.size().saturating_sub(GLANCE);
    let tail = device.read(at, GLANCE)?;
    let found = signatures(Window { at: 0, bytes: &head }, Window { at, bytes: &tail }, device.size());
    Ok((found, is_zero(&head) && is_zero(&tail)))
}

/// Both probes and, where they are silent, the ends.
pub(super) fn full(device: &Device) -> Result<Content> {
    let (own, _) = own(device)?;
    let blkid = blkid(device)?;
    Ok(match agree(&own, &blkid) {
        Some(content) => content,
        None => match first_byte(device)? {
            Some(at) => Content::Unsigned { at },
            None => Content::Empty,
        },
    })
}

/// What blkid said, key by key.
type Said = BTreeMap<String, String>;

fn blkid(device: &Device) -> Result<Said> {
    let path = device.path().to_string_lossy();
    let purpose = format!("probe {path}");
    let ended = BLKID.run(&purpose, &["-p", "-o", "export", &path], Nature::Brief, None)?;
    match ended.code {
        Some(0) => Ok(export(&ended.stdout)),
        // Nothing found. That the device can be read at all was seen by our own probe.
        Some(2) => Ok(Said::new()),
        // Several signatures at once.
        Some(8) => Ok(Said::from([("AMBIVALENT".to_owned(), ended.words())])),
        _ => Err(Error::new(ErrorKind::Io, format!("cannot {purpose}: blkid failed")).with_cause(ended.words())),
    }
}

fn export(text: &str) -> Said {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| *key != "DEVNAME")
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Joins both answers; `None` if both are silent.
fn agree(own: &[Signature], blkid: &Said) -> Option<Content> {
    let said = |key: &str| blkid.get(key).map(String::as_str).unwrap_or_default();
    Some(match own {
        [] if blkid.is_empty() => return None,
        [one] if one.filesystem => {
            let uuid = if one.uuid.is_empty() { said("UUID").to_lowercase() } else { one.uuid.clone() };
            let same = said("TYPE") == one.name && said("UUID").to_lowercase() == uuid && said("PTTYPE").is_empty();
            // blkid does not know the magic that mkfs.btrfs works under.
            if same || one.in_progress && blkid.is_empty() {
                Content::Filesystem { fs_type: one.name.to_owned(), uuid, in_progress: one.in_progress }
            } else {
                Content::Unknown { why: describe(own, blkid) }
            }
        }
        _ => Content::Unknown { why: describe(own, blkid) },
    })
}

fn describe(own: &[Signature], blkid: &Said) -> String {
    let ours: Vec<&str> = own.iter().map(|one| one.name).collect();
    let theirs: Vec<String> = ["AMBIVALENT", "TYPE", "PTTYPE", "UUID"]
        .iter()
        .filter_map(|key| Some(format!("{key}={}", blkid.get(*key)?.escape_debug())))
        .collect();
    let or_nothing = |text: String| if text.is_empty() { "nothing".to_owned() } else { text };
    format!("our probe sees {}, blkid sees {}", or_nothing(ours.join(" and ")), or_nothing(theirs.join(" ")))
}

/// Offset of the first byte within the first and last MiB that is not zero.
fn first_byte(device: &Device) -> Result<Option<u64>> {
    for at in [0, device.size().saturating_sub(ENDS)] {
        let bytes = device.read(at, ENDS)?;
        if !is_zero(&bytes) {
            let within = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
            return Ok(Some(at + within as u64));
        }
    }
    Ok(None)
}

/// Whether the last MiB from `from` on to the end is zero: for a device that grew since it was proven empty.
pub(super) fn zero_from(device: &Device, from: u64) -> Result<bool> {
    let at = from.max(device.size().saturating_sub(ENDS));
    Ok(is_zero(&device.read(at, ENDS)?))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "ff09a88f-8013-4582-a3f4-26ccfce2b22d";

    fn fs(name: &'static str, in_progress: bool) -> Signature {
        Signature { name, uuid: ID.to_owned(), in_progress, filesystem: true }
    }

    fn said(pairs: &[(&str, &str)]) -> Said {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn is_unknown(content: Option<Content>) -> bool {
        matches!(content, Some(Content::Unknown { .. }))
    }

    #[test]
    fn only_two_equal_answers_make_a_file_system() {
        let xfs = said(&[("TYPE", "xfs"), ("UUID", &ID.to_uppercase())]);
        let whole = Content::Filesystem { fs_type: "xfs".into(), uuid: ID.into(), in_progress: false };
        assert_eq!(agree(&[fs("xfs", false)], &xfs), Some(whole));
        assert!(is_unknown(agree(&[fs("ext4", false)], &xfs)));
        assert!(is_unknown(agree(&[fs("xfs", false)], &Said::new())));
        assert!(is_unknown(agree(&[], &xfs)));
        assert!(is_unknown(agree(&[fs("xfs", false), fs("ext4", false)], &xfs)));
        assert!(is_unknown(agree(&[fs("xfs", false)], &said(&[("TYPE", "xfs"), ("UUID", "other")]))));
        assert!(is_unknown(agree(&[], &said(&[("PTTYPE", "gpt")]))));
        assert!(is_unknown(agree(&[], &said(&[("AMBIVALENT", "two")]))));
        assert_eq!(agree(&[], &Said::new()), None);
        let half = Content::Filesystem { fs_type: "btrfs".into(), uuid: ID.into(), in_progress: true };
        assert_eq!(agree(&[fs("btrfs", true)], &Said::new()), Some(half));
    }

    #[test]
    fn export_is_read_by_key() {
        let read = export("DEVNAME=/dev/loop0\nUUID=x=y\nTYPE=ext4\nrubbish\n");
        assert_eq!(read, said(&[("UUID", "x=y"), ("TYPE", "ext4")]));
    }
}
