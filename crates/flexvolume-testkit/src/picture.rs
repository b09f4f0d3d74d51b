//! What a directory and all in it is like, so that a test can insist that nothing there was made, changed, given away, mounted or
//! removed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::mounts;

/// A picture of a directory: names, owners, modes, sizes, changes, and what is mounted.
#[derive(Debug, PartialEq, Eq)]
pub struct Picture {
    entries: BTreeMap<PathBuf, Entry>,
    mounted: Vec<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    changed: (i64, i64),
}

impl Picture {
    /// Takes it; links are not followed.
    ///
    /// # Errors
    /// Something there cannot be looked at, or vanished meanwhile.
    pub fn of(dir: &Path) -> io::Result<Picture> {
        Picture::without(dir, &[])
    }

    /// Takes it of all but these directories, which others may change.
    ///
    /// # Errors
    /// As [`Picture::of`].
    pub fn without(dir: &Path, left_out: &[PathBuf]) -> io::Result<Picture> {
        let mut entries = BTreeMap::new();
        look(dir, left_out, &mut entries)?;
        let mounted = mounts::beneath(dir)?.into_iter().map(|mount| mount.point);
        let mounted = mounted.filter(|point| !left_out.iter().any(|out| point.starts_with(out))).collect();
        Ok(Picture { entries, mounted })
    }
}

fn look(at: &Path, left_out: &[PathBuf], entries: &mut BTreeMap<PathBuf, Entry>) -> io::Result<()> {
    if left_out.iter().any(|out| out == at) {
        return Ok(());
    }
    let meta = fs::symlink_metadata(at)?;
    let (owner, changed) = ((meta.uid(), meta.gid()), (meta.ctime(), meta.ctime_nsec()));
    let entry = Entry { inode: meta.ino(), mode: meta.mode(), owner, size: meta.size(), changed };
    entries.insert(at.to_owned(), entry);
    if meta.is_dir() {
        for entry in fs::read_dir(at)? {
            look(&entry?.path(), left_out, entries)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_change_shows() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("deep/er")).unwrap();
        fs::write(at("deep/er/file"), "content").unwrap();
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(at("deep/er/file"), "CONTENT").unwrap(),
            &|| fs::write(at("deep/new"), "").unwrap(),
            &|| fs::remove_file(at("deep/new")).unwrap(),
            &|| fs::set_permissions(at("deep/er"), fs::Permissions::from_mode(0o711)).unwrap(),
            &|| std::os::unix::fs::symlink("/", at("deep/link")).unwrap(),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let (before, other) =
                (Picture::of(dir.path()).unwrap(), Picture::without(dir.path(), &[at("deep")]).unwrap());
            assert_eq!(Picture::of(dir.path()).unwrap(), before);
            // The clock of a file system ticks every few milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change();
            assert_ne!(Picture::of(dir.path()).unwrap(), before, "change {n}");
            assert_eq!(Picture::without(dir.path(), &[at("deep")]).unwrap(), other, "change {n} was left out");
        }
    }
}
