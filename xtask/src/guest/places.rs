//! The folders of one machine: where its sockets lie, what it writes aside, and what it shares. They go when it does.

use super::kit::{self, Kit};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The first part of the names of folders with sockets.
const SOCKETS: &str = "flexvol-guest-";

/// The folders.
pub(super) struct Places {
    /// Below the system's temporary folder, for a socket's path has but a hundred bytes.
    pub(super) sockets: PathBuf,
    /// Below the target folder, on the disk that has room.
    pub(super) scratch: PathBuf,
    pub(super) share: PathBuf,
    /// The executables.
    pub(super) kit: PathBuf,
}

impl Places {
    /// Makes them; the shared folder is one of our own if none is given.
    pub(super) fn make(runs: &Path, kit: &Kit, share: Option<&Path>) -> Result<Places> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let scratch = runs.join(&id);
        let sockets = std::env::temp_dir().join(format!("{SOCKETS}{id}"));
        let mut places = Places { sockets, share: scratch.join("vm"), kit: scratch.join("kit"), scratch };
        fs::create_dir(&places.sockets).with_context(|| format!("cannot make {}", places.sockets.display()))?;
        for dir in [&places.share, &places.kit] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        if let Some(share) = share {
            places.share = share.canonicalize().with_context(|| format!("cannot find {}", share.display()))?;
        }
        kit.fill(&places.kit)?;
        Ok(places)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        // Nothing is mounted in any of them: the guest's mounts are its own. What stays is swept by a later door.
        let _ = fs::remove_dir_all(&self.sockets);
        let _ = fs::remove_dir_all(&self.scratch);
        // The guest has made itself a place for the executables there, in a folder that may be somebody's.
        let _ = fs::remove_dir(self.share.join(kit::DIR));
    }
}

/// Removes what doors that were killed have left.
pub(super) fn sweep(runs: &Path) {
    let list = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().collect::<Vec<_>>();
    for entry in list(&std::env::temp_dir()) {
        if entry.file_name().to_string_lossy().strip_prefix(SOCKETS).is_some_and(is_dead) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    for entry in list(runs) {
        if is_dead(&entry.file_name().to_string_lossy()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Has the process ended whose number the name begins with?
fn is_dead(name: &str) -> bool {
    let pid = name.split('-').next().unwrap_or_default();
    !pid.is_empty() && !Path::new("/proc").join(pid).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_its_executables_and_all_but_what_is_given_goes() {
        let (runs, given) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut kit = Kit::default();
        fs::write(runs.path().join("tool"), "x").unwrap();
        kit.add(&runs.path().join("tool"), "it");
        for share in [None, Some(given.path())] {
            let places = Places::make(runs.path(), &kit, share).unwrap();
            let (sockets, scratch) = (places.sockets.clone(), places.scratch.clone());
            assert!(sockets.is_dir() && places.share.is_dir() && places.kit.join("it").is_file());
            // As the guest does.
            fs::create_dir(places.share.join(kit::DIR)).unwrap();
            fs::write(places.share.join("result"), "x").unwrap();
            drop(places);
            assert!(!sockets.exists() && !scratch.exists());
        }
        let left: Vec<_> = fs::read_dir(given.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["result"]);
        assert!(Places::make(runs.path(), &kit, Some(&given.path().join("no"))).is_err());
    }

    #[test]
    fn what_dead_doors_left_is_swept_and_no_more() {
        let runs = tempfile::tempdir().unwrap();
        let living = format!("{}-0", std::process::id());
        // No process has this number: it is more than the kernel gives out.
        for name in ["4194999-1", &living] {
            fs::create_dir(runs.path().join(name)).unwrap();
        }
        sweep(runs.path());
        assert!(runs.path().join(living).exists() && !runs.path().join("4194999-1").exists());
    }
}
