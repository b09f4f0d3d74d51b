//! Mounts made the modern way: built in full out of sight, with their flags, and only then put in place.

use std::path::Path;

use linux_raw_sys::general::{
    AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RELATIME, MOUNT_ATTR_STRICTATIME,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, OFlags, StatxFlags, statx},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    MountId,
    mounted::AccessTimes,
    raw::{self, Attributes},
    table::{self, path_of},
};
use crate::{
    Error, ErrorKind, Result,
    real::{astray, open_real},
};

/// What a mount forbids. A flag that is false changes nothing: it never takes away what is forbidden already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// No writing.
    pub read_only: bool,
    /// Set-user-id bits have no effect.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Programs cannot be run.
    pub noexec: bool,
}

/// `nosuid` and `nodev`: what a volume's content must never be able to do unless an administrator says so.
impl Default for Flags {
    fn default() -> Self {
        Self { read_only: false, nosuid: true, nodev: true, noexec: false }
    }
}

/// A file system to mount.
#[derive(Clone, Copy, Debug)]
pub struct FsMount<'a> {
    /// Its type: `ext4`, `nfs`, `fuse.sshfs`.
    pub fs_type: &'a str,
    /// The device, export or name; `None` for types that need none.
    pub source: Option<&'a str>,
    /// Options with or without a value. `ro` and the `no…` flags of mount(8) are understood; those that would allow
    /// what `flags` forbids are refused.
    pub options: &'a [(String, Option<String>)],
    /// What the mount forbids.
    pub flags: Flags,
}

/// A mount that is nowhere to be seen yet. Dropped, it is gone; nobody ever saw it.
#[derive(Debug)]
pub struct Tree {
    fd: OwnedFd,
    what: String,
    /// Whether mounts below it are a part of it.
    is_deep: bool,
}

/// Mount options told apart: for the mount, and for the file system.
struct Sorted<'a> {
    attr: MountAttrFlags,
    read_only: bool,
    own: Vec<&'a (String, Option<String>)>,
}

impl Flags {
    pub(super) fn attr(self) -> u32 {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        bit(self.read_only, MOUNT_ATTR_RDONLY)
            | bit(self.nosuid, MOUNT_ATTR_NOSUID)
            | bit(self.nodev, MOUNT_ATTR_NODEV)
            | bit(self.noexec, MOUNT_ATTR_NOEXEC)
    }
}

