//! Loop devices: a file as a block device, with a lock that the kernel itself holds so that no file is ever attached twice.

mod ioctl;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use linux_raw_sys::loop_device::{LO_FLAGS_AUTOCLEAR, LO_FLAGS_DIRECT_IO, LO_FLAGS_READ_ONLY, LO_NAME_SIZE};
use rustix::{
    fs::{FileType, FlockOperation, OFlags, flock, fstat, major, minor},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result, mount::table};

/// An attached loop device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loop {
    /// The device node.
    pub device: PathBuf,
    /// What [`attach`] was told to call it; for devices of others often a path, cut off at 63 bytes.
    pub tag: String,
    /// The file behind it: major and minor number of its file system, and its inode.
    pub file: ((u32, u32), u64),
    /// It cannot be written to.
    pub read_only: bool,
    /// It goes away with its last user.
    pub autoclear: bool,
    /// It goes around the page cache.
    pub direct_io: bool,
}

/// The longest tag in bytes.
pub const LONGEST_TAG: usize = LO_NAME_SIZE as usize - 1;

const CONTROL: &str = "/dev/loop-control";
const MAJOR: u32 = 7;
/// Others take free devices too; between "this one is free" and taking it we lose so many times before giving up.
const TRIES: u32 = 64;
/// The kernel has no event for "unbound now".
const PAUSE: Duration = Duration::from_millis(10);

/// Attaches `image` to a free loop device, called `tag` (up to 63 bytes, no NUL), and says which.
///
/// The open file is locked and the kernel keeps it, lock and all, until the device is detached: the same file cannot be
/// attached twice in this way, and whoever asks flock(2) sees that it is in use. `image` must be open for writing
/// unless `read_only`. Its sectors have 512 bytes, always. Goes around the page cache where the file system beneath allows it. Partitions are never looked
/// for; the device stays until [`detach`].
///
/// Errors: `Busy` if the file is locked, which is what being attached means; `Invalid` for a bad tag, or a file that
/// cannot be an image; `Unsupported` without loop devices.
pub fn attach(image: File, tag: &str, read_only: bool) -> Result<PathBuf> {
    let name = pack(tag)?;
    check(&image, tag, read_only)?;
    flock(&image, FlockOperation::NonBlockingLockExclusive).map_err(|e| match e {
        Errno::WOULDBLOCK => Error::os(format!("cannot attach {tag}: its image is in use"), e)
            .with_kind(ErrorKind::Busy)
            .with_hint("detach the loop device that has it, or wait for the program that locked it"),
        _ => Error::os(format!("cannot lock the image of {tag}"), e),
    })?;
    let control = OpenOptions::new().read(true).write(true).open(CONTROL).map_err(|e| {
        Error::io("open", CONTROL, e)
            .with_kind(ErrorKind::Unsupported)
            .with_hint("load the kernel module loop; in a container, give it /dev/loop-control")
    })?;
    let mut direct = LO_FLAGS_DIRECT_IO as u32;
    for _ in 0..TRIES {
        let number = ioctl::get_free(&control).map_err(|e| Error::os("cannot get a free loop device", e))?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = open(&path, !read_only, 0).map_err(|e| Error::io("open", &path, e))?;
        let ro = if read_only { LO_FLAGS_READ_ONLY as u32 } else { 0 };
        match ioctl::configure(&device, &image, name, ro | direct) {
            Ok(()) => return Ok(path),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => sleep(PAUSE / 10),
            // Some file systems refuse direct I/O instead of leaving it out.
            Err(error) if direct != 0 && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                direct = 0;
            }
            Err(error) => return Err(Error::io("attach an image to", &path, error)),
        }
    }
    let context = format!("cannot attach {tag}: each free loop device was taken by others first");
    Err(Error::new(ErrorKind::Busy, context).with_hint("try again"))
}

/// Every attached loop device, by number.
///
/// Asks each for its file's attributes, which may block if one lies on a file system that does not answer.
///
/// Errors: `/sys` or a device cannot be read.
pub fn list() -> Result<Vec<Loop>> {
    let blocks = Path::new("/sys/block");
    let mut numbers: Vec<u32> = Vec::new();
    for entry in fs::read_dir(blocks).map_err(|e| Error::io("read", blocks, e))? {
        let entry = entry.map_err(|e| Error::io("read", blocks, e))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("loop")).and_then(|text| text.parse::<u32>().ok());
        // The kernel makes this directory when the device is attached and takes it away afterwards.
        numbers.extend(number.filter(|_| entry.path().join("loop").exists()));
    }
    numbers.sort_unstable();
    let mut loops = Vec::new();
    for number in numbers {
        loops.extend(status_of_listed(number)?);
    }
    Ok(loops)
}

