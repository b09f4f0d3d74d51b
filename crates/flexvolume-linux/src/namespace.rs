//! A command's own view of the machine: the host's tree as it is, with volumes at the paths a container would see them.
//!
//! Nothing here writes to the host's tree. Where the place of a volume does not exist, the deepest directory that does
//! is covered by a *skeleton*: a private tmpfs that shows all its entries (bound, links copied) and in which the missing
//! directories can be made. A skeleton of `/` becomes the command's root.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, OsStr},
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Component, Path, PathBuf},
    process::Command,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags, mkdirat, openat, readlinkat, statx, symlinkat, unlinkat,
    },
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
        fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    },
    process::{chroot, fchdir},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

use crate::{
    Error, ErrorKind, Result,
    beneath::Root,
    mount::{Unmount, table, unmount},
    process::{core_dumps_as_before, explain, sys::make_read_only},
    real::{astray, open_real},
};

/// What a command is to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The volumes, in any order.
    pub volumes: Vec<Shown>,
    /// Mounts beneath this path are not seen: a copy of them would keep the volumes of others in use for as long as the
    /// command runs.
    pub without: Option<PathBuf>,
}

/// One volume as a command is to see it. What is mounted inside a volume is seen too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where the volume is on the host, by a path whose parents are no links.
    pub source: PathBuf,
    /// The part of it to show, relative, followed through no link; a directory that is missing is made in a volume that
    /// may be written to, as the kubelet does for a subPath.
    pub part: Option<PathBuf>,
    /// The absolute path where the command sees it.
    pub at: PathBuf,
    /// It may only be read.
    pub read_only: bool,
}

/// A volume in our hand, not yet in its place.
struct Volume {
    tree: OwnedFd,
    at: PathBuf,
    directory: bool,
}

/// The mounts in which missing directories may be made: skeletons, and volumes (a volume inside a volume has its mount
/// point made there, as a container runtime does).
#[derive(Default)]
struct Ours {
    mounts: Vec<u64>,
    /// To be made read-only in the end: what a command wrote there would be lost without a word.
    to_seal: Vec<OwnedFd>,
}

const ONTO: MoveMountFlags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);
const COPY: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_RECURSIVE)
    .union(OpenTreeFlags::AT_NO_AUTOMOUNT);

/// Moves the calling thread into a mount namespace of its own that shows this view, and into `/`. For a single-threaded
/// process that calls [`exec`] next; after an error it is half-way and can only exit.
///
/// # Errors
/// `Invalid` for a path that is not absolute, holds `..` or is `/`, or where a file stands in the way of a directory;
/// `Io` with the kernel's word elsewhere. Needs root, or a user namespace of one's own.
pub fn enter(view: &View) -> Result<()> {
    let mut wanted = Vec::new();
    for shown in &view.volumes {
        wanted.push((shown, place(&shown.at)?));
    }
    // SAFETY: the table of descriptors stays shared; only the mount namespace and what belongs to it become our own.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(|e| {
        Error::os("cannot make a mount namespace", e).with_hint("run as root, or in a user namespace: unshare -rm")
    })?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|e| Error::os("cannot part our mounts from the host's", e))?;

    // All are taken in hand before the first is placed: a place may cover where another comes from.
    let mut volumes = Vec::new();
    for (shown, at) in wanted {
        volumes.push(Volume::take(shown, at)?);
    }
    if let Some(path) = &view.without {
        forget(path)?;
    }
    // What lies above comes first.
    volumes.sort_by(|one, other| one.at.cmp(&other.at));
    let mut ours = Ours::default();
    for volume in volumes {
        ours.put(volume)?;
    }
    for skeleton in &ours.to_seal {
        make_read_only(skeleton, false).map_err(|e| Error::os("cannot make the view read-only", e))?;
    }
    std::env::set_current_dir("/").map_err(|e| Error::io("go to", "/", e))
}

/// Goes over into the mount namespace that `file` names, such as `/proc/1/ns/mnt`: from then on every path is one of that namespace.
/// For a process of one thread.
///
/// # Errors
/// `Io`: there is no such file, it is no mount namespace, or we may not.
pub fn go_over(file: &Path) -> Result<()> {
    let opened = File::open(file).map_err(|e| Error::io("open", file, e))?;
    move_into_link_name_space(opened.as_fd(), Some(LinkNameSpaceType::Mount)).map_err(|e| {
        Error::io("go over into the mount namespace", file, e).with_hint(
            "run as root; in a container also privileged, and with the host's pids to see the host's: hostPID",
        )
    })?;
    std::env::set_current_dir("/").map_err(|e| Error::io("go to", "/", e))
}

