//! Opening a path of which no part is a link, so that whoever can swap a directory for one cannot lead us astray.

use std::path::Path;

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

use crate::{Error, ErrorKind};

/// The kernel asks to be asked again when names were moved while it resolved one.
const TRIES: usize = 16;

/// Opens a path without a link in it; the error is `LOOP` for one that has. With `PATH | NOFOLLOW` a link as its last component
/// is opened itself.
pub(crate) fn open_real(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open_how(CWD, path, flags, ResolveFlags::NO_SYMLINKS)
}

/// Opens what a path names beneath an open directory, neither by a link nor by `..` outside of it.
pub(crate) fn open_below(dir: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open_how(dir, path, flags, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// The same, and neither by a mount: what is opened lies in the directory's own file system.
pub(crate) fn open_within(dir: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let stay = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    open_how(dir, path, flags, stay)
}

fn open_how(dir: impl AsFd, path: &Path, flags: OFlags, how: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let open = || openat2(&dir, path, flags | OFlags::CLOEXEC, Mode::empty(), how);
    for _ in 1..TRIES {
        match open() {
            Err(Errno::AGAIN) => {}
            done => return done,
        }
    }
    open()
}

/// What one of the first two said, in words.
pub(crate) fn astray(path: &Path, error: Errno) -> Error {
    let failed = Error::io("open", path, error);
    match error {
        Errno::LOOP | Errno::XDEV => failed
            .with_kind(ErrorKind::Refused)
            .with_cause("a part of it is a symbolic link")
            .with_hint("name the real place"),
        Errno::NOSYS => failed.with_kind(ErrorKind::Unsupported).with_hint("use kernel 5.6 or later"),
        _ => failed,
    }
}

/// What [`open_within`] said, in words.
pub(crate) fn stays(path: &Path, error: Errno) -> Error {
    let failed = Error::io("open", path, error).with_kind(ErrorKind::Refused);
    match error {
        Errno::LOOP => failed.with_cause("a part of it is a symbolic link"),
        Errno::XDEV => failed.with_cause("another file system is mounted on the way to it"),
        Errno::NOTDIR => failed.with_cause("it is no directory"),
        _ => astray(path, error),
    }
}
