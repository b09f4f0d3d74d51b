//! The seccomp filter that stops a process at the door of each effect, and the way its listener comes to us.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{seccomp_data, seccomp_notif, seccomp_notif_resp, sock_filter, sock_fprog};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage};
use rustix::net::{SendFlags, recvmsg, sendmsg};

use super::effects::{self, When};

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xC000_00B7;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const MASK: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const ASK: sock_filter = step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF);
const PASS: sock_filter = step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW);

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Where the low half of an argument lies in what the filter sees (little endian).
fn argument(arg: usize) -> sock_filter {
    step(LOAD, 0, 0, (std::mem::offset_of!(seccomp_data, args) + 8 * arg) as u32)
}

/// The program: a foreign architecture passes uncounted, then one block for each row of the table.
pub(super) fn program() -> Vec<sock_filter> {
    let mut all = vec![
        step(LOAD, 0, 0, std::mem::offset_of!(seccomp_data, arch) as u32),
        step(EQUAL, 1, 0, NATIVE),
        PASS,
        step(LOAD, 0, 0, std::mem::offset_of!(seccomp_data, nr) as u32),
    ];
    for row in effects::rows() {
        let block = block(row.when);
        all.push(step(EQUAL, 0, block.len() as u8, row.nr as u32));
        all.extend(block);
    }
    all.push(PASS);
    all
}

/// What is done once the number is that of the row. Ends in a verdict on every way.
fn block(when: When) -> Vec<sock_filter> {
    let mut block = Vec::new();
    match when {
        When::Always | When::JudgedOpenHow | When::JudgedTarget(_) | When::Write => return vec![ASK],
        When::Bits(arg, bits) => block.extend([argument(arg), step(ANY_BIT, 0, 1, bits), ASK]),
        When::OneOf(arg, values) => {
            block.push(argument(arg));
            block.extend(values.iter().flat_map(|v| [step(EQUAL, 0, 1, *v), ASK]));
        }
        When::Ioctl => {
            let (whole, low) = effects::ioctls();
            block.push(argument(1));
            block.extend(whole.iter().flat_map(|v| [step(EQUAL, 0, 1, *v), ASK]));
            block.push(step(MASK, 0, 0, 0xFFFF));
            block.extend(low.iter().flat_map(|v| [step(EQUAL, 0, 1, *v), ASK]));
        }
    }
    block.push(PASS);
    block
}

/// Binds the calling thread, and all it will ever fork, to the filter, and sends the listener through `to`.
///
/// Runs between fork and exec: nothing here allocates or locks.
pub(super) fn bind_and_send(program: &[sock_filter], to: BorrowedFd<'_>) -> io::Result<()> {
    let listener = bind(program)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [listener.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(to, &[IoSlice::new(b"x")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn bind(program: &[sock_filter]) -> io::Result<OwnedFd> {
    let it = sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // Once a request was received, only death interrupts its caller: a signal can never make one effect count twice.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: `it` and the program it points to live across the call; the kernel copies both.
    let set = || unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const it) };
    let mut fd = set();
    if fd < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EACCES) {
        // Without root a filter is only for those who give up new privileges.
        // SAFETY: plain numbers; changes nothing but a flag of this thread.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        fd = set();
    }
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us, and nobody else has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Waits for the listener that `bind_and_send` sends; none when the sender is gone.
pub(super) fn receive(from: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            return Ok(fds.next());
        }
    }
    Ok(None)
}

/// Takes one request; none when its caller died before we looked.
pub(super) fn take(listener: BorrowedFd<'_>) -> io::Result<Option<seccomp_notif>> {
    // SAFETY: all-zero bytes are a valid seccomp_notif, and the kernel demands them.
    let mut request: seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the listener is a seccomp one and the request of the size that its number says.
    let rc = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut request) };
    if rc == 0 {
        return Ok(Some(request));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EINTR) => Ok(None),
        _ => Err(error),
    }
}

/// How a caller goes on.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// The call runs.
    Run,
    /// The call does not run and fails with this errno.
    Fail(i32),
    /// The call does not run, and its caller is told that it did.
    Pretend,
}

/// Lets a caller go on. That it died meanwhile is no error.
pub(super) fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> io::Result<()> {
    let (error, flags) = match answer {
        Answer::Run => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Fail(errno) => (-errno, 0),
        Answer::Pretend => (0, 0),
    };
    let mut response = seccomp_notif_resp { id, val: 0, error, flags };
    // SAFETY: the listener is a seccomp one and the response of the size that its number says.
    let rc = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) };
    if rc == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOENT) { Ok(()) } else { Err(error) }
}

/// Leaves the listener to a process of its own that lets every caller go on until none is left.
///
/// Without it the calls of those left behind would fail with ENOSYS.
pub(super) fn leave_to_keeper(listener: OwnedFd) -> io::Result<()> {
    // SAFETY: the child makes system calls only, no allocation and no lock, and never returns from here.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        // SAFETY: as above; a second fork so that nobody has to reap the keeper.
        unsafe {
            if libc::fork() != 0 {
                libc::_exit(0);
            }
            libc::setsid();
            libc::chdir(c"/".as_ptr());
            // It must not hold anybody's pipe open.
            libc::dup2(listener.as_raw_fd(), 0);
            libc::close_range(1, u32::MAX, 0);
            keep();
        }
    }
    // SAFETY: waits for the first child alone, which ends at once.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    Ok(())
}

/// The keeper's whole life; its listener is descriptor 0.
///
/// # Safety
/// Only for a freshly forked process: it ends the process.
unsafe fn keep() -> ! {
    // SAFETY: the caller put the listener there and it stays open till the end.
    let listener = unsafe { BorrowedFd::borrow_raw(0) };
    loop {
        let mut wait = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&raw mut wait, 1, -1) };
        if wait.revents & libc::POLLIN != 0 {
            if let Ok(Some(request)) = take(listener) {
                let _ = answer(listener, request.id, Answer::Run);
            }
        } else if wait.revents != 0 {
            // SAFETY: ends this process alone, running no handlers of the one it was forked from.
            unsafe { libc::_exit(0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_fits_the_kernel_and_every_jump_lands_inside() {
        let all = program();
        assert!(all.len() < 4096, "{} instructions", all.len());
        for (at, it) in all.iter().enumerate() {
            if it.code == EQUAL || it.code == ANY_BIT {
                assert!(at + 1 + usize::from(it.jt.max(it.jf)) < all.len(), "instruction {at} jumps out");
            }
        }
    }

    #[test]
    fn no_block_outgrows_a_jump() {
        for row in effects::rows() {
            assert!(block(row.when).len() <= usize::from(u8::MAX), "{}", row.name);
        }
    }
}
