//! One look at the system: what may hang, so that it is taken by a worker process, and plain values come back.

use std::path::Path;

use flexvolume_linux::process::on_path;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::script::known::package;

/// A look.
pub(crate) trait Sight: Serialize + DeserializeOwned {
    /// What is seen.
    type Seen: Serialize + DeserializeOwned;

    /// Takes the look, in the worker.
    fn look(self) -> Self::Seen;
}

/// An error as plain values: what, the system's own word for it, and what to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) what: String,
    pub(crate) cause: String,
    pub(crate) hint: String,
}

impl Told {
    /// All of it on one line.
    pub(crate) fn story(&self) -> String {
        if self.cause.is_empty() { self.what.clone() } else { format!("{}: {}", self.what, self.cause) }
    }

    /// Why something is not trusted, without naming twice what that is.
    pub(crate) fn distrust(&self) -> String {
        match self.what.strip_prefix("cannot trust ").and_then(|rest| rest.split_once(": ")) {
            Some((_, why)) => why.to_owned(),
            None => self.story(),
        }
    }
}

impl From<flexvolume_linux::Error> for Told {
    fn from(error: flexvolume_linux::Error) -> Self {
        let cause = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
        Self { what: error.to_string(), cause, hint: error.hint().unwrap_or_default().to_owned() }
    }
}

impl From<flexvolume_host::Error> for Told {
    fn from(error: flexvolume_host::Error) -> Self {
        let what = error.to_string();
        let cause = error.story().strip_prefix(&what).unwrap_or_default().trim_start_matches(": ").to_owned();
        Self { what, cause, hint: error.next().unwrap_or_default().to_owned() }
    }
}

/// Where programs of the system are besides PATH, as for a service.
const SYSTEM: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// Whether a program of the system is there: for a worker.
pub(crate) fn is_installed(program: &str) -> bool {
    on_path(program, &std::env::var_os("PATH").unwrap_or_default()).is_some()
        || on_path(program, SYSTEM.as_ref()).is_some()
}

/// How programs are installed on this system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Installer {
    /// By apt-get, with Debian's names of packages.
    Apt,
    /// In some other way.
    #[default]
    Other,
}

impl Installer {
    /// Looks which it is: for a worker.
    pub(crate) fn look() -> Self {
        if Path::new("/usr/bin/apt-get").exists() { Self::Apt } else { Self::Other }
    }

    /// How Debian packages are installed: in words or as a command.
    pub(crate) fn packages(self, packages: &str) -> (String, Option<String>) {
        match self {
            Self::Apt => (String::new(), Some(format!("apt-get install {packages}"))),
            Self::Other => {
                (format!("install it with this system's own tool; Debian calls the package {packages}"), None)
            }
        }
    }

    /// How a program is installed, given by name or path; its package may not be known.
    pub(crate) fn program(self, program: &str) -> (String, Option<String>) {
        match package(program.rsplit('/').next().unwrap_or(program)) {
            Some(package) => self.packages(package),
            None if program.starts_with('/') => (format!("install {program}, or mend that path"), None),
            None => (format!("install {program}, or put it where PATH leads"), None),
        }
    }
}
