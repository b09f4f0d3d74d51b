//! The mkfs and fsck programs of the system: found, run without a shell, their last words kept.

use std::{env, ffi::OsStr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{device::Device, kind::FsType};
use crate::{
    Error, ErrorKind, Result,
    process::{How, Kill, Limits, Program, on_path, spawn},
};

/// Where these programs live when PATH does not say so, as it often does not for a service.
const PLACES: [&str; 6] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// After this the output of a program that has ended is no longer waited for.
const OUTPUT: Duration = Duration::from_secs(10);

/// A brief program is ended after this.
const LOOK: Duration = Duration::from_secs(60);

/// A program we need, and the Debian package that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    package: &'static str,
}

pub(super) const BLKID: Tool = Tool { name: "blkid", package: "util-linux" };
pub(super) const MKFS_EXT3: Tool = Tool { name: "mkfs.ext3", package: "e2fsprogs" };
pub(super) const MKFS_EXT4: Tool = Tool { name: "mkfs.ext4", package: "e2fsprogs" };
pub(super) const MKFS_XFS: Tool = Tool { name: "mkfs.xfs", package: "xfsprogs" };
pub(super) const MKFS_BTRFS: Tool = Tool { name: "mkfs.btrfs", package: "btrfs-progs" };
pub(super) const E2FSCK: Tool = Tool { name: "e2fsck", package: "e2fsprogs" };
pub(super) const XFS_REPAIR: Tool = Tool { name: "xfs_repair", package: "xfsprogs" };
pub(super) const BTRFS: Tool = Tool { name: "btrfs", package: "btrfs-progs" };
pub(super) const RESIZE2FS: Tool = Tool { name: "resize2fs", package: "e2fsprogs" };
pub(super) const TUNE2FS: Tool = Tool { name: "tune2fs", package: "e2fsprogs" };
pub(super) const XFS_ADMIN: Tool = Tool { name: "xfs_admin", package: "xfsprogs" };
pub(super) const XFS_GROWFS: Tool = Tool { name: "xfs_growfs", package: "xfsprogs" };

/// A program of the system that is needed for file systems, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needed {
    /// Its name.
    pub name: String,
    /// The Debian package that brings it.
    pub package: String,
    /// The type of file system it is for; `None` for all.
    pub fs_type: Option<FsType>,
    /// Where it is; `None` if it is not installed.
    pub path: Option<PathBuf>,
}

/// Every program that formatting, checking, growing and renewing may run, and where each is.
pub fn needed() -> Vec<Needed> {
    let of = |fs_type: Option<FsType>, tools: &[Tool]| {
        let needed = |tool: &Tool| Needed {
            name: tool.name.to_owned(),
            package: tool.package.to_owned(),
            fs_type,
            path: tool.look(),
        };
        tools.iter().map(needed).collect::<Vec<_>>()
    };
    [
        of(None, &[BLKID]),
        of(Some(FsType::Ext4), &[MKFS_EXT4, E2FSCK, RESIZE2FS, TUNE2FS]),
        of(Some(FsType::Ext3), &[MKFS_EXT3]),
        of(Some(FsType::Xfs), &[MKFS_XFS, XFS_REPAIR, XFS_GROWFS, XFS_ADMIN]),
        of(Some(FsType::Btrfs), &[MKFS_BTRFS, BTRFS]),
    ]
    .concat()
}

/// What a program may be told to do while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// It only reads, and little: ended at a limit.
    Brief,
    /// It changes the device, where ending it in mid-course can destroy, or reads all of it: waited for.
    Lasting,
}

