//! The image of a guest: a plain kernel and a root file system, built once below the target folder and kept for as long as nothing of
//! what they were made from changes.

use super::{
    host::{Host, NoGuest, Release},
    kernel,
    qemu::Files,
};
use crate::{machine, say, sh};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What a guest has beside the essential packages of Debian. The one list.
const PACKAGES: &[&str] = &[
    // Storage.
    "lvm2",
    "thin-provisioning-tools",
    "dmsetup",
    "mdadm",
    "e2fsprogs",
    "xfsprogs",
    "btrfs-progs",
    "nfs-kernel-server",
    "nfs-common",
    "rpcbind",
    // The system around it.
    "util-linux",
    "mount",
    "kmod",
    "udev",
    "iproute2",
    "procps",
    "busybox-static",
    "acl",
    "attr",
    // What shell drivers and their tests call.
    "jq",
];

/// The first process.
const INIT: &str = include_str!("init.sh");

/// Raised when the way of building changes in a manner that neither the list nor the script shows.
const EDITION: u32 = 1;

/// The file system's size, most of it a hole; it is never written to, for each machine writes to a layer of its own.
const SIZE: &str = "4G";

/// So much must be free to build one, in MiB.
const ROOM: u64 = 2500;

/// After this a step of the build is taken for hung.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// An image that stays as it is while this lives.
pub(super) struct Image {
    dir: PathBuf,
    /// Held shared, so that nobody builds another in its place.
    _held: File,
}

impl Image {
    /// The kernel and the root file system.
    pub(super) fn files(&self) -> Files {
        Files { kernel: self.dir.join("vmlinux"), root: self.dir.join("root.ext4") }
    }

    /// The daemon of shared folders, where the machine itself has none.
    pub(super) fn daemon(&self) -> PathBuf {
        self.dir.join(DAEMON)
    }

    /// What it is, in a few words.
    pub(super) fn about(&self) -> String {
        fs::read_to_string(self.dir.join(ABOUT)).unwrap_or_default().trim().to_owned()
    }
}

const RECIPE: &str = "recipe";
const ABOUT: &str = "about";
const DAEMON: &str = "virtiofsd";

/// All that an image is made from, as text. Two images of the same text are as good as each other.
fn recipe(release: &Release) -> String {
    format!("edition {EDITION}\n{}\n{}\n\n{INIT}", release.codename, PACKAGES.join("\n"))
}

/// The image, built if it is not there, is of another recipe, or `fresh` asks for a new one. The inner error says why it cannot be built here.
pub(super) fn get(host: &Host, dir: &Path, fresh: bool) -> Result<Result<Image, NoGuest>> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join("lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
    let image = dir.join("image");
    let recipe = recipe(&host.release);
    let is_good = || fs::read_to_string(image.join(RECIPE)).is_ok_and(|text| text == recipe);
    let mut fresh = fresh;
    loop {
        lock.lock_shared().context("cannot lock the image")?;
        if is_good() && !fresh {
            return Ok(Ok(Image { dir: image, _held: lock }));
        }
        lock.unlock().context("cannot unlock the image")?;
        if lock.try_lock().is_err() {
            println!("another door has the image; waiting until it is done");
            lock.lock().context("cannot lock the image")?;
        }
        // It may have been built while we waited.
        if !is_good() || fresh {
            if let Err(why) = build(host, dir, &recipe)? {
                return Ok(Err(why));
            }
            fresh = false;
        }
        lock.unlock().context("cannot unlock the image")?;
    }
}

