//! A place for a door that mounts to work in: one that the host trusts, swept of what a former run left behind.

use super::kernel;
use crate::machine;
use anyhow::{Context, Result, bail};
use std::fs::{self, DirBuilder, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// In a user namespace whoever is not mapped looks like this user.
const OVERFLOW: u32 = 65534;

/// The folder of the demo. Sweeps it at its end too, so that a failed demo leaves nothing behind.
pub(crate) struct Scratch {
    pub(crate) dir: PathBuf,
}

impl Scratch {
    /// Opens the given folder, or the first of our usual ones that the host would trust.
    pub(crate) fn open(given: Option<&Path>) -> Result<Scratch> {
        let dir = match given {
            Some(dir) => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(dir)
                    .with_context(|| format!("cannot make {}", dir.display()))?;
                dir.canonicalize().with_context(|| format!("cannot find {}", dir.display()))?
            }
            None => usual("demo")?,
        };
        if given.is_some() && !is_ours(&dir)? {
            bail!("{} is neither empty nor the folder of a former demo; name another with --scratch", dir.display());
        }
        let scratch = Scratch { dir };
        if scratch.sweep()? {
            println!("Took away what a former, interrupted demo had left in {}.", scratch.dir.display());
        }
        fs::write(scratch.dir.join(MARK), "This folder belongs to `cargo xtask demo` and is emptied by it.\n")
            .with_context(|| format!("cannot write below {}", scratch.dir.display()))?;
        Ok(scratch)
    }

    /// Makes a folder in here that the host trusts.
    pub(crate) fn make(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        make_dir(&dir)?;
        Ok(dir)
    }

    /// Unmounts, detaches and removes all that is in here; says whether there was anything.
    pub(crate) fn sweep(&self) -> Result<bool> {
        kernel::sweep(&self.dir)?;
        let mut any = false;
        for entry in fs::read_dir(&self.dir).with_context(|| format!("cannot list {}", self.dir.display()))? {
            let path = entry.with_context(|| format!("cannot list {}", self.dir.display()))?.path();
            any = true;
            // Nothing is mounted below: the sweep has looked.
            let removed =
                if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(any)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.sweep() {
            crate::say::error(&error.context("the demo could not clean up after itself"));
        }
    }
}

/// The file that says whose folder this is; without it nothing in a folder is removed.
const MARK: &str = ".flexvol-demo";

fn is_ours(dir: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    Ok(entries.next().is_none() || dir.join(MARK).exists())
}

/// Below the target directory, in a folder that is named after the door, unless one could write there who is not us or root: then in the folder for temporary files.
pub(crate) fn usual(door: &str) -> Result<PathBuf> {
    let uid = machine::euid();
    let in_target = crate::sh::target_dir()?.join(door).join(uid.to_string());
    if DirBuilder::new().recursive(true).mode(0o755).create(&in_target).is_ok() {
        let dir = in_target.canonicalize().with_context(|| format!("cannot find {}", in_target.display()))?;
        match distrust(&dir, uid)? {
            None if is_ours(&dir)? => return Ok(dir),
            None => bail!(
                "{} holds files that are not the demo's; empty it, or name another place with --scratch",
                dir.display()
            ),
            Some(why) => println!("{why}, so the host would not trust drivers below it; the demo works elsewhere."),
        }
    }
    let dir = std::env::temp_dir().join(format!("flexvol-{door}-{uid}"));
    make_dir(&dir)?;
    let dir = dir.canonicalize().with_context(|| format!("cannot find {}", dir.display()))?;
    match distrust(&dir, uid)? {
        None if is_ours(&dir)? => Ok(dir),
        None => bail!(
            "{} holds files that are not the demo's; remove it, or name another place with --scratch",
            dir.display()
        ),
        Some(why) => bail!("{why}; name a folder of your own with --scratch"),
    }
}

/// Makes a folder that only its owner may write, whatever the umask; one that is there must be a real folder of ours.
fn make_dir(dir: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o755).create(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
            if found.is_dir() && found.uid() == machine::euid() {
                return Ok(());
            }
            bail!("{} is there already and is not a folder of yours", dir.display())
        }
        Err(error) => Err(error).with_context(|| format!("cannot make {}", dir.display())),
    }
}

/// Why the host would not trust a driver below this folder, if so: somebody else could write in it or in one above.
fn distrust(dir: &Path, uid: u32) -> Result<Option<String>> {
    for dir in dir.ancestors() {
        let found = fs::metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
        if let Some(why) = distrusted(&found, uid) {
            return Ok(Some(format!("{} {why}", dir.display())));
        }
    }
    Ok(None)
}

fn distrusted(found: &Metadata, uid: u32) -> Option<&'static str> {
    const STICKY: u32 = 0o1000;
    const OTHERS_WRITE: u32 = 0o022;
    let by_root = found.uid() == 0 || (found.uid() == OVERFLOW && in_user_namespace());
    if !by_root && found.uid() != uid {
        Some("belongs to another user")
    } else if found.mode() & OTHERS_WRITE != 0 && !(by_root && found.mode() & STICKY != 0) {
        Some("can be written by others than its owner")
    } else {
        None
    }
}

/// Outside of any, the whole range of users is mapped onto itself.
fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().ne(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_that_others_can_write_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        let uid = machine::euid();
        mode(0o755);
        assert_eq!(distrusted(&fs::metadata(dir.path()).unwrap(), uid), None);
        for bad in [0o775, 0o757] {
            mode(bad);
            assert!(distrusted(&fs::metadata(dir.path()).unwrap(), uid).is_some(), "{bad:o}");
        }
    }

    #[test]
    fn a_folder_of_somebody_else_is_never_emptied() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
        assert!(Scratch::open(Some(dir.path())).is_err());
        assert!(dir.path().join("thesis.txt").exists());
    }

    #[test]
    fn what_a_former_demo_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let first = Scratch::open(Some(dir.path())).unwrap();
        first.make("root").unwrap();
        std::mem::forget(first); // it was interrupted
        let again = Scratch::open(Some(dir.path())).unwrap();
        assert!(!again.dir.join("root").exists());
    }
}
