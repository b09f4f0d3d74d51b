//! What a machine must be and have to start guests: root, Debian on x86-64, an emulator and a few tools, which are installed if missing.

use super::apt::{self, Apt};
use crate::{machine, sh};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Why there can be no guest here, in words for the person who reads the tally.
#[derive(Debug)]
pub(crate) struct NoGuest(pub(crate) String);

/// A release of Debian that a guest can be built from and on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Release {
    pub(super) codename: String,
    /// Debian 12 has the emulator and the kernel that we need among its backports; later ones have them as they are.
    pub(super) backports: bool,
}

impl Release {
    /// The first release whose archive has all that is needed.
    const FIRST: u32 = 12;

    /// Reads `/etc/os-release`.
    pub(super) fn read(text: &str) -> Result<Release, NoGuest> {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().trim_matches('"').to_owned()
        };
        if field("ID") != "debian" {
            let name = field("PRETTY_NAME");
            return Err(NoGuest(format!("guests are built from Debian's archive on Debian, and this is {name}")));
        }
        let codename = field("VERSION_CODENAME");
        // One that is not released yet has no number.
        let number = field("VERSION_ID").parse().unwrap_or(u32::MAX);
        if number < Self::FIRST || codename.is_empty() {
            return Err(NoGuest(format!("guests need Debian {} or newer", Self::FIRST)));
        }
        Ok(Release { codename, backports: number == Self::FIRST })
    }

    /// The suite that has emulator and kernel as we need them, if it is not the release itself.
    pub(super) fn newer_suite(&self) -> Option<String> {
        self.backports.then(|| format!("{}-backports", self.codename))
    }

    /// A package from that suite, as apt takes it.
    pub(super) fn newest(&self, package: &str) -> String {
        self.newer_suite().map_or_else(|| package.to_owned(), |suite| format!("{package}/{suite}"))
    }

    fn packages(&self) -> Vec<(&'static str, &'static str)> {
        let mut tools = TOOLS.to_vec();
        if !self.backports {
            tools.push((DAEMON, "virtiofsd"));
        }
        tools
    }
}

/// A tool that proves it is there, and the package that holds it.
const TOOLS: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("zstd", "zstd"),
    ("xz", "xz-utils"),
    ("mkfs.ext4", "e2fsprogs"),
    ("setpriv", "util-linux"),
    (EMULATOR, EMULATORS_PACKAGE),
];
const EMULATORS_PACKAGE: &str = "qemu-system-x86";
pub(super) const EMULATOR: &str = "qemu-system-x86_64";
const DAEMON: &str = "/usr/libexec/virtiofsd";

/// The emulator of Debian 12 itself dies at times with this kernel; from this one on it is sound.
const EMULATOR_FROM: u32 = 8;

/// A machine on which guests can be built and started.
pub(super) struct Host {
    pub(super) release: Release,
    dir: PathBuf,
}

impl Host {
    /// Looks, and installs what is missing, after saying so. `dir` is for what the door keeps.
    pub(super) fn ready(dir: &Path) -> Result<Result<Host, NoGuest>> {
        if std::env::consts::ARCH != "x86_64" {
            return Ok(Err(NoGuest("guests are x86-64 machines, and this is none".into())));
        }
        if !machine::is_root() {
            return Ok(Err(NoGuest("guests need root, for their image and their shared folder".into())));
        }
        if !machine::may_mount() {
            return Ok(Err(NoGuest("guests need a root that may mount, and in this container it may not".into())));
        }
        let release = match Release::read(&std::fs::read_to_string("/etc/os-release").unwrap_or_default()) {
            Ok(release) => release,
            Err(why) => return Ok(Err(why)),
        };
        let host = Host { release, dir: dir.to_owned() };
        let missing = host.missing();
        if missing.is_empty() {
            return Ok(Ok(host));
        }
        println!("Missing here: {}. They come from Debian's archive, now:", words(&missing, emulator_version()));
        let apt = match host.archive()? {
            Ok(apt) => apt,
            Err(why) => return Ok(Err(why)),
        };
        // The emulator's own parts must come from where it does.
        let (newer, plain): (Vec<_>, Vec<_>) = missing.into_iter().partition(|package| *package == EMULATORS_PACKAGE);
        for (packages, suite) in [(plain, None), (newer, host.release.newer_suite())] {
            if !packages.is_empty() {
                apt.install(&packages, suite.as_deref())?;
            }
        }
        let missing = host.missing();
        Ok(if missing.is_empty() { Ok(host) } else { Err(NoGuest(format!("still missing: {}", missing.join(" ")))) })
    }

    /// Debian's archive with fresh lists, or why it cannot be reached.
    pub(super) fn archive(&self) -> Result<Result<Apt, NoGuest>> {
        let Some(sources) = apt::sources(&apt::of_machine(), &self.release.codename, self.release.backports) else {
            let why = format!("apt's sources on this machine do not name {}", self.release.codename);
            return Ok(Err(NoGuest(why)));
        };
        let apt = Apt::new(&self.dir.join("apt"), &sources)?;
        Ok(match apt.refresh() {
            Ok(()) => Ok(apt),
            Err(error) => Err(NoGuest(format!("Debian's archive cannot be reached: {}", in_short(&error)))),
        })
    }

