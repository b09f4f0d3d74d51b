//! The loop driver's system calls.
#![allow(unsafe_code)]

use std::{fs::File, io, os::fd::AsRawFd};

use linux_raw_sys::loop_device::{
    LO_NAME_SIZE, LOOP_CLR_FD, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, LOOP_GET_STATUS64, LOOP_SET_CAPACITY,
    LOOP_SET_DIRECT_IO, loop_config, loop_info64,
};

/// Left to itself the kernel (6.14 and later) takes what direct I/O to the file needs, and that changes: xfs wants whole blocks as
/// soon as the file shares one. A file system that was made for small sectors could not be mounted any more. Where the two do not
/// go together, it is direct I/O that is left out.
const SECTOR: u32 = 512;

fn ok(done: libc::c_int) -> io::Result<libc::c_int> {
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

pub(super) fn get_free(control: &File) -> io::Result<libc::c_int> {
    // SAFETY: this ioctl takes no argument.
    ok(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _, 0) })
}

pub(super) fn configure(device: &File, image: &File, name: [u8; LO_NAME_SIZE as usize], flags: u32) -> io::Result<()> {
    let config = loop_config {
        fd: image.as_raw_fd().cast_unsigned(),
        block_size: SECTOR,
        info: loop_info64 { lo_file_name: name, lo_flags: flags, ..no_info() },
        __reserved: [0; 8],
    };
    // SAFETY: the ioctl reads one live `loop_config`.
    ok(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config) }).map(|_| ())
}

pub(super) fn status(device: &File) -> io::Result<loop_info64> {
    let mut info = no_info();
    // SAFETY: the ioctl writes one `loop_info64`, into which any bytes fit.
    ok(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64 as _, &raw mut info) })?;
    Ok(info)
}

pub(super) fn clear(device: &File) -> io::Result<()> {
    // SAFETY: this ioctl takes no argument.
    match ok(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD as _, 0) }) {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
        done => done.map(|_| ()),
    }
}

fn no_info() -> loop_info64 {
    loop_info64 {
        lo_device: 0,
        lo_inode: 0,
        lo_rdevice: 0,
        lo_offset: 0,
        lo_sizelimit: 0,
        lo_number: 0,
        lo_encrypt_type: 0,
        lo_encrypt_key_size: 0,
        lo_flags: 0,
        lo_file_name: [0; 64],
        lo_crypt_name: [0; 64],
        lo_encrypt_key: [0; 32],
        lo_init: [0; 2],
    }
}

pub(super) fn grow(device: &File) -> io::Result<()> {
    // SAFETY: this ioctl takes no argument.
    ok(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_CAPACITY as _, 0) }).map(|_| ())
}

pub(super) fn set_direct_io(device: &File, direct: bool) -> io::Result<()> {
    // SAFETY: this ioctl takes a number.
    ok(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_DIRECT_IO as _, libc::c_ulong::from(direct)) }).map(|_| ())
}
