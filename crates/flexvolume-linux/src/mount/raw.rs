//! The mount system calls that no library wraps yet.
#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    io,
    mem::{offset_of, size_of},
    os::fd::{AsRawFd, BorrowedFd},
};

use linux_raw_sys::general::{
    __NR_listmount, __NR_mount_setattr, __NR_statmount, AT_EMPTY_PATH, MNT_ID_REQ_SIZE_VER0, mnt_id_req, mount_attr,
    statmount,
};

/// What `statmount` wrote: the fixed part and the strings behind it.
pub(super) struct Answer {
    /// Words, so that the fixed part is aligned. Always at least as long as the fixed part.
    words: Vec<u64>,
}

/// Where the strings begin.
const STRINGS: usize = offset_of!(statmount, str_);
/// More than any sane path and source need; the kernel says when it is not enough.
const FIRST_GUESS: usize = 2048;
const LARGEST: usize = 1 << 20;

impl Answer {
    pub(super) fn fixed(&self) -> &statmount {
        // SAFETY: the buffer is aligned for u64 (the struct's largest member), at least as long as the struct's fixed
        // part, fully initialised, and every bit pattern is valid for the integers in it.
        unsafe { &*self.words.as_ptr().cast::<statmount>() }
    }

    /// The string at `offset` of the string part, without its NUL; empty if the kernel's offset points outside.
    pub(super) fn string(&self, offset: u32) -> Vec<u8> {
        let bytes = self.words.iter().flat_map(|word| word.to_ne_bytes());
        bytes.skip(STRINGS + offset as usize).take_while(|byte| *byte != 0).collect()
    }
}

/// Asks for the parts named in `mask` of the mount with the unique number `id`.
pub(super) fn stat_mount(id: u64, mask: u64) -> io::Result<Answer> {
    let request = mnt_id_req { size: MNT_ID_REQ_SIZE_VER0, spare: 0, mnt_id: id, param: mask, mnt_ns_id: 0 };
    let mut length = FIRST_GUESS;
    loop {
        let mut words = vec![0_u64; length / size_of::<u64>()];
        // SAFETY: `request` is as long as its own `size` says, and the kernel writes no more than `length` bytes into
        // the live buffer.
        let done =
            unsafe { libc::syscall(i64::from(__NR_statmount), &raw const request, words.as_mut_ptr(), length, 0) };
        if done == 0 {
            return Ok(Answer { words });
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EOVERFLOW) || length >= LARGEST {
            return Err(error);
        }
        length *= 4;
    }
}

/// Fills `ids` with the numbers of mounts beneath the mount `parent` (all depths) that come after `last`.
pub(super) fn list_mounts(parent: u64, last: u64, ids: &mut [u64]) -> io::Result<usize> {
    let request = mnt_id_req { size: MNT_ID_REQ_SIZE_VER0, spare: 0, mnt_id: parent, param: last, mnt_ns_id: 0 };
    // SAFETY: `request` is as long as its own `size` says, and the kernel writes at most `ids.len()` numbers.
    let count = unsafe { libc::syscall(i64::from(__NR_listmount), &raw const request, ids.as_mut_ptr(), ids.len(), 0) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Asks for a change of no attribute: an error says that the call is not there, or not for us.
pub(crate) fn change_nothing(fd: BorrowedFd<'_>) -> io::Result<()> {
    mount_setattr(fd, c"", AT_EMPTY_PATH, Attributes::default())
}

/// What is changed of a mount.
#[derive(Clone, Copy, Default)]
pub(super) struct Attributes {
    /// Attribute bits that are set.
    pub(super) set: u64,
    /// Attribute bits that are cleared before.
    pub(super) clear: u64,
    /// The propagation it gets; 0 leaves it as it is.
    pub(super) propagation: u64,
}

/// Changes the mount that `fd` is on; with `path` empty the mount of `fd` itself.
pub(super) fn mount_setattr(fd: BorrowedFd<'_>, path: &CStr, flags: u32, change: Attributes) -> io::Result<()> {
    let Attributes { set, clear, propagation } = change;
    let attr = mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 };
    // SAFETY: the path is NUL-terminated, and the kernel reads exactly the given size of the live `attr`.
    let done = unsafe {
        libc::syscall(
            i64::from(__NR_mount_setattr),
            fd.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Thaws the file system that `fd` is in; `EINVAL` if it is not frozen.
pub(super) fn thaw(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: this ioctl takes no argument.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), FITHAW as _, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `_IOWR('X', 120, int)`.
const FITHAW: u32 = 0xc004_5878;