    /// Fails in words where a disk has less than this left.
    pub(super) fn room(&self, wanted: u64) -> Result<Result<(), NoGuest>> {
        let mut df = std::process::Command::new("df");
        let said = sh::output(df.args(["--output=avail", "--block-size=1M"]).arg(&self.dir))?;
        let free: u64 = said.lines().nth(1).and_then(|line| line.trim().parse().ok()).context("df says nothing")?;
        Ok(if free < wanted {
            let dir = self.dir.display();
            Err(NoGuest(format!("a guest's image needs {wanted} MiB to be built, and {dir} has {free} MiB left")))
        } else {
            Ok(())
        })
    }

    fn missing(&self) -> Vec<&'static str> {
        missing(&self.release, &|tool| machine::find(tool).is_some(), &|| emulator_version())
    }
}

/// An error of apt as one line: the first of its own complaints.
fn in_short(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let complaint = text.lines().find_map(|line| ["E: ", "W: "].iter().find_map(|mark| line.split_once(mark)));
    complaint.map_or_else(|| text.clone(), |(_, words)| words.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn missing(
    release: &Release,
    has: &dyn Fn(&str) -> bool,
    emulator_version: &dyn Fn() -> Option<u32>,
) -> Vec<&'static str> {
    let wanted = release.packages().into_iter();
    let lacking = wanted.filter(|(tool, _)| {
        !has(tool) || (*tool == EMULATOR && emulator_version().is_none_or(|version| version < EMULATOR_FROM))
    });
    lacking.map(|(_, package)| package).collect()
}

/// What is missing, as a person reads it; of an emulator that is there, its release.
fn words(missing: &[&str], emulator: Option<u32>) -> String {
    let word = |package: &&str| match emulator {
        Some(old) if *package == EMULATORS_PACKAGE => {
            format!("{package} (that of release {old} is too old, and will be replaced)")
        }
        Some(_) | None => (*package).to_owned(),
    };
    missing.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn emulator_version() -> Option<u32> {
    let said = sh::output(std::process::Command::new(machine::find(EMULATOR)?).arg("--version")).ok()?;
    said.split_whitespace().skip_while(|word| *word != "version").nth(1)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKWORM: &str =
        "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n";

    #[test]
    fn a_release_is_read_or_refused_in_words() {
        let bookworm = Release::read(BOOKWORM).unwrap();
        assert_eq!(bookworm, Release { codename: "bookworm".into(), backports: true });
        assert_eq!(bookworm.newest("x"), "x/bookworm-backports");
        let trixie = Release::read("VERSION_ID=\"13\"\nVERSION_CODENAME=trixie\nID=debian\n").unwrap();
        assert_eq!((trixie.backports, trixie.newest("x")), (false, "x".into()));
        assert!(Release::read("VERSION_CODENAME=forky\nID=debian\n").is_ok(), "one that has no number yet");
        let old = Release::read("VERSION_ID=\"11\"\nVERSION_CODENAME=bullseye\nID=debian\n").unwrap_err();
        assert!(old.0.contains("12"));
        let other = Release::read("ID=ubuntu\nPRETTY_NAME=\"Ubuntu 24.04\"\nVERSION_ID=\"24.04\"\n").unwrap_err();
        assert!(other.0.contains("Ubuntu 24.04"));
    }

    #[test]
    fn what_is_missing_is_what_the_release_needs() {
        let bookworm = Release::read(BOOKWORM).unwrap();
        assert_eq!(missing(&bookworm, &|_| true, &|| Some(10)), Vec::<&str>::new());
        assert_eq!(missing(&bookworm, &|_| true, &|| Some(7)), ["qemu-system-x86"], "too old");
        assert_eq!(missing(&bookworm, &|tool| tool != EMULATOR, &|| None), ["qemu-system-x86"]);
        assert!(words(&["zstd", "qemu-system-x86"], Some(7)).contains("release 7 is too old, and will be replaced"));
        assert_eq!(words(&["zstd", "qemu-system-x86"], None), "zstd qemu-system-x86");
        let trixie = Release { codename: "trixie".into(), backports: false };
        assert_eq!(missing(&trixie, &|tool| tool != DAEMON, &|| Some(10)), ["virtiofsd"]);
    }

    #[test]
    fn what_apt_complains_of_is_one_line() {
        let short = |text: &str| in_short(&anyhow::anyhow!("{text}"));
        assert_eq!(short("`apt-get` ended with exit status: 100: E: Failed to  fetch\nE: more"), "Failed to fetch");
        assert_eq!(short("cannot run `apt-get`"), "cannot run `apt-get`");
    }
}