/// Takes the mounts beneath `path` out of this namespace, whatever uses them elsewhere.
fn forget(path: &Path) -> Result<()> {
    let mut mounts = table::beneath(path)?;
    // The youngest first: it may lie on another.
    mounts.reverse();
    for mounted in mounts {
        // One that lies under another, which goes lazily with all beneath it, is gone already.
        let _ = unmount(&mounted.point, Unmount::Detach);
    }
    Ok(())
}

/// Becomes another program, with our arguments, environment and standard streams; returns only if that failed. A name
/// without a slash is looked for on `PATH`.
pub fn exec<A: AsRef<OsStr>>(argv: &[A]) -> Error {
    let Some((name, arguments)) = argv.split_first() else {
        return Error::new(ErrorKind::Invalid, "cannot start a command: none was given");
    };
    let name = name.as_ref();
    core_dumps_as_before();
    let error = Command::new(name).args(arguments).exec();
    if name.as_encoded_bytes().contains(&b'/') {
        return explain(Path::new(name), error);
    }
    // A directory on PATH that may not be searched turns "not found" into "permission denied".
    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) {
        let why = format!("cannot start {}: no directory on PATH holds such a command", name.display());
        return Error::os(why, error).with_kind(ErrorKind::NotFound);
    }
    Error::os(format!("cannot start {}", name.display()), error)
}

/// A mount path as a container's: absolute, without `..`; dots and doubled slashes go away.
fn place(at: &Path) -> Result<PathBuf> {
    let refuse = |why: &str| Err(Error::new(ErrorKind::Invalid, format!("cannot mount at {}: {why}", at.display())));
    if !at.is_absolute() {
        return refuse("the path must be absolute");
    }
    if at.components().any(|part| part == Component::ParentDir) {
        return refuse("the path must not hold `..`");
    }
    let bare: PathBuf = at.components().filter(|part| *part != Component::CurDir).collect();
    if bare == Path::new("/") {
        return refuse("a volume cannot be the whole root");
    }
    Ok(bare)
}

impl Volume {
    fn take(shown: &Shown, at: PathBuf) -> Result<Self> {
        let source = &shown.source;
        let whole = open_source(source)?;
        let taken = match &shown.part {
            None => whole,
            Some(part) => open_part(Root::of(whole, source), part, shown.read_only)?,
        };
        let tree = open_tree(taken, "", COPY | OpenTreeFlags::AT_EMPTY_PATH);
        let tree = tree.map_err(|e| Error::io("make a view of", source, e))?;
        if shown.read_only {
            make_read_only(&tree, true).map_err(|e| Error::io("make read-only a view of", source, e))?;
        }
        let directory = look(&tree, source)?.0 == FileType::Directory;
        Ok(Self { tree, at, directory })
    }
}

/// A volume's place. Some drivers make a link of the place itself, and that is the volume then; a link above it is nobody's.
fn open_source(source: &Path) -> Result<OwnedFd> {
    let place = open_real(source, OFlags::PATH | OFlags::NOFOLLOW).map_err(|e| astray(source, e))?;
    if look(&place, source)?.0 == FileType::Symlink { open(source) } else { Ok(place) }
}

/// Opens a part of a volume from within this namespace, beneath the volume's root whatever links its tenant laid there.
fn open_part(root: Root, part: &Path, read_only: bool) -> Result<OwnedFd> {
    match root.resolve(part, OFlags::PATH) {
        Err(error) if error.kind() == ErrorKind::NotFound && !read_only => root.make_dirs(part, 0o750)?.open(),
        opened => opened,
    }
}

