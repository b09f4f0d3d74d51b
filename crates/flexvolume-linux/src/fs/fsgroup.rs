//! Giving a volume to a pod's group: the walk that Kubernetes makes, by descriptor, never out of the volume.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, chmod, chownat, fstat, openat2, statat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    mount::{Flags, Tree},
    real::{astray, open_real},
};

/// What a walk did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// False if the root directory bore the mark of an earlier, finished walk and nothing was done.
    pub walked: bool,
    /// Entries whose group or mode was changed.
    pub changed: u64,
    /// Entries that were right already.
    pub right: u64,
    /// Entries that could not be changed.
    pub failed: u64,
    /// The first few of those.
    pub missed: Vec<Missed>,
}

/// An entry that could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Where it is.
    pub path: PathBuf,
    /// The system's word.
    pub why: String,
}

/// How many [`Missed`] are kept.
const MISSED: usize = 8;

/// Read and write for the group; for directories also search, and new entries inherit the group.
const FILE: u32 = 0o660;
const DIRECTORY: u32 = FILE | 0o110 | SETGID;
const SETGID: u32 = 0o2000;
const MODE_BITS: u32 = 0o7777;

/// A directory whose entries are done and whose subdirectories are not.
struct Frame {
    /// From the root of the volume; empty for the root itself.
    path: PathBuf,
    todo: Vec<OsString>,
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// For messages only.
    shown: &'a Path,
    gid: Gid,
    applied: Applied,
}

/// Gives everything below and including `dir` to group `gid`: files get mode `|0660`, directories `|0770` and setgid,
/// links only the group; device nodes are left alone. Children go before parents and `dir` itself last, so its group
/// and mode are the mark of a finished walk; with `on_mismatch` a marked one is not walked again.
///
/// The walk goes through a private view of the mount at `dir` (nosuid, nodev, noexec), follows no link and enters no
/// other mount; it keeps one directory open, however deep the tree. It reaches into the mount: call it in a worker.
///
/// # Errors
/// `Io` if `dir` itself cannot be opened or read; single entries that fail are counted, not returned.
pub fn apply_fs_group(dir: &Path, gid: u32, on_mismatch: bool) -> Result<Applied> {
    let view = view(dir)?;
    let mut walk = Walk { root: view.as_fd(), shown: dir, gid: Gid::from_raw(gid), applied: Applied::default() };
    let open = |error| Error::io("open volume", dir, error);
    let root = walk.open(Path::new(""), OFlags::PATH | OFlags::DIRECTORY).map_err(open)?;
    let stat = fstat(&root).map_err(open)?;
    if on_mismatch && stat.st_gid == gid && stat.st_mode & DIRECTORY == DIRECTORY {
        return Ok(walk.applied);
    }
    walk.applied.walked = true;
    walk.all().map_err(|error| Error::io("read volume", dir, error))?;
    Ok(walk.applied)
}

/// The volume as the walk sees it: a clone of its mount without what is mounted below; where we may not make one, the
/// directory itself.
fn view(dir: &Path) -> Result<OwnedFd> {
    let flags = Flags { read_only: false, nosuid: true, nodev: true, noexec: true };
    let opened =
        open_real(dir, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::PATH).map_err(|error| astray(dir, error))?;
    match Tree::of(dir, flags) {
        Ok(tree) => {
            rustix::io::fcntl_dupfd_cloexec(tree.as_fd(), 3).map_err(|error| Error::io("open volume", dir, error))
        }
        Err(_) => Ok(opened),
    }
}

