//! What is in a file, copied: shared where the file system can, by its server where that can, else read and written; holes stay
//! holes.

use std::{fs::File, os::unix::fs::FileExt, time::Instant};

use rustix::{
    fs::{SeekFrom, copy_file_range, ftruncate, ioctl_ficlone, seek},
    io::{Errno, Result},
};

/// At a time: small enough that a slow server answers within a slice.
const CHUNK: u64 = 8 << 20;
/// The same for what goes through our own memory.
const BUFFER: usize = 1 << 20;

/// How far it came.
pub(super) enum Came {
    /// All of it is there.
    Whole,
    /// The time was over; so many bytes from the beginning are there.
    To(u64),
}

/// How files of this tree can be copied; what failed once is not tried again.
pub(super) struct Ways {
    share: bool,
    by_kernel: bool,
}

impl Default for Ways {
    fn default() -> Self {
        Self { share: true, by_kernel: true }
    }
}

impl Ways {
    /// Copies `size` bytes from the offset `at` on, until `until`. The target is as long as the original afterwards.
    pub(super) fn copy(&mut self, from: &File, to: &File, size: u64, at: u64, until: Instant) -> Result<Came> {
        if at == 0 {
            // What an earlier attempt left must not show through the holes.
            ftruncate(to, 0)?;
            if size > 0 && self.share {
                match ioctl_ficlone(to, from) {
                    Ok(()) => return Ok(Came::Whole),
                    Err(_) => self.share = false,
                }
            }
        }
        let (begun, mut at) = (at, at);
        while at < size {
            let Some((data, end)) = extent(from, at, size)? else { break };
            at = data;
            while at < end {
                // Something is done in any case.
                if at > begun && Instant::now() >= until {
                    // A hole before it is part of what is there.
                    ftruncate(to, at)?;
                    return Ok(Came::To(at));
                }
                let done = self.chunk(from, to, at, (end - at).min(CHUNK))?;
                if done == 0 {
                    // It was cut while we read.
                    return finish(to, at);
                }
                at += done;
            }
        }
        finish(to, size)
    }

    fn chunk(&mut self, from: &File, to: &File, at: u64, length: u64) -> Result<u64> {
        if self.by_kernel {
            let (mut read, mut write) = (at, at);
            match copy_file_range(
                from,
                Some(&mut read),
                to,
                Some(&mut write),
                usize::try_from(length).unwrap_or(BUFFER),
            ) {
                Ok(done) if done > 0 => return Ok(done as u64),
                Ok(_) => {}
                Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO | Errno::STALE | Errno::INTR) => {
                    // Told by the plain way as well, if it is so.
                }
                Err(_) => self.by_kernel = false,
            }
        }
        let mut buffer = vec![0; BUFFER.min(usize::try_from(length).unwrap_or(BUFFER))];
        let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let length = from.read_at(&mut buffer, at).map_err(errno)?;
        to.write_all_at(&buffer[..length], at).map_err(errno)?;
        Ok(length as u64)
    }
}

fn finish(to: &File, size: u64) -> Result<Came> {
    ftruncate(to, size)?;
    Ok(Came::Whole)
}

/// The next piece of data from `at` on; `None` if nothing but a hole follows. Where the file system knows no holes, all is data.
fn extent(from: &File, at: u64, size: u64) -> Result<Option<(u64, u64)>> {
    let data = match seek(from, SeekFrom::Data(at)) {
        Ok(data) => data,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(error) => return Err(error),
    };
    let end = match seek(from, SeekFrom::Hole(data)) {
        Ok(end) => end,
        Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => size,
        Err(error) => return Err(error),
    };
    Ok((data < size).then_some((data, end.min(size))))
}
