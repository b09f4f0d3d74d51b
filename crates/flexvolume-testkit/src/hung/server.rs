//! The server process of the hung file system: raw FUSE, system calls only, so that it may be forked from any test.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use rustix::process::Pid;

/// As many answers as are asked for: an empty directory of a server that is alive and well.
pub const ALWAYS: u32 = u32::MAX;

const GETATTR: u32 = 3;
const INIT: u32 = 26;
const STATX: u32 = 52;
/// Messages that want no answer: forget, interrupt, destroy, forget many.
const SILENT: [u32; 4] = [2, 36, 38, 42];
/// Above the largest request the kernel sends with the `max_write` that we answer.
const BUFFER: usize = (128 << 10) + 4096;
const LIFETIME_SECONDS: u64 = 15 * 60;

/// What goes back: header, then body.
#[repr(C)]
struct Reply<B> {
    length: u32,
    error: i32,
    unique: u64,
    body: B,
}

/// `fuse_init_out` of protocol 7.31.
#[repr(C)]
#[derive(Default)]
struct InitBody {
    major: u32,
    minor: u32,
    max_readahead: u32,
    flags: u32,
    max_background: u16,
    congestion_threshold: u16,
    max_write: u32,
    time_granularity: u32,
    rest: [u32; 9],
}

/// `fuse_attr_out`: valid for no time at all, so that every question comes to us.
#[repr(C)]
#[derive(Default)]
struct AttrBody {
    valid: u64,
    valid_nsec: u32,
    pad: u32,
    inode: u64,
    size: u64,
    blocks: u64,
    times: [u64; 3],
    times_nsec: [u32; 3],
    mode: u32,
    links: u32,
    uid: u32,
    gid: u32,
    rdev: u32,
    block_size: u32,
    flags: u32,
}

/// Forks the server and gives it the device.
pub(super) fn fork(device: OwnedFd, answers: u32) -> io::Result<Pid> {
    let mut buffer = vec![0_u8; BUFFER];
    // SAFETY: the child only makes system calls, on memory allocated before, and ends without returning.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        // SAFETY: plain numbers. Descriptor 0 becomes the device; nobody's pipe, lock or folder is held.
        unsafe {
            libc::setsid();
            libc::chdir(c"/".as_ptr());
            libc::dup2(device.as_raw_fd(), 0);
            libc::close_range(1, u32::MAX, 0);
        }
        serve(&mut buffer, answers);
        // SAFETY: ends this process alone.
        unsafe { libc::_exit(0) };
    }
    Pid::from_raw(child).ok_or_else(|| io::Error::other("fork gave no process"))
}

/// Answers what it must to look alive, then swallows; returns when the connection is gone or its time is over. One that
/// always answers refuses what it does not know, as live servers do.
fn serve(buffer: &mut [u8], mut answers: u32) {
    let alive = answers == ALWAYS;
    let born = Instant::now();
    while born.elapsed().as_secs() < LIFETIME_SECONDS {
        let mut wait = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        if unsafe { libc::poll(&raw mut wait, 1, 1000) } <= 0 {
            continue;
        }
        // SAFETY: the buffer is ours and as long as said.
        let got = unsafe { libc::read(0, buffer.as_mut_ptr().cast(), buffer.len()) };
        if got < 0 {
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN | libc::ENOENT) => continue,
                _ => return,
            }
        }
        let (Some(code), Some(unique)) = (buffer.get(4..8), buffer.get(8..16)) else { return };
        let (Ok(code), Ok(unique)) = (code.try_into(), unique.try_into()) else { return };
        let unique = u64::from_ne_bytes(unique);
        match u32::from_ne_bytes(code) {
            INIT => reply(unique, 0, init()),
            GETATTR if answers > 0 => {
                answers -= u32::from(!alive);
                reply(unique, 0, root());
            }
            // Newer kernels ask this first; refused once, they ask for attributes from then on.
            STATX if answers > 0 => reply(unique, -libc::ENOSYS, ()),
            code if alive && !SILENT.contains(&code) => reply(unique, -libc::ENOSYS, ()),
            _ => {}
        }
    }
}

fn init() -> InitBody {
    InitBody {
        major: 7,
        minor: 31,
        max_background: 12,
        congestion_threshold: 9,
        max_write: 128 << 10,
        time_granularity: 1,
        ..InitBody::default()
    }
}

fn root() -> AttrBody {
    AttrBody { inode: 1, mode: libc::S_IFDIR | 0o755, links: 2, block_size: 4096, ..AttrBody::default() }
}

fn reply<B>(unique: u64, error: i32, body: B) {
    let all = Reply { length: size_of::<Reply<B>>() as u32, error, unique, body };
    // SAFETY: a C struct without padding, read as bytes for as long as it is.
    unsafe { libc::write(0, (&raw const all).cast(), size_of::<Reply<B>>()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_as_long_as_the_kernel_wants() {
        assert_eq!(size_of::<Reply<()>>(), 16);
        assert_eq!(size_of::<InitBody>(), 64);
        assert_eq!(size_of::<AttrBody>(), 104);
    }
}
