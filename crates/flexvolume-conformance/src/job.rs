//! What is to be judged, with which volume, and how far the judge may go.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume_protocol::{DriverName, ReservedKey, UserOptions};
use serde::Deserialize;

use crate::level::Level;

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
    /// The longest a call may take; then it is ended.
    pub limit: Duration,
    /// Where the judge makes folders as hosts have them; it makes and removes a folder of its own in it. Drivers cut a
    /// pod's uid out of the fifth component of a path, so this one should have two components.
    pub root: PathBuf,
    /// Only checks whose names begin with one of these; none is all.
    pub only: Vec<String>,
    /// No checks whose names begin with one of these.
    pub skip: Vec<String>,
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

/// The volume that a driver is judged by, as a person writes it down: either the options alone, one flat object of
/// strings, or an object with these members.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Described {
    /// `flexVolume.options`.
    pub options: UserOptions,
    /// `flexVolume.fsType`.
    pub fs_type: String,
    /// The name of the volume; drivers that attach have it in `detach` alone.
    pub name: Option<String>,
    /// Options of a second volume, to be used at the same time.
    pub second: Option<UserOptions>,
    /// Its secrets, as the pod's Secret holds them decoded.
    pub secrets: BTreeMap<String, String>,
    /// Parameters of volumes that are made (extension `provision`) in place of the ones above.
    pub create: Option<UserOptions>,
    /// How large such volumes are, in bytes.
    pub bytes: Option<u64>,
}

/// Of secrets it shows how many there are.
impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, fs_type, name, second, secrets, create, bytes } = self;
        f.debug_struct("Described")
            .field("options", options)
            .field("fs_type", fs_type)
            .field("name", name)
            .field("second", second)
            .field("secrets", &secrets.len())
            .field("create", create)
            .field("bytes", bytes)
            .finish()
    }
}

/// The description of a volume cannot be used. No value is in it: there are secrets among them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// It is no such JSON.
    #[error(
        "the description of the volume cannot be read: {0}; it is one flat object of strings (the options), or an object with options, fsType, name, second, secrets, create, bytes"
    )]
    Shape(String),
    /// An option has a name that hosts use.
    #[error(transparent)]
    Reserved(#[from] ReservedKey),
}

impl Described {
    /// Reads either form.
    ///
    /// # Errors
    /// [`VolumeError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, VolumeError> {
        let shape = |error: serde_json::Error| {
            // serde quotes values, and one of them may be a secret.
            let place = format!("line {} column {}", error.line(), error.column());
            VolumeError::Shape(match error.classify() {
                serde_json::error::Category::Data => format!("a member is unknown or has the wrong type ({place})"),
                serde_json::error::Category::Io
                | serde_json::error::Category::Syntax
                | serde_json::error::Category::Eof => format!("it is no JSON ({place})"),
            })
        };
        if !text.trim_start().starts_with('{') {
            return Err(VolumeError::Shape("it is no JSON object".to_owned()));
        }
        // Members of text alone could be meant either way, if there is nothing else.
        let is_whole = |flat: &BTreeMap<String, String>| flat.keys().all(|key| key == "fsType" || key == "name");
        match serde_json::from_str::<BTreeMap<String, String>>(text) {
            Ok(flat) if !is_whole(&flat) => return Ok(Self { options: UserOptions::parse(flat)?, ..Self::default() }),
            Ok(_) | Err(_) => {}
        }
        serde_json::from_str(text).map_err(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_written_in_two_ways() {
        let flat = Described::parse(r#"{"volumeID": "vol1", "size": "1000m"}"#).unwrap();
        assert_eq!(flat.options.get("size"), Some("1000m"));
        let whole = Described::parse(r#"{"options": {"a": "b"}, "fsType": "xfs", "secrets": {"k": "v"}}"#).unwrap();
        assert_eq!((whole.fs_type.as_str(), whole.options.get("a")), ("xfs", Some("b")));
    }

    #[test]
    fn what_is_wrong_is_told_without_a_value() {
        for text in [r#"{"secrets": ["hunter2"]}"#, r#"{"options": {"a": 7}, "hunter2": true}"#, "hunter2", "{", "[]"] {
            let words = Described::parse(text).unwrap_err().to_string();
            assert!(!words.contains("hunter2"), "{words}");
        }
        let reserved = Described::parse(r#"{"kubernetes.io/fsType": "ext4"}"#).unwrap_err();
        assert!(reserved.to_string().contains("reserved"), "{reserved}");
    }

    #[test]
    fn a_driver_in_its_folder_has_the_folders_name() {
        assert_eq!(Job::new("/plugins/example.com~disk/disk").name.as_str(), "example.com/disk");
        assert_eq!(Job::new("/home/me/my driver.sh").name.as_str(), "check/mydriversh");
        assert_eq!(Job::new("/home/me/...").name.as_str(), "check/driver");
    }
}
