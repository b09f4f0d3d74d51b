//! A file of random bytes to give up when the disk is full, so that an unmount can still be recorded.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// Bytes held back; a record is a few hundred, a page of the log 4 KiB.
const SIZE: usize = 256 * 1024;

fn path(ledger: &Path) -> PathBuf {
    ledger.with_file_name("ballast")
}

/// Puts the ballast there if it is not; false if there is room for less or none of it.
pub(super) fn lay(ledger: &Path) -> bool {
    let path = path(ledger);
    if fs::metadata(&path).is_ok_and(|meta| meta.len() == SIZE as u64) {
        return true;
    }
    let write = |size: usize| {
        let mut file = File::create(&path)?;
        file.write_all(&random(size)?)?;
        file.sync_all()
    };
    let laid = [SIZE, SIZE / 2, SIZE / 4].into_iter().find(|size| write(*size).is_ok());
    if laid.is_none() {
        let _ = fs::remove_file(&path);
    }
    laid == Some(SIZE)
}

/// Gives it up; true if there was something to give.
pub(super) fn spend(ledger: &Path) -> bool {
    fs::remove_file(path(ledger)).is_ok()
}

/// Random, since a file system that compresses or finds holes would hold nothing back for zeros.
fn random(size: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let mut done = 0;
    while done < size {
        done += rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}
