//! What the three renewals share: the device in our hand, its bytes, and how a refusal is worded.

use std::{fs::File, os::unix::fs::FileExt};

use rustix::fs::fsync;

use crate::{
    Error, ErrorKind, Result, block,
    fs::{device::Device, kind::FsType},
};

/// A UUID as it stands on a device.
pub(super) type Uuid = [u8; 16];

/// The device, claimed for writing, so that nobody mounts what is being changed, and seen as it is on the medium.
pub(super) struct Claimed<'a> {
    file: File,
    device: &'a Device,
}

impl<'a> Claimed<'a> {
    pub(super) fn new(device: &'a Device) -> Result<Self> {
        match block::claim_patiently(device.path(), true)? {
            Some(file) => {
                block::forget_cached(&file, device.path())?;
                Ok(Self { file, device })
            }
            None => Err(in_use(device)),
        }
    }

    pub(super) fn read(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        self.device.read(at, len)
    }

    /// Writes these bytes, which lie within one page: a call that is killed has written all of them or none.
    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(|error| Error::io("write to", self.device.path(), error))
    }

    /// What was written so far is on the medium before anything that follows.
    pub(super) fn flush(&self) -> Result<()> {
        fsync(&self.file).map_err(|error| Error::io("flush", self.device.path(), error))
    }
}

pub(super) fn in_use(device: &Device) -> Error {
    let name = device.path().display();
    Error::new(ErrorKind::Busy, format!("cannot renew the UUID on {name}: something uses it"))
        .with_hint(format!("see what: lsblk {name}; fuser -vm {name}"))
}

pub(super) fn another(device: &Device, fs_type: FsType, found: &str) -> Error {
    let context = format!("cannot renew the UUID of {fs_type} on {}: it holds {found}", device.path().display());
    Error::new(ErrorKind::Refused, context).with_hint("see what it holds: blkid -p; wipefs")
}

pub(super) fn damaged(device: &Device, fs_type: FsType, why: &str) -> Error {
    let name = device.path().display();
    Error::new(ErrorKind::Corrupted, format!("cannot renew the UUID of {fs_type} on {name}: {why}"))
        .with_hint("mount what it was copied from, see that it is whole, and copy it again")
}

pub(super) fn cannot(device: &Device, fs_type: FsType, why: &str) -> Error {
    let context = format!("cannot renew the UUID of {fs_type} on {}: {why}", device.path().display());
    Error::new(ErrorKind::Unsupported, context).with_hint("use it in place of its original, or copy its files")
}

/// The number of `N` bytes at this place; all places are constants within what was read.
pub(super) fn at<const N: usize>(bytes: &[u8], place: usize) -> [u8; N] {
    let mut number = [0; N];
    number.copy_from_slice(&bytes[place..place + N]);
    number
}

pub(super) fn put(bytes: &mut [u8], place: usize, value: &[u8]) {
    bytes[place..place + value.len()].copy_from_slice(value);
}
