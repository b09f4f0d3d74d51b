//! What is in a file, copied: shared where the file system can, by its server where that can, else read and written. Holes stay
//! holes, and what is read and written becomes one where it is all zeros.

use std::{fs::File, os::unix::fs::FileExt};

use rustix::{
    fs::{SeekFrom, copy_file_range, fdatasync, ftruncate, ioctl_ficlone, seek},
    io::{Errno, Result},
};

use super::clock::Clock;

/// At a time: small enough that a slow server answers within a slice.
const CHUNK: u64 = 8 << 20;
/// The same for what goes through our own memory.
const BUFFER: usize = 1 << 20;
/// Of that, so much is left out if it is all zeros: a hole reads the same.
const PIECE: usize = 64 << 10;
/// After so much it is made sure of on disk: else a slice would be over, and what it wrote still be on its way for longer than
/// anybody waits. Less in tests.
const SYNC: u64 = if cfg!(test) { 4 << 20 } else { 32 << 20 };

/// How far the copy of a file came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// All of it is there.
    Whole,
    /// The time was over; so many bytes from the beginning are there.
    To(u64),
}

/// How files of this tree can be copied; what failed once is not tried again.
pub(super) struct Ways {
    pub(super) share: bool,
    pub(super) by_kernel: bool,
}

impl Default for Ways {
    fn default() -> Self {
        Self { share: true, by_kernel: true }
    }
}

impl Ways {
    /// Copies `size` bytes from the offset `at` on, until the time is over, and something in any case. The target is as long as the
    /// original afterwards. Once `go_on` says no, nothing is done to it any more.
    pub(super) fn copy(
        &mut self,
        from: &File,
        to: &File,
        size: u64,
        at: u64,
        clock: &mut Clock,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Came> {
        if !go_on() {
            return Ok(Came::To(at));
        }
        // What an earlier attempt left must not show through the holes.
        ftruncate(to, at)?;
        if at == 0 && size > 0 && self.share {
            match ioctl_ficlone(to, from) {
                Ok(()) => return Ok(Came::Whole),
                Err(_) => self.share = false,
            }
        }
        let (begun, mut at, mut synced) = (at, at, at);
        while at < size {
            let Some((data, end)) = extent(from, at, size)? else { break };
            at = data;
            while at < end {
                if at > begun && clock.is_over() {
                    // A hole before it is part of what is there.
                    ftruncate(to, at)?;
                    return Ok(Came::To(at));
                }
                if !go_on() {
                    return Ok(Came::To(at));
                }
                let done = self.chunk(from, to, at, (end - at).min(CHUNK))?;
                if done == 0 {
                    // It was cut while we read.
                    return finish(to, at);
                }
                at += done;
                if at - synced >= SYNC {
                    fdatasync(to)?;
                    synced = at;
                }
                clock.worked();
            }
        }
        if go_on() { finish(to, size) } else { Ok(Came::To(at)) }
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
        for (piece, at) in buffer[..length].chunks(PIECE).zip((at..).step_by(PIECE)) {
            if piece.iter().any(|byte| *byte != 0) {
                to.write_all_at(piece, at).map_err(errno)?;
            }
        }
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

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use std::{
        fs,
        os::{fd::AsRawFd, unix::fs::MetadataExt},
        time::Duration,
    };

    use super::*;

    /// Copies as where no server can do anything of it itself.
    fn plainly(content: &[u8]) -> (tempfile::TempDir, File) {
        let tmp = tempfile::tempdir().unwrap();
        fs::write(tmp.path().join("from"), content).unwrap();
        let from = File::open(tmp.path().join("from")).unwrap();
        let to = File::options().read(true).write(true).create_new(true).open(tmp.path().join("to")).unwrap();
        let mut ways = Ways { share: false, by_kernel: false };
        assert!(matches!(
            ways.copy(&from, &to, content.len() as u64, 0, &mut Clock::Waits(LONG), &|| true),
            Ok(Came::Whole)
        ));
        (tmp, to)
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn zeros_take_no_room() {
        let mut content = vec![0; 20 << 20];
        content[5 << 20] = 1;
        content[(7 << 20) - 1] = 2;
        let (tmp, to) = plainly(&content);
        let blocks = to.metadata().unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
        assert!(fs::read(tmp.path().join("to")).unwrap() == content);
        // The end has its place even if nothing is there.
        for content in [vec![1, 0, 0], vec![0; 100_000]] {
            let (tmp, _to) = plainly(&content);
            assert!(fs::read(tmp.path().join("to")).unwrap() == content);
        }
    }

    #[test]
    fn a_long_file_is_on_disk_while_it_is_copied() {
        let (_tmp, to) = plainly(&vec![1; 42 << 20]);
        // struct cachestat: pages in memory, of these not yet written, being written, and others.
        let (range, mut found) = ([0_u64; 2], [0_u64; 5]);
        // SAFETY: the kernel reads two numbers and writes five, and both last for the call.
        let done = unsafe { libc::syscall(451, to.as_raw_fd(), range.as_ptr(), found.as_mut_ptr(), 0) };
        if done != 0 {
            eprintln!("skipped: this kernel (before 6.5) does not say what is not yet written");
            return;
        }
        let waiting = (found[1] + found[2]) * rustix::param::page_size() as u64;
        assert!(waiting <= SYNC, "{waiting} bytes are not yet written");
    }
}
