//! Debian's archive as the door sees it: sources taken from those of the machine, lists and cache of its own below the target folder,
//! so that nothing of the machine's own settings is changed.

use crate::{say, sh};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One source: its fields as apt's newer form names them, without `Suites` and `Components`.
type Fields = BTreeMap<String, String>;

/// apt, confined to a folder of ours.
pub(super) struct Apt {
    dir: PathBuf,
}

impl Apt {
    /// Makes the folder, with the sources for this release.
    pub(super) fn new(dir: &Path, sources: &str) -> Result<Apt> {
        for part in ["parts", "lists/partial", "cache/archives/partial"] {
            let part = dir.join(part);
            std::fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        let apt = Apt { dir: dir.to_owned() };
        std::fs::write(apt.sources(), sources).with_context(|| format!("cannot write {}", apt.sources().display()))?;
        Ok(apt)
    }

    /// The file with the sources.
    pub(super) fn sources(&self) -> PathBuf {
        self.dir.join("parts/guest.sources")
    }

    /// Fetches the lists of packages. An error means that the archive cannot be reached.
    pub(super) fn refresh(&self) -> Result<()> {
        let mut update = self.command("apt-get");
        update.args(["-qq", "-o=APT::Update::Error-Mode=any", "-o=Acquire::Retries=1", "-o=Acquire::http::Timeout=20"]);
        update.arg("update");
        sh::output(&mut update).map(drop)
    }

    /// Installs packages on the machine itself; with a suite, them and what they need from there rather than from elsewhere.
    pub(super) fn install(&self, packages: &[&str], suite: Option<&str>) -> Result<()> {
        let mut install = self.command("apt-get");
        install.args(["-qq", "-o=Dpkg::Use-Pty=0", "--yes", "--no-install-recommends"]);
        let from = suite.map(|suite| format!("--target-release={suite}"));
        install.args(&from).arg("install").args(packages);
        let from = from.map_or_else(String::new, |from| format!("{from} "));
        say::command(&format!("apt-get {from}install {}", packages.join(" ")));
        sh::run(&mut install).context("the packages could not be installed")
    }

    /// Fetches one package as a file and unpacks it into a folder, without installing it.
    pub(super) fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let scratch = into.with_extension("deb");
        std::fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
        let mut download = self.command("apt-get");
        sh::output(download.args(["-qq", "download", package]).current_dir(&scratch))?;
        let list = std::fs::read_dir(&scratch).with_context(|| format!("cannot list {}", scratch.display()))?;
        let Some(file) = list.flatten().map(|entry| entry.path()).next() else {
            bail!("apt-get fetched nothing for {package}");
        };
        sh::output(Command::new("dpkg").arg("-x").arg(&file).arg(into))?;
        std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
    }

    /// What a package that only points to another depends on: the first name that begins so.
    pub(super) fn behind(&self, package: &str, prefix: &str) -> Result<String> {
        let shown = sh::output(self.command("apt-cache").args(["show", package]))?;
        first_dependency(&shown, prefix).with_context(|| format!("{package} points to no {prefix}…"))
    }

    fn command(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let at = |name: &str| self.dir.join(name).display().to_string();
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-o=Dir::Etc::sourcelist=/dev/null");
        apt.arg(format!("-o=Dir::Etc::sourceparts={}", at("parts")));
        apt.arg(format!("-o=Dir::State::lists={}", at("lists")));
        apt.arg(format!("-o=Dir::Cache={}", at("cache")));
        // apt's own user may not be able to reach a folder of ours.
        apt.arg("-o=APT::Sandbox::User=root");
        apt
    }
}

fn first_dependency(shown: &str, prefix: &str) -> Option<String> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let names = depends.split(',').filter_map(|one| one.split_whitespace().next());
    names.into_iter().find(|name| name.starts_with(prefix)).map(str::to_owned)
}

/// The sources of this machine, read from apt's own folder.
pub(super) fn of_machine() -> Vec<(String, String)> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = std::fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(parts.map(|entry| entry.path()));
    files.sort();
    let named = |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    files.iter().filter_map(|file| Some((named(file), std::fs::read_to_string(file).ok()?))).collect()
}

/// What of these files names the release, with its updates and security, and its backports if they are wanted; `None` if they do not
/// name it at all.
pub(super) fn sources(files: &[(String, String)], codename: &str, backports: bool) -> Option<String> {
    let security = format!("{codename}-security");
    let suites = [codename.to_owned(), format!("{codename}-updates"), security];
    let mut text = String::new();
    let mut main = None;
    for (name, content) in files {
        let found = match name.rsplit_once('.') {
            Some((_, "sources")) => stanzas(content),
            Some((_, "list")) => lines(content),
            Some(_) | None => continue,
        };
        for (fields, has) in found {
            let ours: Vec<&str> = has.iter().map(String::as_str).filter(|it| suites.iter().any(|s| s == it)).collect();
            if ours.contains(&codename) && main.is_none() {
                main = Some(fields.clone());
            }
            if !ours.is_empty() {
                text.push_str(&stanza(&fields, &ours.join(" ")));
            }
        }
    }
    let main = main?;
    if backports {
        text.push_str(&stanza(&main, &format!("{codename}-backports")));
    }
    Some(text)
}

fn stanza(fields: &Fields, suites: &str) -> String {
    let kept: String = fields.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    format!("Types: deb\nSuites: {suites}\nComponents: main\n{kept}\n")
}

/// What is a no to apt.
const NO: [&str; 6] = ["no", "false", "without", "off", "disable", "0"];

