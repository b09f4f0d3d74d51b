//! Finding a driver by name in the plugin directory, narrowly: a regular file that only root or we could have written.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use flexvolume_linux::beneath::{Trust, trusted_chain};
use flexvolume_protocol::DriverName;

use crate::error::{Error, Kind, Result};

/// A driver's file as it was found. A change of any of these means another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The path it is run by: never resolved, since drivers look at their own name and at files beside them.
    pub exe: PathBuf,
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

/// Finds `name` below `dir`, or says where it was looked for and which names are near.
pub fn find(dir: &Path, name: &DriverName, trust: &Trust) -> Result<Found> {
    let folder = dir.join(name.dir());
    let exe = folder.join(name.executable());
    // The folder itself may not be a link: a scan would not follow it either.
    let missing = match fs::symlink_metadata(&folder) {
        Ok(meta) if meta.is_dir() => None,
        Ok(_) => Some(format!("{} is not a directory", folder.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(format!("there is no {}", folder.display())),
        Err(error) => Some(format!("{}: {error}", folder.display())),
    };
    if let Some(why) = missing {
        return Err(unknown(dir, name).because(why));
    }
    let meta = match fs::metadata(&exe) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(unknown(dir, name).because(format!("there is no {}", exe.display())));
        }
        Err(error) => {
            let what = format!("cannot look at the driver {}", exe.display());
            return Err(Error::new(Kind::System, what).because(error));
        }
    };
    let refuse = |why: &str, hint: String| {
        Err(Error::new(Kind::Refused, format!("driver {name} cannot be run: {} {why}", exe.display())).hint(hint))
    };
    if meta.is_dir() {
        return refuse("is a directory", format!("put the executable there: flexvol install FILE --as {name}"));
    }
    if !meta.is_file() || meta.file_type().is_fifo() {
        return refuse("is not a regular file", format!("put the executable there: flexvol install FILE --as {name}"));
    }
    if meta.mode() & 0o111 == 0 {
        return refuse("has no run bit", format!("chmod 0755 {}", exe.display()));
    }
    trusted_chain(&exe, trust)?;
    Ok(Found { exe, device: meta.dev(), inode: meta.ino(), changed: (meta.ctime(), meta.ctime_nsec()) })
}

/// The names of all drivers below `dir`, whether they work or not; what cannot be a driver's name is passed over.
pub fn names(dir: &Path) -> Result<Vec<DriverName>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(
                Error::new(Kind::System, format!("cannot list the plugin directory {}", dir.display())).because(error)
            );
        }
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let file_name = entry.file_name();
            let name = file_name.to_str()?;
            let fits = entry.file_type().ok()?.is_dir() && !name.starts_with('.');
            fits.then(|| DriverName::from_dir(name).ok()).flatten()
        })
        .collect();
    names.sort();
    Ok(names)
}

fn unknown(dir: &Path, name: &DriverName) -> Error {
    let all = names(dir).unwrap_or_default();
    let near: Vec<_> =
        all.iter().filter(|other| is_near(other.as_str(), name.as_str())).map(DriverName::as_str).collect();
    if all.contains(name) {
        // Its folder is there without it.
        return Error::new(Kind::NotFound, format!("no driver {name} in {}", dir.display()))
            .hint(format!("put the executable there: flexvol install FILE --as {name}"));
    }
    let hint = match (near.is_empty(), all.is_empty()) {
        (false, _) => format!("did you mean {}?", near.join(" or ")),
        (true, true) => format!("{} holds no driver; put one there: flexvol install FILE --as {name}", dir.display()),
        (true, false) => format!(
            "drivers there: {}; install it: flexvol install FILE --as {name}",
            all.iter().map(DriverName::as_str).collect::<Vec<_>>().join(", ")
        ),
    };
    Error::new(Kind::NotFound, format!("no driver {name} in {}", dir.display())).hint(hint)
}

/// Alike: the same executable name under another vendor, or at most two letters apart.
fn is_near(a: &str, b: &str) -> bool {
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_lowercase();
    last(a) == last(b) || distance(&a.to_lowercase(), &b.to_lowercase()) <= 2
}

fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let next = (corner + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names() {
        for (a, b) in [("foo/cifs", "bar/cifs"), ("foo/lvm", "foo/lmv"), ("example.com/nfs", "example.com/Nfs")] {
            assert!(is_near(a, b), "{a} {b}");
        }
        assert!(!is_near("foo/lvm", "foo/cifs"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