impl Walk<'_> {
    fn all(&mut self) -> rustix::io::Result<()> {
        let mut stack = vec![self.enter(PathBuf::new())?];
        while let Some(top) = stack.last_mut() {
            match top.todo.pop() {
                Some(name) => {
                    let path = top.path.join(name);
                    match self.enter(path.clone()) {
                        Ok(frame) => stack.push(frame),
                        // Another mount, or gone since it was listed.
                        Err(Errno::XDEV | Errno::NOENT) => {}
                        Err(error) => self.missed(&path, error),
                    }
                }
                None => {
                    if let Some(done) = stack.pop() {
                        self.directory(&done.path);
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens something below the root without following a link or leaving the mount.
    fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        open_below(self.root, if path.as_os_str().is_empty() { OsStr::new(".") } else { path.as_os_str() }, flags)
    }

    /// Does the entries of a directory that are no directories, and lists those that are.
    fn enter(&mut self, path: PathBuf) -> rustix::io::Result<Frame> {
        let fd = self.open(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut todo = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            match statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => todo.push(name.to_owned()),
                Ok(stat) => {
                    let done = self.file(fd.as_fd(), name, &stat);
                    self.note(&path.join(name), done);
                }
                Err(Errno::NOENT) => {}
                Err(error) => self.missed(&path.join(name), error),
            }
        }
        Ok(Frame { path, todo })
    }

    /// Whether anything was changed.
    fn file(&self, dir: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> rustix::io::Result<bool> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let change = stat.st_gid != self.gid.as_raw();
                if change {
                    chownat(dir, name, None, Some(self.gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                Ok(change)
            }
            FileType::RegularFile | FileType::Fifo | FileType::Socket => {
                if stat.st_gid == self.gid.as_raw() && stat.st_mode & FILE == FILE {
                    return Ok(false);
                }
                let fd = open_below(dir, name, OFlags::PATH)?;
                match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
                    FileType::RegularFile | FileType::Fifo | FileType::Socket => self.change(&fd, FILE),
                    // Swapped since it was listed: the next walk sees what it is.
                    FileType::Directory
                    | FileType::Symlink
                    | FileType::CharacterDevice
                    | FileType::BlockDevice
                    | FileType::Unknown => Ok(false),
                }
            }
            FileType::Directory | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Ok(false),
        }
    }

    fn directory(&mut self, path: &Path) {
        let done = self.open(path, OFlags::PATH | OFlags::DIRECTORY).and_then(|fd| self.change(&fd, DIRECTORY));
        self.note(path, done);
    }

    /// Sets group and bits of what `fd` (an `O_PATH` descriptor, no link) stands for.
    fn change(&self, fd: &OwnedFd, bits: u32) -> rustix::io::Result<bool> {
        let stat = fstat(fd)?;
        let mode = stat.st_mode & MODE_BITS;
        let regroup = stat.st_gid != self.gid.as_raw();
        if regroup {
            chownat(fd, "", None, Some(self.gid), AtFlags::EMPTY_PATH)?;
        }
        // A change of group takes set-id bits away; they are put back, as Kubernetes does.
        let remode = mode & bits != bits || regroup && mode & 0o6000 != 0;
        if remode {
            chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::from_raw_mode(mode | bits))?;
        }
        Ok(regroup || remode)
    }

    fn note(&mut self, path: &Path, done: rustix::io::Result<bool>) {
        match done {
            Ok(true) => self.applied.changed += 1,
            Ok(false) => self.applied.right += 1,
            Err(Errno::NOENT) => {}
            Err(error) => self.missed(path, error),
        }
    }

    fn missed(&mut self, path: &Path, error: Errno) {
        self.applied.failed += 1;
        if self.applied.missed.len() < MISSED {
            let shown: PathBuf =
                self.shown.join(path).as_os_str().to_string_lossy().chars().take(512).collect::<String>().into();
            let why = std::io::Error::from(error).kind().to_string();
            self.applied.missed.push(Missed { path: shown, why });
        }
    }
}

fn open_below(dir: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    loop {
        match openat2(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // The kernel asks to try again after a rename elsewhere that it could not rule out to matter.
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::*;

    const GID: u32 = 4242;

    fn root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("skipped: changing groups needs root");
        }
        root
    }

    fn of(path: &Path) -> (u32, u32) {
        let meta = fs::symlink_metadata(path).unwrap();
        (meta.gid(), meta.mode() & MODE_BITS)
    }

    fn file(path: &Path, mode: u32) {
        fs::write(path, "x").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn modes_groups_links_and_the_mark() {
        if !root() {
            return;
        }
        let outside = tempfile::tempdir().unwrap();
        file(&outside.path().join("secret"), 0o600);
        let volume = tempfile::tempdir().unwrap();
        fs::set_permissions(volume.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| volume.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::set_permissions(at("a"), fs::Permissions::from_mode(0o750)).unwrap();
        file(&at("a/b/f"), 0o640);
        file(&at("a/suid"), 0o4755);
        symlink(outside.path().join("secret"), at("link")).unwrap();
        symlink(outside.path(), at("dirlink")).unwrap();
        let applied = apply_fs_group(volume.path(), GID, true).unwrap();
        assert_eq!((applied.walked, applied.changed, applied.failed), (true, 7, 0), "{applied:?}");
        assert_eq!(of(&at("a/b/f")), (GID, 0o660));
        assert_eq!(of(&at("a/suid")), (GID, 0o4775));
        assert_eq!(of(&at("a")), (GID, 0o2770));
        assert_eq!(of(volume.path()), (GID, 0o2775));
        assert_eq!(of(&at("link")).0, GID);
        assert_eq!(of(&outside.path().join("secret")), (0, 0o600), "a link's target is not touched");
        assert_ne!(of(outside.path()).0, GID);

        file(&at("late"), 0o600);
        assert!(!apply_fs_group(volume.path(), GID, true).unwrap().walked, "the root's mark says it is done");
        assert_eq!(of(&at("late")).1, 0o600);
        let again = apply_fs_group(volume.path(), GID, false).unwrap();
        assert_eq!((again.walked, again.changed), (true, 1), "{again:?}");
        assert_eq!(again.right, 7);
    }

    #[test]
    fn a_link_is_no_volume() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        assert!(apply_fs_group(&dir.path().join("link"), 0, false).is_err());
        assert!(apply_fs_group(&dir.path().join("nowhere"), 0, false).is_err());
    }

    #[test]
    fn depth_costs_no_descriptors_and_ends_in_a_count() {
        if !root() {
            return;
        }
        let volume = tempfile::tempdir().unwrap();
        let mut fd = rustix::fs::open(volume.path(), OFlags::DIRECTORY | OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..2_500 {
            rustix::fs::mkdirat(&fd, "d", Mode::from_raw_mode(0o700)).unwrap();
            fd = rustix::fs::openat(&fd, "d", OFlags::DIRECTORY | OFlags::PATH, Mode::empty()).unwrap();
        }
        let applied = apply_fs_group(volume.path(), GID, false).unwrap();
        assert!(applied.changed > 1_500, "{applied:?}");
        assert_eq!((applied.failed, applied.missed.len()), (1, 1), "what is deeper than a path can name is reported");
        assert_eq!(of(volume.path()).0, GID);
        // std's remove_dir_all keeps a descriptor per level; the tree is taken down from its end instead.
        let status = std::process::Command::new("rm").arg("-rf").arg(volume.path()).status().unwrap();
        assert!(status.success());
    }

    #[test]
    fn what_cannot_be_changed_is_named() {
        if !root() {
            return;
        }
        let volume = tempfile::tempdir().unwrap();
        let fixed = volume.path().join("fixed");
        file(&fixed, 0o600);
        let chattr = |flag: &str| std::process::Command::new("chattr").arg(flag).arg(&fixed).status();
        if !chattr("+i").is_ok_and(|status| status.success()) {
            eprintln!("skipped: no immutable files here");
            return;
        }
        let applied = apply_fs_group(volume.path(), GID, false).unwrap();
        let _ = chattr("-i");
        assert_eq!((applied.failed, applied.missed[0].path.as_path()), (1, fixed.as_path()), "{applied:?}");
        assert_eq!(of(volume.path()).0, GID, "the root is given all the same");
    }
}
