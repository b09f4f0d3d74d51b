//! A folder for one test that leaves nothing behind: no mount, no loop device, no file.

mod loops;

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

use crate::{hung, mounts};

pub use loops::BoundLoop;

/// A private folder, owned by us and writable by nobody else, with a root and a plugin directory in it.
///
/// Dropped, it lazily unmounts all mounts beneath it, detaches loop devices whose backing file lies beneath it or whose
/// name (`lo_file_name`) holds [`Sandbox::tag`], then removes the folder; with a mount left, it removes nothing.
#[derive(Debug)]
pub struct Sandbox {
    path: PathBuf,
    tag: String,
}

impl Sandbox {
    /// Makes the folder below the system's temporary one.
    ///
    /// # Errors
    /// It cannot be made there.
    pub fn new() -> io::Result<Sandbox> {
        let path = tempfile::Builder::new().prefix("flexvol-").tempdir()?.keep();
        let path = fs::canonicalize(&path).map_err(|e| about(&path, &e))?;
        let tag = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(|e| about(&path, &e))?;
        let sandbox = Sandbox { path, tag };
        sandbox.dir("root")?;
        sandbox.dir("plugins")?;
        Ok(sandbox)
    }

    /// The folder itself, without links in its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For `--root`.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    /// For `--plugin-dir`.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        self.path.join("plugins")
    }

    /// A word that no other sandbox has: its folder's name.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// A folder in it, made if absent, with mode 0755 whatever the umask.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn dir(&self, relative: &str) -> io::Result<PathBuf> {
        let mut dir = self.path.clone();
        for part in Path::new(relative) {
            dir.push(part);
            if !dir.exists() {
                fs::create_dir(&dir).map_err(|e| about(&dir, &e))?;
                fs::set_permissions(&dir, Permissions::from_mode(0o755)).map_err(|e| about(&dir, &e))?;
            }
        }
        Ok(dir)
    }

    /// The mounts beneath it, in the order in which they can be taken away.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn mounts(&self) -> io::Result<Vec<mounts::Mount>> {
        mounts::beneath(&self.path)
    }

    /// The loop devices that are its own.
    ///
    /// # Errors
    /// `/sys/block` cannot be read.
    pub fn loops(&self) -> io::Result<Vec<BoundLoop>> {
        let mut all = loops::bound()?;
        all.retain(|it| it.backing.starts_with(&self.path) || it.name.contains(&self.tag));
        Ok(all)
    }

    /// Takes mounts and loop devices away and keeps the files: as after a reboot.
    ///
    /// # Errors
    /// One of them would not go.
    pub fn unmount_all(&self) -> io::Result<()> {
        for mount in self.mounts()? {
            if mount.is_fuse() {
                // Its server may never answer again. That it is gone already is as good.
                let _ = hung::abort_at(&mount.point);
            }
            // Whether it went is judged below, by the mount table.
            let _ = unmount(&mount.point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
        if let Some(left) = self.mounts()?.first() {
            return Err(about(&left.point, &"still mounted"));
        }
        for it in self.loops()? {
            it.detach()?;
        }
        Ok(())
    }

    fn clean(&self) -> io::Result<()> {
        self.unmount_all()?;
        let device = fs::symlink_metadata(&self.path).map_err(|e| about(&self.path, &e))?.dev();
        remove(&self.path, device)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Err(error) = self.clean() {
            let _ = writeln!(io::stderr(), "cannot clean up: {error}");
        }
    }
}

/// Removes a tree on one device, following no link.
fn remove(path: &Path, device: u64) -> io::Result<()> {
    let meta = fs::symlink_metadata(path).map_err(|e| about(path, &e))?;
    if meta.dev() != device {
        return Err(about(path, &"another file system: not removed"));
    }
    if !meta.is_dir() {
        return fs::remove_file(path).map_err(|e| about(path, &e));
    }
    for entry in fs::read_dir(path).map_err(|e| about(path, &e))? {
        remove(&entry?.path(), device)?;
    }
    fs::remove_dir(path).map_err(|e| about(path, &e))
}

fn about(path: &Path, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("sandbox: {}: {why}", path.display()))
}
