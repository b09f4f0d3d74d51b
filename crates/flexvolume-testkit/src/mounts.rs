//! A small own reading of the mount table, so that what cleans up after the product's code does not rely on it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount of the calling thread's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub point: PathBuf,
    /// The device number of its file system: major, minor.
    pub device: (u32, u32),
    /// For example `ext4`, `fuse.hung`.
    pub fs_type: String,
    /// What was mounted, as the mount table says it.
    pub source: String,
}

impl Mount {
    /// Whether a process answers for this file system.
    #[must_use]
    pub fn is_fuse(&self) -> bool {
        self.fs_type == "fuse" || self.fs_type == "fuseblk" || self.fs_type.starts_with("fuse.")
    }
}

/// Every mount, oldest first; a mount lies below those before it at the same point.
///
/// # Errors
/// `/proc` cannot be read.
pub fn all() -> io::Result<Vec<Mount>> {
    // A thread may have a namespace of its own.
    let table = fs::read("/proc/thread-self/mountinfo")?;
    Ok(table.split(|b| *b == b'\n').filter_map(parse).collect())
}

/// The mounts at or below a path, deepest first: the order in which they can be taken away.
///
/// # Errors
/// `/proc` cannot be read.
pub fn beneath(path: &Path) -> io::Result<Vec<Mount>> {
    let mut found: Vec<Mount> = all()?.into_iter().filter(|m| m.point.starts_with(path)).collect();
    found.sort_by_key(|m| std::cmp::Reverse(m.point.components().count()));
    Ok(found)
}

fn parse(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|f| *f == b"-")?;
    let (major, minor) = str::from_utf8(fields.get(2)?).ok()?.split_once(':')?;
    Some(Mount {
        point: OsString::from_vec(unescape(fields.get(4)?)).into(),
        device: (major.parse().ok()?, minor.parse().ok()?),
        fs_type: String::from_utf8_lossy(fields.get(dash + 1)?).into_owned(),
        source: String::from_utf8_lossy(&unescape(fields.get(dash + 2)?)).into_owned(),
    })
}

/// Blank, tab, newline, backslash and `#` stand as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|d| u8::from_str_radix(str::from_utf8(d).ok()?, 8).ok());
        match (first, code) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &after[3..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_blank_and_optional_fields() {
        let line = b"36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 shared:2 - fuse.hung /dev/x\\134y rw";
        let mount = Mount {
            point: "/mnt/a b".into(),
            device: (98, 0),
            fs_type: "fuse.hung".to_owned(),
            source: "/dev/x\\y".to_owned(),
        };
        assert_eq!(parse(line), Some(mount));
        assert_eq!(parse(b""), None);
    }
}
