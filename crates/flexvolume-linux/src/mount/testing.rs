//! What this crate's tests share: a mount namespace of their own, and a FUSE server that can be told to fall silent.
#![allow(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::fd::AsRawFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

/// Runs `test` with a directory of its own, in a mount namespace that goes away with everything mounted in it. Without
/// root it says so and does nothing. A test that does not end within a minute fails.
pub(crate) fn private_mounts(test: impl FnOnce(&Path) + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    within_a_minute(move || {
        // SAFETY: only this thread leaves the process's mount namespace and working directory; it opens no paths that
        // others hand it and ends with the test.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let tmp = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(tmp.path()).unwrap();
        test(&real);
        // Lazily, for a test may leave something stuck; what is left goes with the namespace.
        for mounted in super::table::beneath(&real).unwrap().iter().rev() {
            let _ = super::unmount(&mounted.point, super::Unmount::Detach);
        }
    });
}

/// Fails instead of hanging: for what must never wait.
pub(crate) fn within_a_minute<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || tell.send(f()));
    match told.recv_timeout(Duration::from_secs(60)) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("did not end"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("the thread tells before it ends"),
        },
    }
}

/// A FUSE file system of one empty directory that answers only so many questions about its attributes, and then nothing.
/// Dropped, its server dies: the mount stays, dead, and whoever waited for it is let go.
pub(crate) struct Hung {
    stop: Arc<AtomicBool>,
    server: Option<thread::JoinHandle<()>>,
}

const INIT: u32 = 26;
const GETATTR: u32 = 3;
/// The kernel's `struct fuse_in_header`: length, opcode, then the request's number at 8.
const HEADER: usize = 40;

impl Hung {
    /// Mounts it in the calling thread's mount namespace. `extra` are mount options such as `,allow_other`.
    pub(crate) fn mount(point: &Path, answers: u32, extra: &str) -> Self {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0{extra}\0", device.as_raw_fd());
        let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).unwrap();
        mount("hung", point, "fuse.hung", MountFlags::NOSUID | MountFlags::NODEV, options).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        Self { stop, server: Some(thread::spawn(move || serve(device, answers, &told))) }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
    }
}

fn serve(mut device: File, mut answers: u32, stop: &AtomicBool) {
    let mut request = vec![0_u8; 1 << 20];
    let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    while !stop.load(Ordering::Relaxed) {
        if poll(&mut [PollFd::new(&device, PollFlags::IN)], Some(&pause)).unwrap() == 0 {
            continue;
        }
        let Ok(length) = device.read(&mut request) else { return };
        if length < HEADER {
            return;
        }
        let number = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let body = match number(4) {
            INIT => words(&[7, 31, 65536, 0, 12 | 9 << 16, 131_072, 1, 32, 0, 0, 0, 0, 0, 0, 0, 0]),
            GETATTR if answers > 0 => {
                answers -= 1;
                // Valid for no time; inode 1; times and sizes 0; a directory with two links and small blocks.
                let attr = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096];
                words(&attr)
            }
            _ => continue,
        };
        let mut answer = words(&[u32::try_from(16 + body.len()).unwrap(), 0]);
        answer.extend_from_slice(&request[8..16]);
        answer.extend(body);
        let _ = device.write_all(&answer);
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