impl Tree {
    /// Mounts a file system out of sight. May block as long as its device or server pleases.
    ///
    /// Errors: `Unsupported` if the kernel does not know the type; `Corrupted` if it finds the file system damaged; else what it said, in its own words where
    /// the file system has any.
    pub fn new(wanted: &FsMount<'_>) -> Result<Self> {
        let what = match wanted.source {
            Some(source) => format!("{} from {source}", wanted.fs_type),
            None => wanted.fs_type.to_owned(),
        };
        let sorted = sort(wanted)?;
        let context = fsopen(wanted.fs_type, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| unknown_type(wanted, e))?;
        let failed = |step: &str, e: Errno| failure(&context, format!("cannot mount {what}: {step}"), e);
        if let Some(source) = wanted.source {
            fsconfig_set_string(&context, "source", source).map_err(|e| failed("its source was refused", e))?;
        }
        if sorted.read_only {
            fsconfig_set_flag(&context, "ro").map_err(|e| failed("read-only was refused", e))?;
        }
        for (key, value) in sorted.own {
            match value {
                Some(value) => fsconfig_set_string(&context, key.as_str(), value.as_str()),
                None => fsconfig_set_flag(&context, key.as_str()),
            }
            .map_err(|e| failed(&format!("option {key} was refused"), e))?;
        }
        fsconfig_create(&context).map_err(|e| {
            let error = failed("the file system would not start", e);
            // So the kernel says that what it read makes no sense, or has another checksum.
            if matches!(e, Errno::UCLEAN | Errno::BADMSG) { error.with_kind(ErrorKind::Corrupted) } else { error }
        })?;
        let fd = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, sorted.attr)
            .map_err(|e| failed("the mount was refused", e))?;
        Ok(Self { fd, what, is_deep: false })
    }

    /// A second view, out of sight, of the directory or file `source` (not of mounts below it), forbidding `flags` and
    /// whatever its mount forbids already. Never reaches into the file system. A link anywhere in `source` is refused.
    ///
    /// Errors: `Refused` for a link; `Unsupported` before kernel 5.12 if there are flags to set.
    pub fn of(source: &Path, flags: Flags) -> Result<Self> {
        Self::at(open_point(source)?.as_fd(), source, flags)
    }

    /// The same of a directory or file that is open: whatever is done to its path meanwhile. `what` is for messages.
    ///
    /// Errors: as [`Tree::of`].
    pub fn at(source: BorrowedFd<'_>, what: &Path, flags: Flags) -> Result<Self> {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let fd = open_tree(source, "", clone).map_err(|e| Error::io("make a view of", what, e))?;
        let what = format!("a view of {}", what.display());
        forbid(fd.as_fd(), flags, 0, &what)?;
        Ok(Self { fd, what, is_deep: false })
    }

    /// A second view of `source` and of every mount below it, each forbidding `flags` too. What is mounted below `source` later is
    /// seen here where `source` passes that on; what is mounted or taken away here changes nothing there.
    ///
    /// Errors: as [`Tree::of`]; `Unsupported` before kernel 5.12.
    pub fn whole(source: &Path, flags: Flags) -> Result<Self> {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let fd = open_tree(open_point(source)?, "", clone | OpenTreeFlags::AT_RECURSIVE)
            .map_err(|e| Error::io("make a view of", source, e))?;
        let what = format!("a view of {}", source.display());
        let follows = Attributes { propagation: libc::MS_SLAVE, ..Attributes::default() };
        raw::mount_setattr(fd.as_fd(), c"", AT_EMPTY_PATH | AT_RECURSIVE, follows)
            .map_err(|e| too_old(Error::os(format!("cannot set the propagation of {what}"), e)))?;
        forbid(fd.as_fd(), flags, AT_RECURSIVE, &what)?;
        Ok(Self { fd, what, is_deep: true })
    }

    /// Says which access times this view writes down, and whether those of directories are passed over (`nodiratime`).
    ///
    /// Errors: `Unsupported` before kernel 5.12.
    pub fn access_times(self, times: AccessTimes, no_directories: bool) -> Result<Self> {
        let times = match times {
            AccessTimes::Some => MOUNT_ATTR_RELATIME,
            AccessTimes::Every => MOUNT_ATTR_STRICTATIME,
            AccessTimes::None => MOUNT_ATTR_NOATIME,
        };
        let directories = if no_directories { MOUNT_ATTR_NODIRATIME } else { 0 };
        let change =
            Attributes { set: (times | directories).into(), clear: MOUNT_ATTR__ATIME.into(), ..Attributes::default() };
        let deep = if self.is_deep { AT_RECURSIVE } else { 0 };
        raw::mount_setattr(self.fd.as_fd(), c"", AT_EMPTY_PATH | deep, change)
            .map_err(|e| too_old(Error::os(format!("cannot set the access times of {}", self.what), e)))?;
        Ok(self)
    }

    /// The number that the mount has, also once it is in place.
    ///
    /// Errors: what the kernel says.
    pub fn id(&self) -> Result<MountId> {
        table::id_of(self.fd.as_fd()).map_err(|e| Error::os(format!("cannot tell which mount {} is", self.what), e))
    }

    /// Puts the mount in place, on top of whatever `target` is. A link anywhere in `target` is refused.
    pub fn attach(&self, target: &Path) -> Result<()> {
        self.attach_to(open_point(target)?.as_fd())
    }

    /// Puts the mount in place on an open directory or file (an `O_PATH` descriptor will do).
    pub fn attach_to(&self, target: BorrowedFd<'_>) -> Result<()> {
        let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&self.fd, "", target, "", how).map_err(|e| {
            let target = path_of(&target).unwrap_or_default();
            Error::os(format!("cannot put {} at {}", self.what, target.display()), e)
        })
    }
}

/// The mount's root, to be opened beneath.
impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes the directory or file `source` visible at `target` too, with the flags in force before it is. No part of either
/// may be a link. Mounts below `source` are not carried along. Never reaches into the file system.
///
/// Errors: as [`Tree::of`] and [`Tree::attach`].
pub fn bind(source: &Path, target: &Path, flags: Flags) -> Result<()> {
    Tree::of(source, flags)?.attach(target)
}

/// Forbids `flags` on the mount that is on top at `target`.
///
/// Errors: `NotFound` if nothing is mounted exactly there; `Unsupported` before kernel 5.12.
pub fn set_flags(target: &Path, flags: Flags) -> Result<()> {
    let at = open_point(target)?;
    forbid(at.as_fd(), flags, 0, &target.display().to_string()).map_err(|e| match e.errno() {
        Some(libc::EINVAL) => Error::new(
            ErrorKind::NotFound,
            format!("cannot set mount flags: nothing is mounted at {}", target.display()),
        ),
        Some(_) | None => e,
    })
}

fn forbid(mount: BorrowedFd<'_>, flags: Flags, deep: u32, what: &str) -> Result<()> {
    let set = flags.attr();
    if set == 0 {
        return Ok(());
    }
    raw::mount_setattr(mount, c"", AT_EMPTY_PATH | deep, Attributes { set: set.into(), ..Attributes::default() })
        .map_err(|e| too_old(Error::os(format!("cannot set mount flags on {what}"), e)))
}

