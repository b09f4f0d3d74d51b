//! A mounted file system shut down, as the kernel does it itself when the device beneath is gone: for those who must see what
//! others make of that.
#![allow(unsafe_code)]

use std::{io, os::fd::AsRawFd, path::Path};

use rustix::fs::{Mode, OFlags, fstat, major, minor, open};

use crate::{Error, ErrorKind, Result};

/// The same for ext4, XFS and F2FS.
const SHUTDOWN: libc::Ioctl = libc::_IOR::<u32>(b'X' as u32, 125);

/// What was written until now is flushed first.
const FLUSHED: u32 = 0;

/// Shuts the file system down that is mounted at `dir` and has this number: nothing can be read from it or written to it any more
/// until it was unmounted everywhere and is mounted anew. It keeps what it holds. That ends whatever works on it, wherever it is
/// mounted: the caller knows that nobody but himself has it.
///
/// # Errors
/// `Invalid` if another one is there, `Unsupported` if it cannot be shut down, `Io` otherwise.
pub fn shut_down(dir: &Path, dev: (u32, u32)) -> Result<()> {
    let failed = |what: &str, error: io::Error| Error::io(what, dir, error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = open(dir, flags, Mode::empty()).map_err(|error| failed("open", error.into()))?;
    let seen = fstat(&open).map_err(|error| failed("look at", error.into()))?.st_dev;
    if (major(seen), minor(seen)) != dev {
        let context = format!("cannot shut down the file system at {}: another one is there", dir.display());
        return Err(Error::new(ErrorKind::Invalid, context));
    }
    // SAFETY: this request reads one number of 32 bits, which lives through the call.
    if unsafe { libc::ioctl(open.as_raw_fd(), SHUTDOWN, &FLUSHED) } >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    let is_unknown = matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EOPNOTSUPP));
    let error = failed("shut down the file system at", error);
    Err(if is_unknown { error.with_kind(ErrorKind::Unsupported) } else { error })
}
