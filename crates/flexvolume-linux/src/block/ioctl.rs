//! The system calls of block devices that neither std nor rustix offers.
#![allow(unsafe_code)]

use std::{fs::File, io, os::fd::AsRawFd};

const BLKROGET: libc::Ioctl = libc::_IO(0x12, 94);
const BLKFLSBUF: libc::Ioctl = libc::_IO(0x12, 97);
const BLKDISCARD: libc::Ioctl = libc::_IO(0x12, 119);
const BLKZEROOUT: libc::Ioctl = libc::_IO(0x12, 127);

pub(super) fn zero(device: &File, at: u64, length: u64) -> io::Result<()> {
    ranged(device, BLKZEROOUT, [at, length])
}

pub(super) fn discard(device: &File, at: u64, length: u64) -> io::Result<()> {
    ranged(device, BLKDISCARD, [at, length])
}

pub(super) fn is_read_only(device: &File) -> io::Result<bool> {
    let mut answer: libc::c_int = 0;
    // SAFETY: this request writes one int, which lives through the call.
    if unsafe { libc::ioctl(device.as_raw_fd(), BLKROGET, &mut answer) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer != 0)
}

pub(super) fn forget_cached(device: &File) -> io::Result<()> {
    // SAFETY: this request takes no argument.
    if unsafe { libc::ioctl(device.as_raw_fd(), BLKFLSBUF, 0) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn ranged(device: &File, request: libc::Ioctl, range: [u64; 2]) -> io::Result<()> {
    loop {
        // SAFETY: both requests read two numbers of 64 bits, which live through the call.
        if unsafe { libc::ioctl(device.as_raw_fd(), request, range.as_ptr()) } >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