/// One that is being made or removed is in `/sys` a moment longer than in `/dev`. One that stays in `/sys` alone may be anybody's.
fn status_of_listed(number: u32) -> Result<Option<Loop>> {
    let (device, listed) = (format!("/dev/loop{number}"), format!("/sys/block/loop{number}/loop"));
    let mut tries = 0;
    loop {
        match status_of(Path::new(&device)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if !Path::new(&listed).exists() {
                    return Ok(None);
                }
                if tries == TRIES {
                    return Err(error);
                }
                tries += 1;
                sleep(PAUSE);
            }
            status => return status,
        }
    }
}

/// The device that was attached under this tag, if there is one. May block as [`list`].
///
/// Errors: `Refused` if two devices carry the tag, for then it says nothing.
pub fn find(tag: &str) -> Result<Option<Loop>> {
    let mut found = list()?.into_iter().filter(|one| one.tag == tag);
    let first = found.next();
    if let (Some(first), Some(second)) = (&first, found.next()) {
        let (first, second) = (first.device.display(), second.device.display());
        let context = format!("cannot tell which device is {tag}: both {first} and {second} are called that");
        return Err(Error::new(ErrorKind::Refused, context).with_hint("find out which is right and detach the other"));
    }
    Ok(first)
}

/// The devices behind which this very file is, however it was named. May block as [`list`].
///
/// Errors: the file's attributes cannot be had; as [`list`].
pub fn of_file(image: &File) -> Result<Vec<Loop>> {
    let stat = fstat(image).map_err(|e| Error::os("cannot look at the image", e))?;
    let file = ((major(stat.st_dev), minor(stat.st_dev)), stat.st_ino);
    Ok(list()?.into_iter().filter(|one| one.file == file).collect())
}

/// What this device is attached to, `None` if nothing.
///
/// Errors: it cannot be opened, or is no loop device.
pub fn status_of(device: &Path) -> Result<Option<Loop>> {
    match open(device, false, 0) {
        Ok(open) => read_status(&open, device),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(error) => Err(Error::io("open", device, error)),
    }
}

/// Detaches the device and returns when it is unbound, its file closed and unlocked; at once if it was unbound already.
/// What still uses it is waited for up to `wait`. Blocks while what was written reaches the file.
///
/// Errors: `Busy`, saying who holds it: nothing was done then, except that a device which only programs (not mounts)
/// have open goes away with the last of them.
pub fn detach(device: &Path, wait: Duration) -> Result<()> {
    match status_of(device)? {
        Some(attached) => detach_this(&attached, wait),
        None => Ok(()),
    }
}

