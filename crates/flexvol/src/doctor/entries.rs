//! What lies in the plugin directory, and what of it no host will ever take for a driver.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use flexvolume_linux::process;
use flexvolume_protocol::{DriverName, excerpt};
use serde::{Deserialize, Serialize};

use super::{
    finding::{Finding, Group, Severity, quoted},
    sight::Sight,
};

/// Lists the plugin directory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) dir: PathBuf,
}

/// One entry, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// A directory, and whether there is anything in it.
    Directory { filled: bool },
    /// A link, where it leads, and whether that is a directory.
    Link { to: PathBuf, directory: bool },
    /// A file; a program, if it can be run or begins as one.
    File { program: bool },
    /// Something else.
    Other,
}

impl Sight for Look {
    type Seen = Vec<Entry>;

    fn look(self) -> Vec<Entry> {
        let entry = |entry: fs::DirEntry| {
            let path = entry.path();
            let kind = match entry.file_type().ok()? {
                kind if kind.is_symlink() => {
                    Kind::Link { to: fs::read_link(&path).unwrap_or_default(), directory: path.is_dir() }
                }
                kind if kind.is_dir() => {
                    Kind::Directory { filled: fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) }
                }
                kind if kind.is_file() => Kind::File { program: process::runnable(&path) || begins_as_program(&path) },
                _ => Kind::Other,
            };
            Some(Entry { name: entry.file_name().to_string_lossy().into_owned(), kind })
        };
        let mut entries: Vec<_> = fs::read_dir(&self.dir).into_iter().flatten().flatten().filter_map(entry).collect();
        entries.sort();
        entries
    }
}

fn begins_as_program(path: &Path) -> bool {
    let mut first = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut first));
    read.is_ok() && (first.starts_with(b"#!") || first == *b"\x7fELF")
}

/// The drivers there, whether they work or not.
pub(crate) fn drivers(entries: &[Entry]) -> Vec<DriverName> {
    let is_driver = |entry: &&Entry| matches!(entry.kind, Kind::Directory { .. }) && !entry.name.starts_with('.');
    entries.iter().filter(is_driver).filter_map(|entry| DriverName::from_dir(&entry.name).ok()).collect()
}

/// What no host takes for a driver, and how it would become one.
pub(crate) fn judge(dir: &Path, entries: &[Entry], flexvol: &str) -> Vec<Finding> {
    entries.iter().filter_map(|entry| judge_one(dir, entry, flexvol)).collect()
}

fn judge_one(dir: &Path, entry: &Entry, flexvol: &str) -> Option<Finding> {
    let path = dir.join(&entry.name);
    let shown = excerpt(&entry.name, 80);
    let finding = |severity, check, seen: &str| Finding::new(Group::Drivers, severity, check, shown.clone(), seen);
    let hidden = entry.name.starts_with('.');
    match &entry.kind {
        Kind::Directory { filled } if hidden => filled.then(|| {
            let finding = finding(Severity::Note, "hidden", "its name begins with a dot, so every host passes it over");
            match suggestion(entry.name.trim_start_matches('.')) {
                Some(name) => finding.mend("if it is a driver").run(rename(&path, &dir.join(name))),
                None => finding,
            }
        }),
        Kind::Directory { .. } => {
            let error = DriverName::from_dir(&entry.name).err()?;
            let finding = finding(
                Severity::Problem,
                "name",
                &format!("the directory's name, {:?}, is no driver's: {}", entry.name.replace('~', "/"), error.why),
            )
            .why("no host uses what is in it");
            Some(match suggestion(&entry.name) {
                Some(name) => finding
                    .mend(format!("rename it; volumes then name its driver {}", name.replace('~', "/")))
                    .run(rename(&path, &dir.join(name))),
                None => finding.mend("name it VENDOR~NAME"),
            })
        }
        Kind::Link { to, directory: true } if !hidden => Some(
            finding(Severity::Problem, "link", &format!("the directory is a symbolic link to {}", to.display()))
                .why("no host follows a link there")
                .mend("put a real directory in its place")
                .run(format!("rm {0} && cp -a {1} {0}", quoted(&path), quoted(dir.join(to)))),
        ),
        Kind::File { program: true } if !hidden => {
            let stem = entry.name.split('.').next().unwrap_or_default();
            let name = DriverName::parse(stem).map_or_else(|_| "NAME".to_owned(), |name| name.to_string());
            Some(
                finding(Severity::Warning, "misplaced", "a program right in the plugin directory, where no host looks")
                    .why("a driver lies in a directory of its own, VENDOR~NAME/NAME")
                    .run(format!("{flexvol} install {0} --as VENDOR/{name} && rm {0}", quoted(&path))),
            )
        }
        Kind::Link { to, directory: false } if !hidden && entry.name.contains('~') => Some(
            finding(
                Severity::Warning,
                "link",
                &format!("it is a symbolic link to {}, which is no directory", to.display()),
            )
            .why("no host takes it for a driver")
            .mend("take it away, or put the driver's directory in its place")
            .run(format!("rm {}", quoted(&path))),
        ),
        Kind::Link { .. } | Kind::File { .. } | Kind::Other => None,
    }
}