/// Builds it aside and puts it in place at the end, so that a kill leaves no half image.
fn build(host: &Host, dir: &Path, recipe: &str) -> Result<Result<(), NoGuest>> {
    let start = Instant::now();
    // What a build that was killed has left. It held the lock that is ours now.
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("new.") {
            remove(&entry.path())?;
        }
    }
    if let Err(why) = host.room(ROOM)? {
        return Ok(Err(why));
    }
    println!("The guest's image is built, below {}. It takes a minute or two, once.", dir.display());
    let apt = match host.archive()? {
        Ok(apt) => apt,
        Err(why) => return Ok(Err(why)),
    };
    let new = dir.join(format!("new.{}", std::process::id()));
    fs::create_dir(&new).with_context(|| format!("cannot make {}", new.display()))?;

    let step = |what: &str| {
        println!("  {what} ({} s since the start)", start.elapsed().as_secs());
        say::flush();
    };
    let newest = |package: &str| host.release.newest(package);
    step("kernel");
    let package = apt.behind(&newest("linux-image-cloud-amd64"), "linux-image-")?;
    let version = package.trim_start_matches("linux-image-").to_owned();
    let unpacked = new.join("kernel");
    apt.unpack(&newest(&package), &unpacked)?;
    let image = unpacked.join("boot").join(format!("vmlinuz-{version}"));
    let image = fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
    fs::write(new.join("vmlinux"), kernel::unpack(&image)?).context("cannot write the kernel")?;
    if host.release.backports {
        // The emulator from the backports has left it to a package that this release does not have.
        let unpacked = new.join("daemon");
        apt.unpack(&format!("qemu-system-common/{}", host.release.codename), &unpacked)?;
        fs::rename(unpacked.join("usr/lib/qemu/virtiofsd"), new.join(DAEMON))
            .context("virtiofsd is not in its package")?;
        remove(&unpacked)?;
    }

    step("packages");
    let root = new.join("root");
    let mut debian = mortal("mmdebstrap");
    debian.args(["--quiet", "--mode=root", "--variant=essential"]).arg(format!("--include={}", PACKAGES.join(",")));
    // An image that is cut off is thrown away, so nothing of it need be on the disk before the whole is.
    debian.arg("--dpkgopt=force-unsafe-io");
    for unneeded in ["man", "doc", "locale", "info"] {
        debian.arg(format!("--dpkgopt=path-exclude=/usr/share/{unneeded}/*"));
    }
    debian.arg(&host.release.codename).arg(&root).arg(apt.sources());
    watched(&mut debian)?;

    step("modules and init");
    let modules = Path::new("lib/modules").join(&version);
    let to = root.join("usr").join(&modules);
    let above = to.parent().context("modules lie in a folder")?;
    fs::create_dir_all(above).with_context(|| format!("cannot make {}", above.display()))?;
    let from = [unpacked.join(&modules), unpacked.join("usr").join(&modules)];
    let from = from.iter().find(|from| from.is_dir()).context("the kernel's package holds no modules")?;
    fs::rename(from, &to).context("cannot move the kernel's modules")?;
    // A processor that is emulated unpacks slowly; and the index must name them as they are.
    let mut plain = mortal("find");
    plain.arg(&to).args(["-name", "*.ko.xz", "-exec", "xz", "--decompress", "--threads=1", "{}", "+"]);
    watched(&mut plain)?;
    watched(mortal("chroot").arg(&root).args(["depmod", "-a", &version]))?;
    fs::create_dir_all(root.join("vm")).context("cannot make the folder for what is shared")?;
    install(&root.join("guest-init"), INIT)?;

    step("file system");
    let mut pack = mortal("mkfs.ext4");
    pack.args(["-q", "-O", "^has_journal", "-E", "lazy_itable_init=1", "-L", "root", "-d"]).arg(&root);
    pack.arg(new.join("root.ext4")).arg(SIZE);
    watched(&mut pack)?;
    remove(&root)?;
    remove(&unpacked)?;

    let about = format!("{}, kernel {version}", host.release.codename);
    fs::write(new.join(ABOUT), &about).context("cannot write what the image is")?;
    fs::write(new.join(RECIPE), recipe).context("cannot write the recipe")?;
    let place = dir.join("image");
    remove(&place)?;
    fs::rename(&new, &place).context("cannot put the image in place")?;
    step("done");
    Ok(Ok(()))
}

/// A program of the system that ends when we do, with all it has started and mounted: it lives in namespaces of its own for processes
/// and mounts, whose first process the kernel kills when its parent ends, as that when we end.
fn mortal(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "--",
        "unshare",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "--",
    ]);
    command.arg(machine::find(program).unwrap_or_else(|| program.into()));
    command
}

/// Runs a step. What it says is shown if it fails.
fn watched(command: &mut Command) -> Result<()> {
    let mut said = Vec::new();
    let end = sh::watch(command, LIMIT, &mut |_, line| said.push(line.to_owned()))?;
    if end.success() {
        return Ok(());
    }
    let how = match end {
        sh::End::Status(status) => status.to_string(),
        sh::End::TimedOut => format!("nothing after {} s", LIMIT.as_secs()),
    };
    let tail = said[said.len().saturating_sub(20)..].join("\n");
    bail!("`{}` ended with {how}:\n{tail}", sh::typed(command))
}

/// Removes what we made. Should a file system still be mounted there, it is left alone, and so is what is above it.
fn remove(path: &Path) -> Result<()> {
    sh::output(Command::new("rm").args(["-rf", "--one-file-system"]).arg(path)).map(drop)
}

fn install(path: &Path, script: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let written = fs::write(path, script).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_names_all_that_an_image_is_made_from() {
        let release = Release { codename: "bookworm".into(), backports: true };
        let text = recipe(&release);
        assert!(PACKAGES.iter().all(|package| text.contains(package)) && text.contains(INIT));
        assert_ne!(text, recipe(&Release { codename: "trixie".into(), backports: false }));
    }

    #[test]
    fn no_package_is_named_twice() {
        let mut packages = PACKAGES.to_vec();
        packages.sort_unstable();
        packages.dedup();
        assert_eq!(packages.len(), PACKAGES.len());
    }
}
