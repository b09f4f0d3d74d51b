//! A FUSE file system that stops answering, because a dead server behind a mount is what wedges hosts.
//!
//! The server is a process of its own, so neither a `kill -9` of the host under test nor a wedged test ends it. As a
//! safety net it ends by itself after a quarter of an hour, which frees whoever still waits.

#![allow(unsafe_code)]

mod server;

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::mounts;

pub use server::ALWAYS;

const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// A mounted file system that does not answer. Dropped, it is aborted and unmounted.
#[derive(Debug)]
pub struct HungFs {
    dir: PathBuf,
    connection: u32,
    server: Pid,
}

/// The connection of a file system that may outlive its mounts. It is held by its file, since its number may be another's
/// once it has ended.
#[derive(Debug)]
pub struct Connection(File);

impl Connection {
    /// That of a mounted file system.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn of(mount: &mounts::Mount) -> io::Result<Self> {
        let file = connection_file(mount.device.1, "abort")?;
        OpenOptions::new().write(true).open(&file).map(Self).map_err(|e| about(&file, e))
    }

    /// Ends it, if it lives.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn abort(mut self) -> io::Result<()> {
        self.0.write_all(b"1")
    }
}

impl HungFs {
    /// Mounts it at the directory. It answers the first `answers` questions for attributes, then nothing, for ever.
    ///
    /// # Errors
    /// Not root, no FUSE in the kernel, or no such directory.
    pub fn mount(dir: &Path, answers: u32) -> io::Result<HungFs> {
        let (connection, device) = mount_at(dir)?;
        let server = server::fork(device, answers)?;
        let hung = HungFs { dir: dir.to_path_buf(), connection, server };
        await_greeting(connection)?;
        Ok(hung)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How many requests wait for an answer now: how a test learns that somebody is caught.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn waiting(&self) -> io::Result<u32> {
        waiting(self.connection)
    }

    /// Ends the connection: all who wait get an error, now and later. The mount stays, dead.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn abort(&self) -> io::Result<()> {
        abort(self.connection)
    }
}

impl Drop for HungFs {
    fn drop(&mut self) {
        let _ = self.abort();
        let _ = unmount(&self.dir, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        let _ = kill_process(self.server, Signal::KILL);
        let _ = waitpid(Some(self.server), WaitOptions::empty());
    }
}

/// Mounts one that outlives the caller, for drivers that are programs: the `hungfs` binary is this.
/// [`abort_at`] or a sandbox's end takes it away.
///
/// # Errors
/// As [`HungFs::mount`].
pub fn mount_and_leave(dir: &Path, answers: u32) -> io::Result<()> {
    let (connection, device) = mount_at(dir)?;
    server::fork(device, answers)?;
    await_greeting(connection)
}

/// Aborts every FUSE file system mounted exactly here, so that it may be unmounted without waiting for its server.
///
/// # Errors
/// The mount table cannot be read, or a connection not be aborted.
pub fn abort_at(dir: &Path) -> io::Result<()> {
    for mount in mounts::all()?.iter().filter(|m| m.point == dir && m.is_fuse()) {
        abort(mount.device.1)?;
    }
    Ok(())
}

/// How many requests wait for an answer of the FUSE file system mounted exactly here; see [`HungFs::waiting`].
///
/// # Errors
/// None is mounted here, or its connection is gone.
pub fn waiting_at(dir: &Path) -> io::Result<u32> {
    let mount = mounts::all()?.into_iter().rfind(|m| m.point == dir && m.is_fuse());
    waiting(mount.ok_or_else(|| about(dir, io::ErrorKind::NotFound.into()))?.device.1)
}

/// The kernel's first request is its own: until it is answered, "somebody waits" would mean nothing.
fn await_greeting(connection: u32) -> io::Result<()> {
    for _ in 0..5000 {
        if waiting(connection)? == 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::other("hung file system: its server does not even answer the first request"))
}

fn waiting(connection: u32) -> io::Result<u32> {
    let file = connection_file(connection, "waiting")?;
    let text = fs::read_to_string(&file).map_err(|e| about(&file, e))?;
    text.trim().parse().map_err(|_| about(&file, io::Error::other("no number")))
}

fn abort(connection: u32) -> io::Result<()> {
    let file = connection_file(connection, "abort")?;
    fs::write(&file, "1").map_err(|e| about(&file, e))
}

fn connection_file(connection: u32, name: &str) -> io::Result<PathBuf> {
    let folder = Path::new(CONNECTIONS);
    if !folder.join(connection.to_string()).exists() && !mounts::all()?.iter().any(|m| m.fs_type == "fusectl") {
        mount("fusectl", folder, "fusectl", MountFlags::empty(), None::<&CStr>).map_err(|e| about(folder, e.into()))?;
    }
    Ok(folder.join(connection.to_string()).join(name))
}

/// Mounts without a server yet; gives the connection's number and the device that the server reads.
fn mount_at(dir: &Path) -> io::Result<(u32, OwnedFd)> {
    let dir = &fs::canonicalize(dir).map_err(|e| about(dir, e))?;
    let fuse = Path::new("/dev/fuse");
    let device = OpenOptions::new().read(true).write(true).open(fuse).map_err(|e| about(fuse, e))?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    let options = CString::new(options).map_err(io::Error::other)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("hung", dir.as_os_str().as_bytes(), "fuse.hung", flags, options.as_c_str())
        .map_err(|e| about(dir, e.into()))?;
    let mount = mounts::all()?.into_iter().rfind(|m| m.point == *dir && m.is_fuse());
    let connection = mount.ok_or_else(|| about(dir, io::Error::other("mounted, yet not in the mount table")))?.device.1;
    Ok((connection, device.into()))
}

fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("hung file system: {}: {error}", path.display()))
}
