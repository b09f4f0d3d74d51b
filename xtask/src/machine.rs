//! What this machine is and has: who we are, which tools are missing, and how to get them.

use crate::{say, sh};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tools a door may need: an executable that proves it is there, and the package of Debian that holds it.
const TOOLS: &[(&str, &str)] = &[
    ("mkfs.ext4", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("resize2fs", "e2fsprogs"),
    ("tune2fs", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_admin", "xfsprogs"),
    ("xfs_growfs", "xfsprogs"),
    ("xfs_repair", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("btrfs", "btrfs-progs"),
    ("blkid", "util-linux"),
    ("findmnt", "util-linux"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("losetup", "mount"),
    ("mount", "mount"),
    ("umount", "mount"),
    // What the drivers in `examples` are written in.
    ("jq", "jq"),
    ("python3", "python3"),
];

/// The tools that the demo cannot do without when it is not root.
const ROOTLESS: &[&str] = &["findmnt", "unshare", "umount"];

/// How much of the tools a door needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// All of them.
    All,
    /// Only what a demo in a user namespace uses.
    Rootless,
}

/// The number after `name` in our own status, in the given column.
fn status(name: &str, column: usize) -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned))?;
    line.split_whitespace().nth(column).map(str::to_owned)
}

/// The user we act as; who cannot say is nobody.
pub(crate) fn euid() -> u32 {
    status("Uid", 1).and_then(|uid| uid.parse().ok()).unwrap_or(65534)
}

pub(crate) fn is_root() -> bool {
    euid() == 0
}

/// May we mount? Root in a container often may not.
pub(crate) fn may_mount() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    status("CapEff", 0)
        .and_then(|caps| u64::from_str_radix(&caps, 16).ok())
        .is_some_and(|caps| caps & CAP_SYS_ADMIN != 0)
}

/// Can a user without rights open a namespace where it may mount? `None`: yes. Else what stands in the way.
pub(crate) fn no_user_namespace(asker: &mut Command) -> Option<String> {
    asker.args(["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/tmp"]);
    sh::output(asker).err().map(|error| format!("no mounts in a user namespace here: {error:#}"))
}

/// Can loop devices be attached? `None`: yes. Else why not.
pub(crate) fn no_loop_devices() -> Option<String> {
    let control = Path::new("/dev/loop-control");
    if !control.exists() {
        sh::works(Command::new(find("modprobe").unwrap_or_else(|| "modprobe".into())).arg("loop"));
    }
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(control);
    opened.err().map(|error| format!("no loop devices here: {}: {error}", control.display()))
}

/// Finds an executable on the path, or where system tools lie when the path of a plain user leaves them out.
pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(tool)).find(|file| file.is_file())
}

/// Go: on the path, where go.dev's own instructions put it, or from Debian's archive if we may and its Go is new enough to fetch a
/// newer one by itself. Else why there is none.
pub(crate) fn go() -> Result<PathBuf, String> {
    let here = || find("go").or_else(|| Some(PathBuf::from("/usr/local/go/bin/go")).filter(|go| go.is_file()));
    if let Some(go) = here() {
        return Ok(go);
    }
    let none = "there is no Go here; install it from go.dev and put `go` on the path";
    if !is_root() || !is_debian_like() {
        return Err(none.into());
    }
    let policy = || sh::output(Command::new("apt-cache").args(["policy", GO_PACKAGE])).unwrap_or_default();
    let mut version = candidate(&policy());
    if version.is_none() && refresh().is_ok() {
        version = candidate(&policy());
    }
    match version {
        Some(version) if version < FETCHES_ITSELF => Err(format!("{none}: that of Debian's archive here is too old")),
        None => Err(none.into()),
        Some(_) => {
            println!("Missing here: Go. It comes from Debian's archive, now:");
            install(&[GO_PACKAGE]).map_err(|error| format!("Go could not be installed: {error:#}"))?;
            here().ok_or_else(|| format!("{none}: {GO_PACKAGE} brought none"))
        }
    }
}

/// A Python that makes environments, which Debian keeps in a package apart. Else why there is none.
pub(crate) fn python() -> Result<PathBuf, String> {
    let Some(python) = find("python3") else { return Err("there is no python3 here".into()) };
    let makes = || sh::works(Command::new(&python).args(["-c", "import ensurepip, venv"]));
    let none = "the python3 here makes no environments; install python3-venv";
    if makes() {
        return Ok(python);
    }
    if !is_root() || !is_debian_like() {
        return Err(none.into());
    }
    println!("Missing here: {VENV_PACKAGE}. It comes from Debian's archive, now:");
    install(&[VENV_PACKAGE]).map_err(|error| format!("{VENV_PACKAGE} could not be installed: {error:#}"))?;
    if makes() { Ok(python) } else { Err(none.into()) }
}

const VENV_PACKAGE: &str = "python3-venv";

const GO_PACKAGE: &str = "golang-go";

/// The first Go that fetches the one a module asks for.
const FETCHES_ITSELF: (u32, u32) = (1, 21);