/// What a program left behind.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit status; `None` if a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ended {
    /// The last lines it said, for a person.
    pub(super) fn words(&self) -> String {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        // What it does not like is said before the page on how to use it.
        let usage = lines.iter().position(|line| line.to_lowercase().starts_with("usage")).filter(|at| *at > 0);
        let lines = &lines[..usage.unwrap_or(lines.len())];
        let text = lines[lines.len().saturating_sub(6)..].join("; ");
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(600).collect();
        if text.is_empty() { format!("it said nothing and ended with {}", self.status()) } else { text }
    }

    fn status(&self) -> String {
        self.code.map_or_else(|| "a signal".to_owned(), |code| format!("status {code}"))
    }
}

impl Tool {
    /// Where it is, for a task that `purpose` names ("format /dev/x as xfs").
    pub(super) fn find(self, purpose: &str) -> Result<PathBuf> {
        self.look().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("cannot {purpose}: {} is not installed", self.name))
                .with_hint(format!("apt-get install {}", self.package))
        })
    }

    fn look(self) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        on_path(self.name, &path).or_else(|| on_path(self.name, OsStr::new(&PLACES.join(":"))))
    }

    /// Runs it to its end. With a `device`, the child holds that device's lock for as long as it lives.
    pub(super) fn run(self, purpose: &str, args: &[&str], nature: Nature, device: Option<&Device>) -> Result<Ended> {
        let program = Program {
            args: args.iter().map(|arg| Zeroizing::new((*arg).to_owned())).collect(),
            env: vec![("LC_ALL".to_owned(), "C".to_owned())],
            ..Program::new(self.find(purpose)?)
        };
        let limits = match nature {
            Nature::Brief => Limits { answer: LOOK, kill: Kill::After { at: LOOK, grace: Duration::from_secs(2) } },
            Nature::Lasting => Limits { answer: OUTPUT, kill: Kill::Never },
        };
        let running = match device {
            Some(device) => device.lending(|| spawn(&program))?,
            None => spawn(&program)?,
        };
        let outcome = running.wait(&limits, &|_, _| false, &mut |_| {});
        let code = match outcome.how {
            How::Exited(code) => Some(code),
            How::Signalled(_) => None,
            How::Killed { .. } | How::Stayed(_) | How::Stuck(_) => {
                let context = format!("cannot {purpose}: {} did not end within {} s", self.name, LOOK.as_secs());
                return Err(Error::new(ErrorKind::Timeout, context));
            }
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ended { code, stdout: text(&outcome.stdout), stderr: text(&outcome.stderr) })
    }

    /// Runs it and takes anything but status 0 for a failure.
    pub(super) fn succeed(self, purpose: &str, args: &[&str], device: Option<&Device>) -> Result<Ended> {
        let ended = self.run(purpose, args, Nature::Lasting, device)?;
        if ended.code == Some(0) {
            return Ok(ended);
        }
        let context = format!("cannot {purpose}: {} ended with {}", self.name, ended.status());
        Err(Error::new(ErrorKind::Io, context).with_cause(ended.words()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let tool = Tool { name: "mkfs.nosuchthing", package: "nosuch-progs" };
        let error = tool.run("format /dev/x", &[], Nature::Brief, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.to_string(), "cannot format /dev/x: mkfs.nosuchthing is not installed");
        assert_eq!(error.hint(), Some("apt-get install nosuch-progs"));
    }

    #[test]
    fn last_words_are_bounded_and_plain() {
        let said = |stderr: &str| Ended { code: Some(1), stdout: "out".into(), stderr: stderr.into() }.words();
        assert_eq!(said("\n a \n\u{1b}[31mb\n"), "a;  [31mb");
        assert_eq!(
            said("too small, minimum 4096 blocks\nUsage: mkfs.xfs\n/* version */ [-V]\n"),
            "too small, minimum 4096 blocks"
        );
        assert_eq!(said("Usage: mkfs.xfs\n"), "Usage: mkfs.xfs");
        assert_eq!(said(""), "out");
        assert!(said(&"x\n".repeat(10_000)).len() <= 600);
        let silent = Ended { code: None, stdout: String::new(), stderr: String::new() };
        assert_eq!(silent.words(), "it said nothing and ended with a signal");
    }
}
