//! A driver's executable, called as a host calls it: options in, one line of JSON out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A driver with the variables that keep it inside one test's folder.
#[derive(Debug, Clone)]
pub struct Driver {
    exe: PathBuf,
    env: Vec<(String, PathBuf)>,
}

/// The options of one volume.
#[derive(Debug, Clone, Default)]
pub struct J(BTreeMap<String, String>);

/// An answer.
#[derive(Debug)]
pub struct Said {
    json: Value,
    text: String,
}

impl Driver {
    /// The executable; what it keeps lies in `dir`: `run`, `state`, and its settings in `settings.json`.
    pub fn new(exe: &Path, dir: &Path) -> Driver {
        let at = |name: &str, file: &str| (name.to_owned(), dir.join(file));
        let env = vec![at("FLEXVOL_RUN", "run"), at("FLEXVOL_STATE", "state"), at("FLEXVOL_SETTINGS", "settings.json")];
        Driver { exe: exe.to_owned(), env }
    }

    /// The same with one more variable.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &Path) -> Driver {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The executable.
    pub fn exe(&self) -> &Path {
        &self.exe
    }

    /// The variables.
    pub fn env(&self) -> &[(String, PathBuf)] {
        &self.env
    }

    /// The call, ready to run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.exe);
        command.args(args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Calls it; whatever happens it answers one line of JSON, and its exit code agrees.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Said {
        let ran = self.command(args).output().unwrap_or_else(|error| panic!("{}: {error}", self.exe.display()));
        let text = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        assert_eq!(text.lines().count(), 1, "{args:?}: {text:?}");
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text:?}"));
        assert_eq!(ran.status.success(), json["status"] != "Failure", "{args:?}: {text}");
        Said { json, text }
    }

    /// Calls it twice in a row: both answers are the same Success.
    ///
    /// # Panics
    /// They are not.
    #[track_caller]
    pub fn twice(&self, args: &[&str]) -> Said {
        let first = self.call(args).ok();
        let second = self.call(args).ok();
        assert_eq!(first.json, second.json, "{args:?} again");
        second
    }
}

impl J {
    /// With this option, whatever it was before.
    pub fn with(mut self, key: &str, value: &str) -> J {
        self.0.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Without it.
    pub fn without(mut self, key: &str) -> J {
        self.0.remove(key);
        self
    }

    /// With this file system, in the least size that its mkfs makes.
    pub fn of(self, fs_type: &str) -> J {
        self.with("kubernetes.io/fsType", fs_type).with("size", smallest(fs_type))
    }

    /// As a host asks for a volume that is only read.
    pub fn read_only(self) -> J {
        self.with("kubernetes.io/readwrite", "ro")
    }

    /// The name by which the host knows the volume.
    ///
    /// # Panics
    /// It has none.
    pub fn name(&self) -> &str {
        &self.0["kubernetes.io/pvOrVolumeName"]
    }

    /// As an argument.
    pub fn text(&self) -> String {
        serde_json::json!(self.0).to_string()
    }
}

impl Said {
    /// It was Success.
    ///
    /// # Panics
    /// It was not.
    #[track_caller]
    pub fn ok(self) -> Said {
        assert_eq!(self.json["status"], "Success", "{}", self.text);
        self
    }

    /// It was a failure with this code and these words.
    ///
    /// # Panics
    /// It was not.
    #[track_caller]
    pub fn fails(self, code: &str, words: &[&str]) -> Said {
        assert_eq!(self.json["status"], "Failure", "{}", self.text);
        assert_eq!(self.json["code"].as_str().unwrap_or_default(), code, "{}", self.text);
        for word in words {
            assert!(self.message().contains(word), "no {word:?} in: {}", self.text);
        }
        self
    }

    /// What it says to a person.
    pub fn message(&self) -> &str {
        self.json["message"].as_str().unwrap_or_default()
    }

    /// A text of the answer.
    ///
    /// # Panics
    /// There is none of that name.
    #[track_caller]
    pub fn word(&self, key: &str) -> String {
        self.json[key].as_str().unwrap_or_else(|| panic!("no {key} in {}", self.text)).to_owned()
    }

    /// A value of the answer.
    pub fn get(&self, key: &str) -> &Value {
        &self.json[key]
    }
}

/// The least size of each file system that its mkfs makes.
fn smallest(fs_type: &str) -> &'static str {
    match fs_type {
        "xfs" => "300m",
        "btrfs" => "128m",
        _ => "8m",
    }
}
