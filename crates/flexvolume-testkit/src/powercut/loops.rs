//! Loop devices that go when their last user does.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LO_FLAGS_READ_ONLY, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, loop_config,
};

/// A loop device, open; another user may open it before this is dropped.
pub(super) struct Loop {
    _open: File,
    path: PathBuf,
}

impl Loop {
    /// Binds a free device to the file.
    pub(super) fn attach(file: &File, read_only: bool) -> io::Result<Loop> {
        let control = File::options().read(true).write(true).open("/dev/loop-control")?;
        loop {
            // SAFETY: takes no argument.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE.into()) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let open = File::options().read(true).write(!read_only).open(&path)?;
            match configure(&open, file, read_only) {
                // Somebody was faster.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                done => return done.map(|()| Loop { _open: open, path }),
            }
        }
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }
}

fn configure(device: &File, file: &File, read_only: bool) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid loop_config.
    let mut config: loop_config = unsafe { std::mem::zeroed() };
    config.fd = file.as_raw_fd() as u32;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR as u32 | if read_only { LO_FLAGS_READ_ONLY as u32 } else { 0 };
    // SAFETY: the kernel reads a struct of exactly this type.
    match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE.into(), &raw const config) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