fn rename(from: &Path, to: &Path) -> String {
    // Never into a directory that is there already.
    format!("mv -T {} {}", quoted(from), quoted(to))
}

/// A name near this one that a driver's directory may have.
fn suggestion(name: &str) -> Option<String> {
    let (vendor, rest) = match name.split_once('~') {
        Some((vendor, rest)) => (Some(vendor.to_lowercase().replace('_', "-")), rest),
        None => (None, name),
    };
    let rest = rest.replace('~', "-");
    let rest: String =
        rest.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let rest = rest.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let name =
        vendor.filter(|vendor| !vendor.is_empty()).map_or_else(|| rest.to_owned(), |vendor| format!("{vendor}~{rest}"));
    DriverName::from_dir(&name).is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, kind: Kind) -> Option<(Severity, &'static str, String)> {
        let finding = judge_one(Path::new("/p"), &Entry { name: name.into(), kind }, "flexvol")?;
        Some((finding.severity, finding.check, finding.run.join("; ")))
    }

    #[test]
    fn what_is_no_driver_is_told_with_the_way_to_become_one() {
        let dir = || Kind::Directory { filled: true };
        let told = |severity, check, run: &str| Some((severity, check, run.to_owned()));
        let problem = |check, run: &str| told(Severity::Problem, check, run);
        assert_eq!(judged("foo~cifs", dir()), None);
        assert_eq!(judged("a~b~c", dir()), problem("name", "mv -T /p/a~b~c /p/a~b-c"));
        assert_eq!(judged("Foo~cifs", dir()), problem("name", "mv -T /p/Foo~cifs /p/foo~cifs"));
        assert_eq!(judged("foo~my cifs", dir()), problem("name", "mv -T '/p/foo~my cifs' /p/foo~my-cifs"));
        assert_eq!(judged("~", dir()), problem("name", ""));
        assert_eq!(judged(".foo~cifs", dir()), told(Severity::Note, "hidden", "mv -T /p/.foo~cifs /p/foo~cifs"));
        assert_eq!(judged(".foo~cifs", Kind::Directory { filled: false }), None);
        let run = "flexvol install /p/cifs.sh --as VENDOR/cifs && rm /p/cifs.sh";
        assert_eq!(judged("cifs.sh", Kind::File { program: true }), told(Severity::Warning, "misplaced", run));
        assert_eq!(judged("README.md", Kind::File { program: false }), None);
        assert_eq!(judged(".cifs", Kind::File { program: true }), None);
        let link = Kind::Link { to: "/opt/x".into(), directory: true };
        let dangling = Kind::Link { to: "/nowhere".into(), directory: false };
        assert_eq!(judged("foo~y", dangling), told(Severity::Warning, "link", "rm /p/foo~y"));
        assert_eq!(judged("foo~x", link), problem("link", "rm /p/foo~x && cp -a /opt/x /p/foo~x"));
    }

    #[test]
    fn only_directories_with_a_drivers_name_are_drivers() {
        let entry = |name: &str, kind| Entry { name: name.into(), kind };
        let dir = || Kind::Directory { filled: false };
        let entries = [
            entry("v~a", dir()),
            entry("b", dir()),
            entry(".v~c", dir()),
            entry("v~d~e", dir()),
            entry("v~f", Kind::Link { to: "/x".into(), directory: true }),
            entry("g", Kind::File { program: true }),
        ];
        let names: Vec<_> = drivers(&entries).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["v/a", "b"]);
    }
}