/// The sources in a file of the newer form, each with its suites; those of packages with `main` only.
fn stanzas(text: &str) -> Vec<(Fields, Vec<String>)> {
    let mut all = Vec::new();
    let all_lines: Vec<&str> = text.lines().collect();
    for block in all_lines.split(|line| line.trim().is_empty()) {
        let mut fields = Fields::new();
        let mut last = String::new();
        for line in block.iter().filter(|line| !line.starts_with('#')) {
            match line.split_once(':') {
                // A key may be written into the file itself, over many lines.
                _ if line.starts_with([' ', '\t']) => {
                    if let Some(value) = fields.get_mut(&last) {
                        value.push('\n');
                        value.push_str(line);
                    }
                }
                Some((name, value)) => {
                    last = canonical(name);
                    fields.insert(last.clone(), value.to_owned());
                }
                None => {}
            }
        }
        let mut words = |name: &str| -> Vec<String> {
            fields.remove(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let (types, suites, components, enabled) =
            (words("Types"), words("Suites"), words("Components"), words("Enabled"));
        let off = enabled.first().is_some_and(|word| NO.iter().any(|no| no.eq_ignore_ascii_case(word)));
        if !off && types.iter().any(|it| it == "deb") && components.iter().any(|it| it == "main") {
            all.push((fields, suites));
        }
    }
    all
}

/// The sources in a file of the older form, one a line: `deb [signed-by=…] URI SUITE COMPONENT…`.
fn lines(text: &str) -> Vec<(Fields, Vec<String>)> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<(Fields, Vec<String>)> {
    let rest = line.split('#').next()?.trim().strip_prefix("deb")?.strip_prefix(char::is_whitespace)?.trim();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    words.find(|it| *it == "main")?;
    let mut fields = Fields::from([("URIs".into(), format!(" {uri}"))]);
    for (name, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
        if name == "signed-by" || name == "trusted" {
            fields.insert(canonical(name), format!(" {value}"));
        }
    }
    Some((fields, vec![suite.to_owned()]))
}

/// Field names are the same in any letter case.
fn canonical(name: &str) -> String {
    let known = ["Types", "URIs", "Suites", "Components", "Signed-By", "Trusted", "Enabled", "Architectures"];
    known.iter().find(|it| it.eq_ignore_ascii_case(name)).map_or_else(|| name.to_owned(), |it| (*it).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWER: &str = "Types: deb deb-src\n# a remark\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates other\n\
                         Components: main contrib\nSigned-By: /keys/debian.gpg\n\n\
                         types: deb\nuris: http://mirror.example/security\nsuites: bookworm-security\ncomponents: main\n\
                         Signed-By:\n -----BEGIN-----\n .\n abc\n";

    fn from(name: &str, text: &str, backports: bool) -> Option<String> {
        sources(&[(name.into(), text.into())], "bookworm", backports)
    }

    #[test]
    fn the_sources_are_those_of_the_machine_for_its_release() {
        let text = from("debian.sources", NEWER, true).unwrap();
        let blocks: Vec<&str> = text.trim().split("\n\n").collect();
        assert_eq!(blocks.len(), 3, "{text}");
        assert!(blocks[0].contains("Suites: bookworm bookworm-updates\n"), "{text}");
        assert!(blocks[1].contains("Signed-By:\n -----BEGIN-----\n .\n abc"), "{text}");
        assert!(blocks[2].contains("Suites: bookworm-backports\n") && blocks[2].contains("mirror.example/debian"));
        assert!(blocks.iter().all(|block| block.starts_with("Types: deb\n") && block.contains("Components: main\n")));
        assert!(!from("debian.sources", NEWER, false).unwrap().contains("backports"));
    }

    #[test]
    fn the_older_form_says_the_same() {
        let text = "# deb http://no.example bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] http://a.example/debian bookworm main # why\n\
                    deb http://b.example other main\ndeb-src http://a.example/debian bookworm main\n\
                    deb\thttp://c.example/debian\tbookworm\tmain\n";
        let found = from("sources.list", text, true).unwrap();
        assert_eq!(found.matches("URIs: http://a.example/debian\n").count(), 2, "{found}");
        assert!(found.contains("c.example"), "{found}");
        assert!(found.contains("Signed-By: /k.gpg\n") && !found.contains("b.example") && !found.contains("no.example"));
    }

    #[test]
    fn a_machine_that_does_not_name_its_release_has_no_sources() {
        for (name, text) in [
            ("debian.sources", "Types: deb\nURIs: http://x.example\nSuites: sid\nComponents: main\n"),
            (
                "debian.sources",
                "Enabled: Off\nTypes: deb\nURIs: http://x.example\nSuites: bookworm\nComponents: main\n",
            ),
            ("debian.sources", "Types: deb\nURIs: http://x.example\nSuites: bookworm\n \t\nComponents: main\n"),
            ("debian.sources", "Enabled: no\nTypes: deb\nURIs: http://x.example\nSuites: bookworm\nComponents: main\n"),
            ("debian.sources", "Types: deb\nURIs: http://x.example\nSuites: bookworm\nComponents: contrib\n"),
            ("debian.sources.save", NEWER),
            ("sources.list", ""),
        ] {
            assert_eq!(from(name, text, true), None, "{name}: {text}");
        }
    }

    #[test]
    fn what_a_package_points_to_is_read_from_its_record() {
        let shown = "Package: x\nDepends: initramfs | y, linux-image-6.12.9+deb12-cloud-amd64 (= 6.12.9-1), z\n";
        assert_eq!(first_dependency(shown, "linux-image-").as_deref(), Some("linux-image-6.12.9+deb12-cloud-amd64"));
        assert_eq!(first_dependency(shown, "linux-headers-"), None);
    }
}
