//! Whole block devices: how large, whether anybody uses them, and erased or filled in slices that survive being cut off.
//!
//! ```text
//! Alone::open ─▶ Alone ── erase(Zero | Discard, range, step, go_on) ─▶ offset up to which it is done, durably
//!                     └── copy_from(source, offset, step, go_on) ────▶ the same
//! ```
//!
//! Both may take hours. Whoever may not wait so long says "no" to `go_on`, keeps the offset, and comes back with it.

mod ioctl;
#[cfg(test)]
mod tests;

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    num::NonZeroU64,
    ops::Range,
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Advice, FlockOperation, Mode, OFlags, fadvise, fsync, syncfs},
    io::Errno,
};

use crate::{Error, ErrorKind, Result, mount::table};

/// udev holds its shared lock for a moment after each change; another call of ours holds it much longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long somebody may hold a device that he does not use.
const MOMENT: Duration = Duration::from_millis(300);

/// The most that is read and written at once when a device is filled.
const CHUNK: u64 = 4 << 20;

/// What is done to the old content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erase {
    /// Zeroes are read there afterwards. The kernel writes them itself where the device has no command for it.
    Zero,
    /// The device is told that nothing there is needed. What is read there afterwards is for the device to say; a thin
    /// pool gets the blocks back.
    Discard,
}

/// A block device that nobody else uses, locked (flock, udev's convention) until dropped.
#[derive(Debug)]
pub struct Alone {
    file: File,
    path: PathBuf,
    size: u64,
    block: u64,
    /// Taken before `file` claims the device: a call that waits for the lock must not look like a user of the device.
    _lock: File,
}

/// Size of the block device in bytes.
///
/// # Errors
/// `Invalid` if it is no block device, `NotFound` if it is not there, `Io` if it cannot be opened.
pub fn size(device: &Path) -> Result<u64> {
    let file = open(device, false, OFlags::empty()).map_err(|error| Error::io("open", device, error))?;
    measure(&file, device)
}

/// Whether the kernel refuses every write to the block device, whoever opens it.
///
/// # Errors
/// `Invalid` if it is no block device, `NotFound` if it is not there, `Io` if it cannot be opened.
pub fn is_read_only(device: &Path) -> Result<bool> {
    let file = open(device, false, OFlags::empty()).map_err(|error| Error::io("open", device, error))?;
    measure(&file, device)?;
    ioctl::is_read_only(&file).map_err(|error| Error::io("look at", device, error))
}

/// When this returns, all that was written to the block device by then is on its medium: what programs wrote to the device itself,
/// and what they wrote to files of a file system that is mounted from it, in whichever mount namespace. Reaches into that file
/// system: call it in a process that can be thrown away.
///
/// # Errors
/// `Io` if it cannot be opened or written to.
pub fn flush(device: &Path) -> Result<()> {
    // Older kernels do not reach a btrfs through its device.
    for mounted in table::all()?.into_iter().filter(|mounted| Path::new(&mounted.source) == device) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let flushed = match rustix::fs::open(&mounted.point, flags, Mode::empty()) {
            Ok(dir) => syncfs(&dir),
            // Unmounted since, or a file.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error),
        };
        flushed.map_err(|error| Error::io("flush the file system at", &mounted.point, error))?;
    }
    let file = open(device, false, OFlags::empty()).map_err(|error| Error::io("open", device, error))?;
    ioctl::forget_cached(&file).map_err(|error| Error::io("flush", device, error))
}

/// Whether nobody holds the block device exclusively, as a mount, a device mapper or a swap does, in whichever mount
/// namespace. True of this moment only.
///
/// # Errors
/// It cannot be opened.
pub fn is_free(device: &Path) -> Result<bool> {
    Ok(claim(device, false)?.is_some())
}

/// Opens the device exclusively for as long as the answer lives; `None` if it is mounted or otherwise claimed, in
/// whatever mount namespace.
pub(crate) fn claim(device: &Path, write: bool) -> Result<Option<File>> {
    match open(device, write, OFlags::EXCL) {
        Ok(file) => Ok(Some(file)),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => Ok(None),
        Err(error) => Err(Error::io("open", device, error)),
    }
}

/// [`claim`], but not put off by who holds the device for a moment only: somebody who just tries whether it is free, or a
/// child that another thread of ours is starting (it has a copy of every descriptor until it runs its program).
pub(crate) fn claim_patiently(device: &Path, write: bool) -> Result<Option<File>> {
    let end = Instant::now() + MOMENT;
    loop {
        match claim(device, write)? {
            None if Instant::now() < end => thread::sleep(Duration::from_millis(1)),
            claim => return Ok(claim),
        }
    }
}

/// Locks the open device for as long as the file or a copy of it lives.
pub(crate) fn lock(file: &File, device: &Path) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::AGAIN) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
            Err(Errno::AGAIN) => {
                let context = format!("cannot lock {}: another call works on it", device.display());
                return Err(Error::new(ErrorKind::Busy, context).with_hint("try again when that call has ended"));
            }
            Err(error) => return Err(Error::io("lock", device, error)),
        }
    }
}

/// Size in bytes of an open block device.
pub(crate) fn measure(mut file: &File, device: &Path) -> Result<u64> {
    let meta = file.metadata().map_err(|error| Error::io("look at", device, error))?;
    if !meta.file_type().is_block_device() {
        return Err(Error::new(ErrorKind::Invalid, format!("{} is not a block device", device.display())));
    }
    file.seek(SeekFrom::End(0)).map_err(|error| Error::io("measure", device, error))
}

