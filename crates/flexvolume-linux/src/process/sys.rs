//! The few system calls that neither std nor rustix offers, behind safe functions.
#![allow(unsafe_code)]

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use linux_raw_sys::general::{AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_RDONLY, mount_attr};

/// Ignores SIGPIPE and takes SIGCHLD back from a parent who ignored it: children of such a process vanish unseen, with
/// their exit codes.
pub(crate) fn default_signals() {
    // SAFETY: both dispositions are constants; no handler is installed.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}

/// Has glibc's allocator keep few arenas; by itself it makes one for each thread, up to eight for each processor, and gives little back.
pub(crate) fn few_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes a parameter of the allocator, which locks itself.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Lets the command begin in a session of its own and ignore SIGPIPE, which std has just set back to kill it.
pub(crate) fn set_apart(command: &mut Command) {
    let between_fork_and_exec = || {
        // SAFETY: both calls are async-signal-safe and touch no memory.
        unsafe {
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            if libc::setsid() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        }
    };
    // SAFETY: the closure does nothing that is forbidden in the child of a program with threads.
    unsafe { command.pre_exec(between_fork_and_exec) };
}

/// Marks every descriptor above the standard three close-on-exec, so that no child inherits what a parent of ours left
/// open.
pub(crate) fn keep_descriptors_from_children() {
    // SAFETY: only sets a flag; no descriptor is closed. On a kernel without it (before 5.11) nothing happens.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Closes every descriptor above the standard three. Only for the first line of a newborn process, which owns none yet.
pub(crate) fn close_inherited() {
    // SAFETY: the caller is at the first line of `main`: nothing in this process holds a descriptor above 2.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// Makes a mount, given by a descriptor of its root, read-only; with all mounts beneath it if `whole`.
pub(crate) fn make_read_only(mount: impl AsFd, whole: bool) -> io::Result<()> {
    let attributes = mount_attr { attr_set: MOUNT_ATTR_RDONLY.into(), attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = AT_EMPTY_PATH | if whole { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated empty string and the kernel reads exactly the given size of `attributes`.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<mount_attr>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
