//! What belongs to an entry beside its content: owner, mode, attributes and times.

use std::{
    ffi::{CStr, CString, OsStr},
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
};

use rustix::{
    fs::{
        AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown, fgetxattr,
        flistxattr, fsetxattr, futimens, readlinkat, symlinkat, utimensat,
    },
    io::{Errno, Result},
};

/// Of these classes an attribute is copied. The others are the kernel's or the file system's own affair.
const COPIED: [&[u8]; 2] = [b"user.", b"system.posix_acl_"];

/// The longest list of names, and the longest value, that the kernel lets anybody have.
const LONGEST: usize = 65536;

const MODE_BITS: u32 = 0o7777;

/// Gives a file or a directory what its original has. The owner first: a change of owner takes set-id bits away; the times
/// last: all else changes them. Says how many attributes it does not take.
pub(super) fn dress(from: BorrowedFd<'_>, stat: &Stat, to: BorrowedFd<'_>) -> Result<u64> {
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    let lost = attributes(from, to)?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & MODE_BITS))?;
    futimens(to, &times(stat))?;
    Ok(lost)
}

/// Where a link leads.
pub(super) fn target(from: BorrowedFd<'_>, name: &OsStr) -> Result<CString> {
    readlinkat(from, name, Vec::new())
}

/// Makes a link, with what its original has.
pub(super) fn link(target: &CStr, stat: &Stat, to: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    symlinkat(target, to, name)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

fn times(stat: &Stat) -> Timestamps {
    // Whole numbers of other widths on other machines.
    #[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap)]
    let time = |seconds: i64, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos as i64 };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Extended attributes, where both sides have them. Says how many there are that only the original's side has.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<u64> {
    let mut lost = 0;
    let mut list = vec![0_u8; LONGEST];
    let length = match flistxattr(from, &mut list[..]) {
        Ok(0) | Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(0),
        Ok(length) => length,
        Err(error) => return Err(error),
    };
    for name in list[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if !COPIED.iter().any(|class| name.to_bytes().starts_with(class)) {
            continue;
        }
        let mut value = vec![0_u8; LONGEST];
        let length = match fgetxattr(from, name, &mut value[..]) {
            Ok(length) => length,
            // Gone since it was listed; or listed and not to be had.
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            Err(error) => return Err(error),
        };
        match fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOTSUP) => lost += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(lost)
}

/// Whether two descriptors are of one file.
pub(super) fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Whether a file that was copied from one has been finished: then it has its length and its time, which are given last.
pub(super) fn is_finished(copy: &Stat, original: &Stat) -> bool {
    copy.st_size == original.st_size && modified(copy) == modified(original)
}

/// When it was changed last.
pub(super) fn modified(stat: &Stat) -> (i64, u64) {
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    (stat.st_mtime as i64, stat.st_mtime_nsec as u64)
}

/// Its number among the files of its file system, as a name.
pub(super) fn number(stat: &Stat) -> String {
    format!("{:x}", stat.st_ino)
}

/// A name's bytes, which give its order.
pub(super) fn bytes(name: &OsStr) -> &[u8] {
    name.as_bytes()
}
