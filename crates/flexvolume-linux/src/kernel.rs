//! What this kernel can do, asked by calls that change nothing: a version says little where a sandbox forbids calls.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    fd::AsFd,
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
    mount::{OpenTreeFlags, open_tree},
    process::{PidfdFlags, getpid, pidfd_open},
};
use serde::{Deserialize, Serialize};

use crate::mount;

/// Something of the kernel that flexvol uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Feature {
    /// Single mounts asked for by number (6.8); without it the whole table is read.
    Statmount,
    /// Paths resolved beneath a directory (5.6).
    Openat2,
    /// Mounts made out of sight and moved into place (5.2).
    MountApi,
    /// Mounts made read-only before anybody sees them (5.12).
    MountSetattr,
    /// Processes waited for and ended by descriptor (5.3).
    Pidfd,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Has {
    /// It is there.
    Yes,
    /// This kernel does not know it.
    No,
    /// It is there and refused to this process.
    Forbidden,
}

/// Whether a type of file system can be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FsSupport {
    /// The kernel has it.
    Here,
    /// A module for it lies ready.
    Module,
    /// Neither.
    None,
    /// The kernel does not have it now, and no list of modules is there to be asked.
    Unknown,
}

impl Feature {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Statmount, Self::Openat2, Self::MountApi, Self::MountSetattr, Self::Pidfd];

    /// The first release that has it.
    pub fn since(self) -> &'static str {
        match self {
            Self::Statmount => "6.8",
            Self::Openat2 => "5.6",
            Self::MountApi => "5.2",
            Self::MountSetattr => "5.12",
            Self::Pidfd => "5.3",
        }
    }

    /// Asks for it.
    pub fn ask(self) -> Has {
        match self {
            Self::Statmount => match mount::table::Backend::here() {
                mount::table::Backend::Statmount => Has::Yes,
                mount::table::Backend::Mountinfo => Has::No,
            },
            Self::Openat2 => {
                let how = OFlags::PATH | OFlags::CLOEXEC;
                answer(openat2(CWD, "/", how, Mode::empty(), ResolveFlags::empty()))
            }
            Self::MountApi => answer(open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC)),
            Self::MountSetattr => match openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                Ok(root) => judge(mount::change_nothing(root.as_fd())),
                Err(_) => Has::Forbidden,
            },
            Self::Pidfd => answer(pidfd_open(getpid(), PidfdFlags::empty())),
        }
    }
}

fn answer<T>(result: rustix::io::Result<T>) -> Has {
    judge(result.map(drop).map_err(io::Error::from))
}

fn judge(result: io::Result<()>) -> Has {
    match result {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOSYS) => Has::No,
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::PERM | Errno::ACCESS)) => Has::Forbidden,
        Ok(()) | Err(_) => Has::Yes,
    }
}

/// The kernel's release, such as `6.1.0-18-amd64`.
pub fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Whether this process may mount in its own mount namespace (it has CAP_SYS_ADMIN).
pub fn may_mount() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & SYS_ADMIN != 0)
}

/// Whether this type can be mounted here, as far as the kernel and its list of modules say.
pub fn file_system(name: &str) -> FsSupport {
    let modules = PathBuf::from("/lib/modules").join(release());
    let read = |path: &Path| fs::read_to_string(path).ok();
    let here = read(Path::new("/proc/filesystems")).unwrap_or_default();
    let built_in = read(&modules.join("modules.builtin"));
    let loadable = read(&modules.join("modules.dep"));
    support(name, &here, built_in.as_deref(), loadable.as_deref())
}

fn support(name: &str, here: &str, built_in: Option<&str>, loadable: Option<&str>) -> FsSupport {
    if here.lines().any(|line| line.split_whitespace().next_back() == Some(name)) {
        return FsSupport::Here;
    }
    let name = match name {
        // ext4's driver serves it, and says so only once it is loaded.
        "ext3" => "ext4",
        "nfs4" => "nfsv4",
        name => name,
    };
    let is = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or_default();
        file.split(".ko").next().is_some_and(|stem| stem.replace('-', "_") == name.replace('-', "_"))
    };
    if built_in.is_some_and(|list| list.lines().any(is)) {
        return FsSupport::Here;
    }
    match loadable {
        Some(list) if list.lines().filter_map(|line| line.split(':').next()).any(is) => FsSupport::Module,
        Some(_) => FsSupport::None,
        None => FsSupport::Unknown,
    }
}

/// The mount namespace of this process, or of process `pid`, such as `mnt:[4026531841]`; `None` where it may not be seen.
pub fn mount_namespace(pid: Option<u32>) -> Option<String> {
    let link = pid.map_or_else(|| "/proc/self/ns/mnt".to_owned(), |pid| format!("/proc/{pid}/ns/mnt"));
    fs::read_link(link).ok().map(|name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tests_stand_on_is_here() {
        for feature in [Feature::Openat2, Feature::MountApi, Feature::Pidfd] {
            assert_eq!(feature.ask(), Has::Yes, "{feature:?}");
        }
        if may_mount() {
            assert_eq!(Feature::MountSetattr.ask(), Has::Yes);
        }
        assert!(!release().is_empty());
        assert_eq!(mount_namespace(None), mount_namespace(Some(std::process::id())));
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(judge(Err(Errno::NOSYS.into())), Has::No);
        assert_eq!(judge(Err(Errno::PERM.into())), Has::Forbidden);
        assert_eq!(judge(Err(Errno::INVAL.into())), Has::Yes, "who complains of the arguments knows the call");
    }

    #[test]
    fn file_systems_are_here_or_a_module_or_nowhere() {
        let here = "nodev\ttmpfs\n\text4\n";
        let built_in = Some("kernel/fs/fuse/fuse.ko\n");
        let loadable = Some("kernel/fs/xfs/xfs.ko.zst: kernel/lib/libcrc32c.ko.zst\nkernel/fs/ntfs-x.ko:\n");
        let of = |name: &str| support(name, here, built_in, loadable);
        assert_eq!((of("tmpfs"), of("ext4"), of("fuse")), (FsSupport::Here, FsSupport::Here, FsSupport::Here));
        assert_eq!((of("xfs"), of("ntfs_x"), of("libcrc32c")), (FsSupport::Module, FsSupport::Module, FsSupport::None));
        assert_eq!(support("xfs", here, None, None), FsSupport::Unknown);
        assert_eq!(support("nfs4", "", None, Some("kernel/fs/nfs/nfsv4.ko:\n")), FsSupport::Module);
        assert_eq!(support("nfs4", "", None, Some("kernel/fs/nfs/nfs.ko:\n")), FsSupport::None);
        assert_eq!(support("ext3", "", None, Some("kernel/fs/ext4/ext4.ko:\n")), FsSupport::Module);
    }
}
