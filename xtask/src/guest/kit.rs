//! The executables that a guest finds in `/vm/bin`: all of this build, and what a suite adds.

use crate::sh;
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The name below `/vm` of the folder where the guest finds them.
pub(super) const DIR: &str = "bin";

/// Files of the host, each with its name in the guest.
#[derive(Clone, Default)]
pub(crate) struct Kit(Vec<(PathBuf, String)>);

impl Kit {
    /// Every executable beside this one, and this one: it is the agent.
    pub(crate) fn of_build() -> Result<Kit> {
        Self::of(&sh::bin_dir()?)
    }

    /// Every executable in a folder, and this one.
    pub(crate) fn of(dir: &Path) -> Result<Kit> {
        let mut kit = Kit::default();
        for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let meta = entry.metadata().with_context(|| format!("cannot look at {}", entry.path().display()))?;
            let is_program = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
            if is_program && !name.contains('.') {
                kit.0.push((entry.path(), name));
            }
        }
        kit.add(&sh::bin_dir()?.join("xtask"), "xtask");
        Ok(kit)
    }

    /// Also what says there why an executable could not be built, if it could not.
    pub(crate) fn add_reason(&mut self, name: &str) -> Result<()> {
        let file = sh::bin_dir()?.join(name);
        if file.is_file() {
            self.add(&file, name);
        }
        Ok(())
    }

    /// Puts all into a folder that is empty: as further names of the same files where it can be. The guest sees them read-only.
    pub(super) fn fill(&self, dir: &Path) -> Result<()> {
        for (file, name) in &self.0 {
            let to = dir.join(name);
            let put = match fs::hard_link(file, &to) {
                // A name that is there may be a file of the host's, and a copy would write into it.
                Err(error) if matches!(error.kind(), ErrorKind::CrossesDevices | ErrorKind::PermissionDenied) => {
                    fs::copy(file, &to).map(drop)
                }
                linked => linked,
            };
            put.with_context(|| format!("cannot put {} at {}", file.display(), to.display()))?;
        }
        Ok(())
    }

    /// One more, in the place of another of that name.
    pub(crate) fn add(&mut self, file: &Path, name: &str) {
        self.0.retain(|(_, other)| other != name);
        self.0.push((file.to_owned(), name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_of_one_name_the_later_is_there_and_neither_is_written_to() {
        let (host, guest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut kit = Kit::default();
        for name in ["one", "two"] {
            fs::write(host.path().join(name), name).unwrap();
            kit.add(&host.path().join(name), "it");
        }
        kit.fill(guest.path()).unwrap();
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(guest.path().join("it")), "two");
        kit.add(&host.path().join("one"), "it");
        assert!(kit.fill(guest.path()).is_err(), "there is one already");
        assert_eq!((read(host.path().join("one")), read(host.path().join("two"))), ("one".into(), "two".into()));
    }
}