/// What apt would install, from the words of `apt-cache policy`: `Candidate: 2:1.24~2` is `1.24`.
fn candidate(policy: &str) -> Option<(u32, u32)> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    release(version.split_once(':').map_or(version, |(_, version)| version))
}

/// The release of a version of Go, for comparison: `1.26.8` and `1.26rc1` are of `1.26`.
pub(crate) fn release(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The packages, each once and in order, that hold tools nobody has here.
fn missing(need: Need, has: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for (tool, package) in TOOLS {
        let needed = need == Need::All || ROOTLESS.contains(tool);
        if needed && !packages.contains(package) && !has(tool) {
            packages.push(*package);
        }
    }
    packages
}

fn is_debian_like() -> bool {
    find("apt-get").is_some() && Path::new("/etc/debian_version").exists()
}

/// The one line that a person types to get these packages here.
fn line_to_type(packages: &[&str], has: &dyn Fn(&str) -> bool) -> String {
    let packages = packages.join(" ");
    // Elsewhere the small tools of Debian's `mount` come with util-linux.
    let elsewhere = packages.split(' ').map(|package| if package == "mount" { "util-linux" } else { package });
    let mut names: Vec<&str> = elsewhere.collect();
    names.dedup();
    let names = names.join(" ");
    let sudo = if is_root() { "" } else { "sudo " };
    if has("apt-get") {
        format!("{sudo}apt-get install {packages}")
    } else if has("dnf") {
        format!("{sudo}dnf install {names}")
    } else if has("zypper") {
        format!("{sudo}zypper install {}", names.replace("btrfs-progs", "btrfsprogs"))
    } else if has("pacman") {
        format!("{sudo}pacman -S --needed {}", names.replace("python3", "python"))
    } else if has("apk") {
        format!("{sudo}apk add {names}")
    } else {
        format!("install with your system's package manager: {names}")
    }
}

/// Makes sure that the tools are there: installs them where we may, else says what to type.
/// Gives back the packages that are still missing; whether one can go on without them is the caller's to judge.
pub(crate) fn provide(need: Need) -> Result<Vec<&'static str>> {
    let has = |tool: &str| find(tool).is_some();
    let packages = missing(need, &has);
    if packages.is_empty() {
        return Ok(packages);
    }
    if is_root() && is_debian_like() {
        println!("Missing here: {}. They come from Debian's archive, now:", packages.join(" "));
        if let Err(error) = install(&packages) {
            say::error(&error);
        }
    }
    let packages = missing(need, &has);
    if !packages.is_empty() {
        println!(
            "Still missing: {}. To get them, type:\n\n    {}\n",
            packages.join(" "),
            line_to_type(&packages, &has)
        );
    }
    Ok(packages)
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn refresh() -> Result<()> {
    let mut update = apt();
    update.args(["update", "-qq"]);
    say::command(&sh::typed(&update));
    sh::run(&mut update).context("the list of packages could not be refreshed")
}

fn install(packages: &[&str]) -> Result<()> {
    refresh()?;
    let mut install = apt();
    install.args(["install", "-qq", "-o=Dpkg::Use-Pty=0", "--yes", "--no-install-recommends"]).args(packages);
    say::command(&sh::typed(&install));
    sh::run(&mut install).context("the packages could not be installed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_asked_for_and_only_once() {
        assert_eq!(missing(Need::All, &|_| true), Vec::<&str>::new());
        assert_eq!(missing(Need::All, &|tool| !tool.contains("xfs") && tool != "losetup"), ["xfsprogs", "mount"]);
        assert_eq!(missing(Need::Rootless, &|_| false), ["util-linux", "mount"]);
    }

    #[test]
    fn the_line_to_type_is_that_of_the_machine() {
        let line =
            |manager: &'static str| line_to_type(&["btrfs-progs", "util-linux", "mount"], &|tool| tool == manager);
        assert!(line("apt-get").ends_with("apt-get install btrfs-progs util-linux mount"));
        assert!(line("dnf").ends_with("dnf install btrfs-progs util-linux"));
        assert!(line("zypper").ends_with("zypper install btrfsprogs util-linux"));
        assert!(line("nothing").starts_with("install with"));
    }

    #[test]
    fn a_go_that_is_too_old_is_known_before_it_is_installed() {
        let policy =
            |version: &str| format!("golang-go:\n  Installed: (none)\n  Candidate: {version}\n  Version table:\n");
        assert_eq!(candidate(&policy("2:1.19~1")), Some((1, 19)));
        assert!(candidate(&policy("2:1.19~1")).unwrap() < FETCHES_ITSELF);
        assert!(candidate(&policy("2:1.24~2")).unwrap() > FETCHES_ITSELF);
        assert_eq!((candidate(&policy("(none)")), candidate("")), (None, None));
        assert_eq!((release("1.26.8"), release("1.27rc1"), release("devel")), (Some((1, 26)), Some((1, 27)), None));
    }

    #[test]
    fn we_know_who_we_are() {
        let mut id = Command::new("id");
        let uid = sh::output(id.arg("-u")).unwrap();
        assert_eq!(euid().to_string(), uid.trim());
    }
}
