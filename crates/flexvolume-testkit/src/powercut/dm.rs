//! Device-mapper by its ioctls, for a mark at every step of a program must not cost the start of one.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

const CONTROL: &str = "/dev/mapper/control";
/// `struct dm_ioctl`: the head of every request. Places of its fields, in bytes.
const HEAD: usize = 312;
const DATA_SIZE: usize = 12;
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const DEVICE: usize = 40;
const NAME: usize = 48;
const NAME_ROOM: usize = 128;
/// `struct dm_target_spec`, before the words of a table.
const SPEC: usize = 40;

/// The numbers of the commands; the rest of an ioctl's number is the same for all.
const CREATE: u64 = 3;
const REMOVE: u64 = 4;
const SUSPEND: u64 = 6;
const LOAD: u64 = 9;
const MESSAGE: u64 = 14;

/// How long others (a prober of the system) may have a device open after we are done with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device of one target; removed when dropped, with all that lies on it.
pub(super) struct Mapped {
    control: File,
    name: String,
    path: PathBuf,
}

impl Mapped {
    /// Makes the device `name` of so many sectors.
    pub(super) fn create(name: &str, sectors: u64, target: &str, words: &str) -> io::Result<Mapped> {
        if !Path::new(CONTROL).exists() {
            // The module may not be there yet; opening the file says what is wrong if it stays away.
            let _ = Command::new("modprobe").arg("dm-mod").status();
        }
        let about = |what: &str| {
            let what = format!("{what} {name} ({target} {words})");
            move |e: io::Error| io::Error::new(e.kind(), format!("cannot {what}: {e}"))
        };
        let control = File::options().read(true).write(true).open(CONTROL).map_err(about("open device-mapper for"))?;
        let made = ask(&control, CREATE, name, 0, &[]).map_err(about("create"))?;
        let minor = libc::minor(u64::from_ne_bytes(field(&made, DEVICE)));
        // From here on it is removed whatever happens.
        let mapped = Mapped { control, name: name.to_owned(), path: format!("/dev/dm-{minor}").into() };
        let mut spec = vec![0; SPEC];
        spec[8..16].copy_from_slice(&sectors.to_ne_bytes());
        spec[24..24 + target.len()].copy_from_slice(target.as_bytes());
        spec.extend(words.as_bytes());
        spec.push(0);
        ask(&mapped.control, LOAD, name, 1, &spec).map_err(about("load the table of"))?;
        // Without the flag that suspends, it resumes.
        ask(&mapped.control, SUSPEND, name, 0, &[]).map_err(about("resume"))?;
        Ok(mapped)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sends a message to the target; the words are parted by blanks, unless a backslash stands before one.
    pub(super) fn message(&self, words: &str) -> io::Result<()> {
        let mut payload = vec![0; 8];
        payload.extend(words.as_bytes());
        payload.push(0);
        ask(&self.control, MESSAGE, &self.name, 0, &payload).map(drop)
    }

    /// How many sectors were written and discarded so far.
    pub(super) fn taken(&self) -> io::Result<u64> {
        let file = self.sys().join("stat");
        let text = fs::read_to_string(&file)?;
        let field = |n: usize| text.split_whitespace().nth(n).and_then(|word| word.parse::<u64>().ok());
        match (field(6), field(13)) {
            (Some(written), Some(discarded)) => Ok(written + discarded),
            _ => Err(io::Error::other(format!("{} has another form: {text}", file.display()))),
        }
    }

    /// Removes what lies on this device: volumes that somebody activated.
    pub(super) fn clear(&self) -> io::Result<()> {
        for holder in holders(&self.sys()) {
            remove(&self.control, &holder)?;
        }
        Ok(())
    }

    /// Removes it, with all that lies on it.
    pub(super) fn remove(self) -> io::Result<()> {
        self.clear()?;
        patiently(|| ask(&self.control, REMOVE, &self.name, 0, &[]).map(drop))
            .map_err(|e| io::Error::new(e.kind(), format!("cannot remove {}: {e}", self.name)))
    }

    fn sys(&self) -> PathBuf {
        Path::new("/sys/block").join(self.path.file_name().unwrap_or_default())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = self.clear();
        let _ = patiently(|| ask(&self.control, REMOVE, &self.name, 0, &[]).map(drop));
    }
}

/// The devices that lie on one.
fn holders(sys: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(sys.join("holders")).into_iter().flatten().flatten();
    entries.map(|entry| Path::new("/sys/block").join(entry.file_name())).collect()
}

/// Removes a device that is known by its folder in /sys, and first all that lies on it.
fn remove(control: &File, sys: &Path) -> io::Result<()> {
    for holder in holders(sys) {
        remove(control, &holder)?;
    }
    let name = match fs::read_to_string(sys.join("dm/name")) {
        Ok(name) => name.trim_end().to_owned(),
        // Another holder of the same device took it along.
        Err(_) if !sys.exists() => return Ok(()),
        Err(error) => return Err(error),
    };
    patiently(|| ask(control, REMOVE, &name, 0, &[]).map(drop))
        .map_err(|e| io::Error::new(e.kind(), format!("cannot remove {name}: {e}")))?;
    forget(&name);
    Ok(())
}

/// Where nobody else does it, the names in /dev go with the device.
fn forget(name: &str) {
    let node = Path::new("/dev/mapper").join(name);
    let _ = fs::remove_file(&node);
    for folder in fs::read_dir("/dev").into_iter().flatten().flatten().filter(|it| it.path().is_dir()) {
        for entry in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            if target == node || target.file_name() == Some(OsStr::new(name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn patiently(mut what: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match what() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && start.elapsed() < PATIENCE => {
                sleep(Duration::from_millis(10));
            }
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(()),
            done => return done,
        }
    }
}

/// One request, and what the kernel made of it.
fn ask(control: &File, command: u64, name: &str, targets: u32, payload: &[u8]) -> io::Result<Vec<u8>> {
    if name.len() >= NAME_ROOM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the name {name} is too long")));
    }
    // Room for an answer that is longer than the question.
    let mut request = vec![0; HEAD + payload.len().max(16 * 1024)];
    let size = request.len() as u32;
    request[..4].copy_from_slice(&4_u32.to_ne_bytes());
    request[DATA_SIZE..DATA_SIZE + 4].copy_from_slice(&size.to_ne_bytes());
    request[DATA_START..DATA_START + 4].copy_from_slice(&(HEAD as u32).to_ne_bytes());
    request[TARGET_COUNT..TARGET_COUNT + 4].copy_from_slice(&targets.to_ne_bytes());
    request[NAME..NAME + name.len()].copy_from_slice(name.as_bytes());
    request[HEAD..HEAD + payload.len()].copy_from_slice(payload);
    // Reads and writes, of 312 bytes, of the type 0xfd.
    let number = 0xC138_FD00 | command;
    // SAFETY: the buffer is as long as it says in its own head, and lives across the call.
    match unsafe { libc::ioctl(control.as_raw_fd(), number, request.as_mut_ptr()) } {
        0 => Ok(request),
        _ => Err(io::Error::last_os_error()),
    }
}

fn field(request: &[u8], at: usize) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&request[at..at + 8]);
    bytes
}