/// As [`detach`], but only as long as the device is still attached to what `attached` says; if somebody else has taken it
/// since, there is nothing to do.
///
/// Errors: as [`detach`].
pub fn detach_this(attached: &Loop, wait: Duration) -> Result<()> {
    let device = &attached.device;
    let start = Instant::now();
    loop {
        // Held exclusively, nobody can be about to mount it. Without that the kernel would promise to detach later, and
        // the device of a mounted volume would vanish beneath its owner.
        match open(device, false, libc::O_EXCL) {
            Ok(ours) => {
                if !same(&ours, attached)? {
                    return Ok(());
                }
                ioctl::clear(&ours).map_err(|e| Error::io("detach", device, e))?;
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(()),
            Err(error) => return Err(Error::io("open", device, error)),
        }
        match open(device, false, 0) {
            Ok(after) if same(&after, attached)? => {}
            Ok(_) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(()),
            Err(error) => return Err(Error::io("open", device, error)),
        }
        if start.elapsed() >= wait {
            let context = format!("cannot detach {}: {}", device.display(), holder(device));
            return Err(Error::new(ErrorKind::Busy, context).with_hint("end what holds it, then try again"));
        }
        sleep(PAUSE);
    }
}

/// Lets the device become as large as its file is now.
pub fn grow(device: &Path) -> Result<()> {
    let open = open(device, false, 0).map_err(|e| Error::io("open", device, e))?;
    require_loop(&open, device)?;
    ioctl::grow(&open).map_err(|e| Error::io("grow", device, e))
}

/// Has the device go around the page cache or through it from now on, in use or not; what was written before reaches the file first.
/// Whether it goes around it then: where the file system beneath does not allow that, it stays as it was.
///
/// Errors: the device cannot be opened, or is attached no longer.
pub fn set_direct_io(device: &Path, direct: bool) -> Result<bool> {
    let open = open(device, false, 0).map_err(|e| Error::io("open", device, e))?;
    require_loop(&open, device)?;
    match ioctl::set_direct_io(&open, direct) {
        Ok(()) => Ok(direct),
        Err(error) if direct && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(false),
        Err(error) => Err(Error::io("change the way to the image of", device, error)),
    }
}

/// As long as `open` is open, the answer stays true: a device is only unbound when its last user closes it.
fn same(open: &File, attached: &Loop) -> Result<bool> {
    let now = read_status(open, &attached.device)?;
    Ok(now.is_some_and(|now| now.tag == attached.tag && now.file == attached.file))
}

fn read_status(open: &File, device: &Path) -> Result<Option<Loop>> {
    require_loop(open, device)?;
    let info = match ioctl::status(open) {
        Ok(info) => info,
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(None),
        Err(error) => return Err(Error::io("ask the loop device", device, error)),
    };
    let has = |flag: u32| info.lo_flags & flag != 0;
    let length = info.lo_file_name.iter().position(|byte| *byte == 0).unwrap_or(info.lo_file_name.len());
    Ok(Some(Loop {
        device: device.to_owned(),
        tag: String::from_utf8_lossy(&info.lo_file_name[..length]).into_owned(),
        file: ((major(info.lo_device), minor(info.lo_device)), info.lo_inode),
        read_only: has(LO_FLAGS_READ_ONLY as u32),
        autoclear: has(LO_FLAGS_AUTOCLEAR as u32),
        direct_io: has(LO_FLAGS_DIRECT_IO as u32),
    }))
}

fn pack(tag: &str) -> Result<[u8; LO_NAME_SIZE as usize]> {
    if tag.is_empty() || tag.len() > LONGEST_TAG || tag.contains('\0') {
        let context = format!("cannot call a loop device {tag:?}: a tag has 1 to {LONGEST_TAG} bytes and no NUL");
        return Err(Error::new(ErrorKind::Invalid, context));
    }
    let mut name = [0; LO_NAME_SIZE as usize];
    name[..tag.len()].copy_from_slice(tag.as_bytes());
    Ok(name)
}

/// The kernel would attach an image that cannot be written to read-only, and say nothing.
fn check(image: &File, tag: &str, read_only: bool) -> Result<()> {
    let invalid = |why: &str| Error::new(ErrorKind::Invalid, format!("cannot attach {tag}: {why}"));
    let stat = fstat(image).map_err(|e| Error::os(format!("cannot look at the image of {tag}"), e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(invalid("its image is not a regular file"));
    }
    if stat.st_size < 512 {
        return Err(invalid("its image is smaller than one block"));
    }
    let flags =
        rustix::fs::fcntl_getfl(image).map_err(|e| Error::os(format!("cannot look at the image of {tag}"), e))?;
    if !read_only && flags & OFlags::ACCMODE == OFlags::RDONLY {
        return Err(invalid("its image is open for reading only"));
    }
    Ok(())
}

fn require_loop(open: &File, device: &Path) -> Result<()> {
    let meta = open.metadata().map_err(|e| Error::io("look at", device, e))?;
    if meta.file_type().is_block_device() && major(meta.rdev()) == MAJOR {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("{} is not a loop device", device.display())))
}

/// Who keeps the device from being detached, as well as can be told from here.
fn holder(device: &Path) -> String {
    let Ok(meta) = fs::metadata(device) else { return "somebody holds it".to_owned() };
    let dev = (major(meta.rdev()), minor(meta.rdev()));
    if let Some(mounted) = table::of_device(dev).unwrap_or_default().first() {
        return format!("it is mounted at {}", mounted.point.display());
    }
    let holders = format!("/sys/dev/block/{}:{}/holders", dev.0, dev.1);
    if let Some(above) = fs::read_dir(holders).into_iter().flatten().flatten().next() {
        return format!("the device {} lies on it", above.file_name().to_string_lossy());
    }
    match opener(meta.rdev()) {
        Some((pid, name)) => format!("process {pid} ({name}) has it open"),
        None => "somebody holds it, perhaps a mount in another mount namespace".to_owned(),
    }
}

/// Some process, not this one, that has the block device open.
fn opener(rdev: u64) -> Option<(u32, String)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    for pid in pids.filter(|pid| *pid != std::process::id()) {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        // The link's text first: following a link may lead into a file system that does not answer.
        let mut nodes = fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with("/dev")));
        if nodes.any(|fd| fs::metadata(fd.path()).is_ok_and(|m| m.file_type().is_block_device() && m.rdev() == rdev)) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

fn open(device: &Path, write: bool, flags: i32) -> io::Result<File> {
    OpenOptions::new().read(true).write(write).custom_flags(flags | libc::O_NONBLOCK).open(device)
}