impl Ours {
    fn put(&mut self, volume: Volume) -> Result<()> {
        let Volume { tree, at, directory } = volume;
        let target = match open(&at) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make(&at, directory)?;
                open(&at)?
            }
            there => there?,
        };
        if (look(&target, &at)?.0 == FileType::Directory) != directory {
            let (volume, there) = if directory { ("directory", "file") } else { ("file", "directory") };
            let why = format!("cannot mount at {}: the volume is a {volume}, but a {there} is there", at.display());
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        move_mount(&tree, "", &target, "", ONTO).map_err(|e| Error::io("mount a volume at", &at, e))?;
        self.mounts.push(look(&tree, &at)?.1);
        Ok(())
    }

    /// Makes a mount point that is missing, in a mount of ours.
    fn make(&mut self, at: &Path, directory: bool) -> Result<()> {
        let mut above = at.ancestors().skip(1);
        let (existing, fd) = loop {
            let Some(dir) = above.next() else {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("cannot mount at {}: there is no /", at.display()),
                ));
            };
            match open(dir) {
                Ok(fd) => break (dir, fd),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        };
        if !self.mounts.contains(&look(&fd, existing)?.1) {
            self.cover(existing)?;
        }
        let parents = if directory { Some(at) } else { at.parent() };
        parents.map_or(Ok(()), fs::create_dir_all).map_err(|e| Error::io("make the mount point", at, e))?;
        if !directory {
            File::create_new(at).map_err(|e| Error::io("make the mount point", at, e))?;
        }
        Ok(())
    }

    /// Covers a directory with a skeleton of itself.
    fn cover(&mut self, path: &Path) -> Result<()> {
        let failed = |e: Errno| Error::io("make a skeleton of", path, e);
        let below = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::io("open", path, e))?;
        let was = rustix::fs::fstat(&below).map_err(failed)?;
        let skeleton = tmpfs(was.st_mode & 0o7777).map_err(failed)?;
        move_mount(&skeleton, "", &below, "", ONTO).map_err(failed)?;

        let entries = Dir::read_from(&below).map_err(failed)?;
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                show(&below, &skeleton, name, entry.file_type())
                    .map_err(|e| Error::io("show in a skeleton", path.join(&*name.to_string_lossy()), e))?;
            }
        }
        if path == Path::new("/") {
            // The tmpfs lies on the namespace's own root, so the kernel does not count this as a confined process, which
            // could make no user namespaces.
            fchdir(&skeleton).and_then(|()| chroot(".")).map_err(failed)?;
        }
        self.mounts.push(look(&skeleton, path)?.1);
        // In a directory for everybody's temporary files people expect to write, and to lose, things.
        if was.st_mode & 0o1000 == 0 {
            self.to_seal.push(skeleton);
        }
        Ok(())
    }
}

/// A file system for directories only, out of sight.
fn tmpfs(mode: u32) -> std::result::Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "flexvol")?;
    fsconfig_set_string(&context, "mode", format!("{mode:o}"))?;
    fsconfig_create(&context)?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// Shows one entry of a covered directory in its skeleton, with all that is mounted on and beneath it.
fn show(below: &OwnedFd, skeleton: &OwnedFd, name: &CStr, kind: FileType) -> std::result::Result<(), Errno> {
    let kind = if kind == FileType::Unknown {
        let at = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        FileType::from_raw_mode(statx(below, name, at, StatxFlags::TYPE)?.stx_mode.into())
    } else {
        kind
    };
    if kind == FileType::Symlink {
        return symlinkat(&*readlinkat(below, name, Vec::new())?, skeleton, name);
    }
    let tree = match open_tree(below, name, COPY | OpenTreeFlags::AT_SYMLINK_NOFOLLOW) {
        // It has vanished since the directory was read.
        Err(Errno::NOENT) => return Ok(()),
        tree => tree?,
    };
    // A mount may be of another kind than the entry it covers is listed as; it is the mount that counts.
    let place = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let directory = statx(&tree, "", place, StatxFlags::TYPE)
        .map_or(kind == FileType::Directory, |seen| FileType::from_raw_mode(seen.stx_mode.into()).is_dir());
    if directory {
        mkdirat(skeleton, name, Mode::from_raw_mode(0o755))?;
    } else {
        openat(skeleton, name, OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?;
    }
    match move_mount(&tree, "", skeleton, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH) {
        Err(Errno::NOENT) => unlinkat(skeleton, name, if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() }),
        done => done,
    }
}

/// A place, following links as everybody who names it does.
fn open(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|e| Error::io("open", path, e))
}

/// What it is, and in which mount.
fn look(fd: impl AsFd, path: &Path) -> Result<(FileType, u64)> {
    let at = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let seen = statx(fd, "", at, StatxFlags::TYPE | StatxFlags::MNT_ID).map_err(|e| Error::io("look at", path, e))?;
    Ok((FileType::from_raw_mode(seen.stx_mode.into()), seen.stx_mnt_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_absolute_and_plain() {
        assert_eq!(place(Path::new("/data//x/./y/")).unwrap(), Path::new("/data/x/y"));
        for bad in ["", "data", "./data", "/", "//", "/.", "/data/../etc", "/.."] {
            assert_eq!(place(Path::new(bad)).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
        }
    }
}