/// Takes the mount that `mount` is the root of out of its peer group: what is mounted beneath it appears nowhere else, and
/// copies made of it from now on have no peers. `what` is for the error.
///
/// Errors: `Unsupported` before kernel 5.12.
pub fn make_private(mount: BorrowedFd<'_>, what: &Path) -> Result<()> {
    let private = Attributes { propagation: libc::MS_PRIVATE, ..Attributes::default() };
    raw::mount_setattr(mount, c"", AT_EMPTY_PATH, private)
        .map_err(|e| too_old(Error::os(format!("cannot make the mount at {} private", what.display()), e)))
}

fn too_old(error: Error) -> Error {
    match error.errno() {
        Some(libc::ENOSYS) => error.with_kind(ErrorKind::Unsupported).with_hint("use kernel 5.12 or later"),
        Some(_) | None => error,
    }
}

/// A place for a mount to be taken from or put on; opening it wakes no file system. No part of its path may be a link, for
/// whoever can swap a directory above it for a link would choose where the mount goes.
pub(crate) fn open_point(path: &Path) -> Result<OwnedFd> {
    let bare: std::path::PathBuf = path.components().collect();
    let fd = open_real(&bare, OFlags::PATH | OFlags::NOFOLLOW).map_err(|e| astray(path, e))?;
    let at = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let link = statx(&fd, "", at, StatxFlags::TYPE)
        .is_ok_and(|seen| FileType::from_raw_mode(seen.stx_mode.into()) == FileType::Symlink);
    if link {
        let context = format!("cannot use {} for a mount: it is a symbolic link", path.display());
        return Err(Error::new(ErrorKind::Refused, context).with_hint("name the place that it leads to"));
    }
    Ok(fd)
}

/// Whether the mount is to be read-only, by its flags or by its options.
///
/// Errors: `Refused` for options that allow what the flags forbid.
pub(super) fn is_read_only(wanted: &FsMount<'_>) -> Result<bool> {
    sort(wanted).map(|sorted| sorted.read_only)
}

/// Tells mount(8)'s generic options from the file system's own.
fn sort<'a>(wanted: &FsMount<'a>) -> Result<Sorted<'a>> {
    let flags = wanted.flags;
    let mut attr = MountAttrFlags::empty();
    let mut read_only = flags.read_only;
    let mut own = Vec::new();
    for option in wanted.options {
        let allows = match option.0.as_str() {
            "ro" => {
                read_only = true;
                false
            }
            "nosuid" => {
                attr |= MountAttrFlags::MOUNT_ATTR_NOSUID;
                false
            }
            "nodev" => {
                attr |= MountAttrFlags::MOUNT_ATTR_NODEV;
                false
            }
            "noexec" => {
                attr |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
                false
            }
            "noatime" => {
                attr |= MountAttrFlags::MOUNT_ATTR_NOATIME;
                false
            }
            "strictatime" => {
                attr |= MountAttrFlags::MOUNT_ATTR_STRICTATIME;
                false
            }
            "nodiratime" => {
                attr |= MountAttrFlags::MOUNT_ATTR_NODIRATIME;
                false
            }
            "rw" => flags.read_only,
            "suid" => flags.nosuid,
            "dev" => flags.nodev,
            "exec" => flags.noexec,
            "defaults" | "relatime" | "auto" | "noauto" | "nofail" | "_netdev" => false,
            _ => {
                own.push(option);
                false
            }
        };
        if allows {
            let context = format!("cannot mount {}: option {} allows what is forbidden here", wanted.fs_type, option.0);
            return Err(Error::new(ErrorKind::Refused, context).with_hint("leave the option out"));
        }
    }
    attr |= MountAttrFlags::from_bits_retain(Flags { read_only, ..flags }.attr());
    Ok(Sorted { attr, read_only, own })
}

fn unknown_type(wanted: &FsMount<'_>, error: Errno) -> Error {
    let failed = Error::os(format!("cannot mount {}: the kernel does not offer this type", wanted.fs_type), error);
    if error == Errno::NODEV {
        let hint = format!("load the kernel module {0}, or install the program mount.{0}", wanted.fs_type);
        return failed.with_kind(ErrorKind::Unsupported).with_hint(hint);
    }
    failed
}

/// The error with the words that the file system left in its context, if any.
fn failure(context: &OwnedFd, sentence: String, error: Errno) -> Error {
    let failed = Error::os(sentence, error);
    let mut words = Vec::new();
    let mut buffer = [0_u8; 4096];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        if length == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
        // Each line begins with its severity: "e ", "w " or "i ".
        words.push(line.get(2..).map_or(line.clone(), str::to_owned));
    }
    if words.is_empty() {
        return failed;
    }
    words.push(std::io::Error::from(error).kind().to_string());
    failed.with_cause(words.join("; "))
}
