//! One look at the system: what may hang, so that it is taken by a worker process, and plain values come back.

use std::{
    io,
    path::{Path, PathBuf},
};

use flexvolume_linux::process::on_path;
use rustix::fs::{StatVfsMountFlags, statvfs};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    finding::{Finding, Group, Severity},
    script::known::package,
};

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

/// A directory of ours that cannot be looked at, and is not known to be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shut {
    pub(crate) error: String,
    /// Only this user may not see it.
    pub(crate) denied: bool,
}

impl Shut {
    /// What could not be seen, and how bad that is.
    pub(crate) fn finding(&self, group: Group, about: &Path) -> Finding {
        let finding = Finding::unseen(group, about.display().to_string(), &self.error);
        if self.denied {
            return finding.mend("run as root");
        }
        Finding { severity: Severity::Problem, ..finding }
    }
}

/// `None` if what was looked at is not there; any other failure says nothing about that.
pub(crate) fn if_there<T>(looked: io::Result<T>) -> Result<Option<T>, Shut> {
    match looked {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Shut { denied: error.kind() == io::ErrorKind::PermissionDenied, error: error.to_string() }),
    }
}

/// The deepest directory above that is there.
pub(crate) fn above(path: &Path) -> PathBuf {
    path.ancestors().skip(1).find(|above| above.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// Whether what lies there is on a file system that is read-only.
pub(crate) fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_missing() {
        let of = |path: &str| if_there(std::fs::metadata(path)).map(|meta| meta.is_some());
        assert_eq!(of("/"), Ok(true));
        assert_eq!(of("/no/such/directory"), Ok(false));
        let shut = of("/proc/self/status/root").unwrap_err();
        assert!(!shut.denied && shut.error.contains("Not a directory"), "{shut:?}");
        let denied = if_there::<()>(Err(io::ErrorKind::PermissionDenied.into())).unwrap_err();
        let severity = |shut: &Shut| shut.finding(Group::Root, Path::new("/r")).severity;
        assert_eq!((severity(&shut), severity(&denied)), (Severity::Problem, Severity::Note));
    }
}
