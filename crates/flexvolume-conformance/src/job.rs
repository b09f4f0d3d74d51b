//! What is to be judged, with which volume, and how far the judge may go.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume_protocol::DriverName;

use crate::{described::Described, level::Level, shown::Call};

/// What is to be judged. Paths must be absolute.
#[derive(Clone, Debug)]
pub struct Job {
    /// The executable.
    pub driver: PathBuf,
    /// What it is called; it becomes a part of paths. Of a driver in its plugin directory it is that of the folder.
    pub name: DriverName,
    /// The volume that it is judged by.
    pub volume: Described,
    /// Who has to be content with it.
    pub level: Level,
    /// What the volumes hold may be lost: calls are killed in their middle, volumes are made larger. Volumes that the judge
    /// made itself (extension `provision`) may always be.
    pub may_destroy: bool,
    /// The longest a call may take; then it is ended. Where that may cost what a volume holds and `may_destroy` does not allow
    /// it, the call goes on, nothing more is called, and the report says so.
    pub limit: Duration,
    /// Where the judge makes folders as hosts have them; it makes and removes a folder of its own in it. Drivers cut a
    /// pod's uid out of the fifth component of a path, so this one should have two components.
    pub root: PathBuf,
    /// Only checks whose names begin with one of these; none is all.
    pub only: Vec<String>,
    /// No checks whose names begin with one of these.
    pub skip: Vec<String>,
    /// Hears of every call when it is over; from several threads.
    pub on_call: Option<fn(&Call)>,
    /// Says whether the judge shall end: it then ends the call that is under way, if that may be, takes away what it began, and
    /// reports what it found so far.
    pub asked: Option<fn() -> bool>,
}

impl Job {
    /// The driver at an absolute path, by a volume without options, as Kubernetes sees it.
    pub fn new(driver: impl Into<PathBuf>) -> Self {
        let driver = driver.into();
        let name = name_of(&driver);
        Self {
            driver,
            name,
            volume: Described::default(),
            level: Level::Kubernetes,
            may_destroy: false,
            limit: Duration::from_secs(600),
            root: "/var/lib".into(),
            only: Vec::new(),
            skip: Vec::new(),
            on_call: None,
            asked: None,
        }
    }
}

/// The name of a driver in its plugin directory; of any other file one made of its name.
fn name_of(driver: &Path) -> DriverName {
    let folder = driver.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let installed = folder.and_then(|folder| DriverName::from_dir(folder).ok());
    let own = driver.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem: String = own.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let made = || DriverName::parse(&format!("check/{stem}")).or_else(|_| DriverName::parse("check/driver"));
    installed
        .filter(|name| name.executable() == own)
        .map_or_else(made, Ok)
        .unwrap_or_else(|_| unreachable!("check/driver is a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_in_its_folder_has_the_folders_name() {
        assert_eq!(Job::new("/plugins/example.com~disk/disk").name.as_str(), "example.com/disk");
        assert_eq!(Job::new("/home/me/my driver.sh").name.as_str(), "check/mydriversh");
        assert_eq!(Job::new("/home/me/...").name.as_str(), "check/driver");
    }
}