/// What is read from here on is read from the medium: some file systems write beneath what was cached of their device.
pub(crate) fn forget_cached(file: &File, device: &Path) -> Result<()> {
    ioctl::forget_cached(file).map_err(|error| Error::io("read anew", device, error))
}

fn open(device: &Path, write: bool, flags: OFlags) -> io::Result<File> {
    let flags = i32::try_from((flags | OFlags::NONBLOCK).bits()).unwrap_or_default();
    OpenOptions::new().read(true).write(write).custom_flags(flags).open(device)
}

impl Alone {
    /// Takes the device for ourselves.
    ///
    /// # Errors
    /// `Busy` if something uses it or another call works on it, `Invalid` if it is no block device, `NotFound` if it is
    /// not there, `Io` if it cannot be opened for writing.
    pub fn open(device: &Path) -> Result<Self> {
        let locked = open(device, false, OFlags::empty()).map_err(|error| Error::io("open", device, error))?;
        let size = measure(&locked, device)?;
        lock(&locked, device)?;
        let Some(file) = claim_patiently(device, true)? else {
            let name = device.display();
            return Err(Error::new(ErrorKind::Busy, format!("cannot change {name}: something uses it"))
                .with_hint(format!("see what: lsblk {name}; fuser -vm {name}")));
        };
        let block =
            rustix::fs::ioctl_blksszget(&file).map_err(|error| Error::io("measure a block of", device, error))?;
        Ok(Self { file, path: device.to_owned(), size, block: u64::from(block.max(1)), _lock: locked })
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Erases `range` (bytes; both ends at whole blocks of the device) in pieces of about `step`. After each piece
    /// `go_on` is told how far it came, and may end it. Answers with the offset up to which all is erased, durably: the
    /// end of `range`, or where `go_on` ended it; the next call begins there.
    ///
    /// # Errors
    /// `Unsupported` if the device cannot discard; `Invalid` for a range that is not in the device or not of whole
    /// blocks; `Io` with the offset. What was erased before an error stays erased.
    pub fn erase(
        &self,
        how: Erase,
        range: Range<u64>,
        step: NonZeroU64,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<u64> {
        self.check(&range)?;
        let step = step.get().next_multiple_of(self.block);
        let mut at = range.start;
        while at < range.end {
            let length = step.min(range.end - at);
            match how {
                Erase::Zero => ioctl::zero(&self.file, at, length),
                Erase::Discard => ioctl::discard(&self.file, at, length),
            }
            .map_err(|error| self.not_erased(how, at, error))?;
            at += length;
            if !go_on(at) {
                break;
            }
        }
        self.sync()?;
        Ok(at)
    }

    /// Copies the content of the block device `source` from offset `from` on to the same place here, to the end of
    /// `source`, in pieces of about `step`. After each piece, which is durable by then, `go_on` is told how far it came, and may
    /// end it. Answers with the offset up to which all is copied, durably. What is beyond the size of `source` is left.
    ///
    /// # Errors
    /// `Invalid` if `source` is larger than this device; `Io` with the offset.
    pub fn copy_from(
        &self,
        source: &Path,
        from: u64,
        step: NonZeroU64,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<u64> {
        let theirs = open(source, false, OFlags::empty()).map_err(|error| Error::io("open", source, error))?;
        let size = measure(&theirs, source)?;
        let (here, there) = (self.path.display(), source.display());
        if size > self.size {
            let context = format!("cannot copy {there} to {here}: it has {size} bytes, and here are {}", self.size);
            return Err(Error::new(ErrorKind::Invalid, context));
        }
        let mut buffer = vec![0; usize::try_from(CHUNK.min(step.get())).unwrap_or(1)];
        let mut at = from;
        while at < size {
            let end = size.min(at.saturating_add(step.get()));
            let begin = at;
            while at < end {
                let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
                let part = &mut buffer[..length];
                let failed = |what: &str, error| Error::os(format!("cannot {what} at byte {at}"), error);
                theirs.read_exact_at(part, at).map_err(|error| failed(&format!("read {there}"), error))?;
                self.file.write_all_at(part, at).map_err(|error| failed(&format!("write to {here}"), error))?;
                at += length as u64;
            }
            self.sync()?;
            // Nobody will read these pages soon; what they would push out of memory is of more use.
            for file in [&theirs, &self.file] {
                let _ = fadvise(file, begin, NonZeroU64::new(end - begin), Advice::DontNeed);
            }
            if !go_on(at) {
                break;
            }
        }
        Ok(at)
    }

    fn sync(&self) -> Result<()> {
        fsync(&self.file).map_err(|error| Error::io("flush", &self.path, error))
    }

    fn check(&self, range: &Range<u64>) -> Result<()> {
        let whole = |offset: u64| offset.is_multiple_of(self.block);
        if range.start <= range.end && range.end <= self.size && whole(range.start) && whole(range.end) {
            return Ok(());
        }
        let name = self.path.display();
        let context =
            format!("cannot erase bytes {range:?} of {name}: it has {} bytes in blocks of {}", self.size, self.block);
        Err(Error::new(ErrorKind::Invalid, context))
    }

    fn not_erased(&self, how: Erase, at: u64, error: io::Error) -> Error {
        let (verb, hint) = match how {
            Erase::Zero => ("zero", "see the kernel's log for errors of the device"),
            Erase::Discard => ("discard", "zero it instead"),
        };
        Error::os(format!("cannot {verb} {} at byte {at}", self.path.display()), error).with_hint(hint)
    }
}
