//! Finds and detaches loop devices, apart from the product's own code for it, which is what tests put to the test.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::loop_device::{LOOP_CLR_FD, LOOP_GET_STATUS64, loop_info64};

/// A loop device that is bound to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundLoop {
    /// For example `/dev/loop3`.
    pub device: PathBuf,
    /// The file, as the kernel says it now (` (deleted)` at its end if it is).
    pub backing: PathBuf,
    /// Its `lo_file_name`: at most 63 bytes that whoever bound it chose.
    pub name: String,
}

impl BoundLoop {
    /// Unbinds it, or lets it be unbound when the last user closes it.
    ///
    /// # Errors
    /// The device cannot be opened, or it refuses.
    pub fn detach(&self) -> io::Result<()> {
        let file = File::open(&self.device).map_err(|e| about(&self.device, &e))?;
        // While we have it open it cannot be bound to another file; it may have been before.
        let name = self.device.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if one(name).is_none_or(|now| now.backing != self.backing) {
            return Ok(());
        }
        // SAFETY: takes no argument.
        match unsafe { libc::ioctl(file.as_raw_fd(), LOOP_CLR_FD.into()) } {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                // Unbound meanwhile.
                error if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
                error => Err(about(&self.device, &error)),
            },
        }
    }
}

/// All bound loop devices.
pub(super) fn bound() -> io::Result<Vec<BoundLoop>> {
    let entries = fs::read_dir("/sys/block")?;
    Ok(entries.flatten().filter_map(|entry| one(&entry.file_name().into_string().ok()?)).collect())
}

fn one(name: &str) -> Option<BoundLoop> {
    let mut backing = fs::read(format!("/sys/block/{name}/loop/backing_file")).ok()?;
    backing.truncate(backing.trim_ascii_end().len());
    let device = Path::new("/dev").join(name);
    let chosen = chosen_name(&device).unwrap_or_default();
    Some(BoundLoop { device, backing: OsString::from_vec(backing).into(), name: chosen })
}

fn chosen_name(device: &Path) -> io::Result<String> {
    let file = File::open(device)?;
    // SAFETY: all-zero bytes are a valid loop_info64.
    let mut info: loop_info64 = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills a struct of exactly this type.
    if unsafe { libc::ioctl(file.as_raw_fd(), LOOP_GET_STATUS64.into(), &raw mut info) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = info.lo_file_name;
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn about(device: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("loop device {}: {error}", device.display()))
}
