//! Small files in a directory, whole or not at all: notes, which others may write and read at the same time.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, linkat, openat, renameat, unlinkat},
    io::Errno,
    rand::GetRandomFlags,
};

use super::Folder;
use crate::{
    Error, ErrorKind, Result,
    real::{open_within, stays},
};

/// What a file is called until it is whole: `.NAME.` and so many random digits, then this.
const FRESH: &str = ".new";
const DIGITS: usize = 16;

impl Folder {
    /// The content of a small file; `None` if it is not there. A link is not followed.
    ///
    /// # Errors
    /// `Corrupted` if it is no file or larger than `most` bytes; what the kernel says.
    pub fn read(&self, name: &OsStr, most: u64) -> Result<Option<Vec<u8>>> {
        let file = match open_within(self, Path::new(name), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(stays(&self.path().join(name), error)),
        };
        let odd = |why: &str| Error::new(ErrorKind::Corrupted, format!("{} {why}", self.path().join(name).display()));
        let failed = |error: std::io::Error| Error::io("read", self.path().join(name), error);
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(odd("is no file"));
        }
        let mut text = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > most { Err(odd("is larger than it may be")) } else { Ok(Some(text)) }
    }

    /// Makes a file with this content, for our own eyes; `false` if something of that name is there. It survives a power cut
    /// when this returns, whole or not at all.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn create(&self, name: &OsStr, content: &[u8]) -> Result<bool> {
        // Under another name first: one that is cut off half-way would be taken for whole.
        let fresh = self.written(name, content)?;
        let done = linkat(self, &fresh, self, name, AtFlags::empty());
        let gone = unlinkat(self, &fresh, AtFlags::empty());
        match done {
            Ok(()) => {
                gone.map_err(|e| self.failed("remove", &fresh, e))?;
                self.sync().map(|()| true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.failed("make", name, error)),
        }
    }

    /// Writes or replaces a file, for our own eyes; a reader sees the old one or the new one. It survives a power cut when this
    /// returns.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn replace(&self, name: &OsStr, content: &[u8]) -> Result<()> {
        let fresh = self.written(name, content)?;
        renameat(self, &fresh, self, name).map_err(|e| self.failed("write", name, e))?;
        self.sync()
    }

    /// A file beside `name`, complete and on disk; its name is of this call alone.
    fn written(&self, name: &OsStr, content: &[u8]) -> Result<OsString> {
        // Of nobody else, also where other machines write.
        let mut random = [0_u8; 8];
        rustix::rand::getrandom(&mut random[..], GetRandomFlags::empty())
            .map_err(|e| Error::os("cannot get random bytes", e))?;
        let mut fresh = OsString::from_vec(beginning(name));
        fresh.push(format!("{:0DIGITS$x}{FRESH}", u64::from_ne_bytes(random)));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(self, &fresh, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(opened.map_err(|e| self.failed("make", &fresh, e))?);
        match file.write_all(content).and_then(|()| file.sync_all()) {
            Ok(()) => Ok(fresh),
            Err(error) => {
                let _ = unlinkat(self, &fresh, AtFlags::empty());
                Err(Error::io("write", self.path().join(name), error))
            }
        }
    }

    /// Removes what calls have left of a file that were cut off while they wrote it. Nobody else may be writing it now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unlink_unfinished(&self, name: &OsStr) -> Result<()> {
        for file in self.names()?.iter().filter(|file| is_unfinished(file, name)) {
            self.unlink(file)?;
        }
        Ok(())
    }
}

/// What comes before the digits in the name of such a file.
fn beginning(name: &OsStr) -> Vec<u8> {
    [b".", &name.as_bytes()[..name.len().min(200)], b"."].concat()
}

/// Whether `file` is one of [`Folder::written`]'s for that name.
fn is_unfinished(file: &OsStr, name: &OsStr) -> bool {
    let rest = file.as_bytes().strip_prefix(beginning(name).as_slice());
    let digits = rest.and_then(|rest| rest.strip_suffix(FRESH.as_bytes()));
    digits.is_some_and(|digits| {
        digits.len() == DIGITS && digits.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_passing_names_of_that_file_are_known() {
        let of = |file: &str| is_unfinished(OsStr::new(file), OsStr::new("pvc-1.json"));
        assert!(of(".pvc-1.json.0123456789abcdef.new"));
        for other in [
            "pvc-1.json.0123456789abcdef.new",
            ".pvc-1.json.0123456789abcdef",
            ".pvc-1.json.0123456789abcdeF.new",
            ".pvc-1.json.123456789abcdef.new",
            ".pvc-1.json.json.0123456789abcdef.new",
            ".vc-1.json.0123456789abcdef.new",
            ".pvc-12.json.0123456789abcdef.new",
            ".0123456789abcdef.new",
            "",
        ] {
            assert!(!of(other), "{other}");
        }
    }
}
