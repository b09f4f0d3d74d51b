//! The one table of system calls that change state outside their process, because filter, judge and log must agree.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

/// `FSCONFIG_CMD_CREATE`, `_RECONFIGURE` and `_CREATE_EXCL`: the commands that act, the others only set parameters.
const FSCONFIG_ACTS: &[u32] = &[6, 7, 8];
const OPEN_TREE_CLONE: u32 = 1;
const OPEN_CHANGES: u32 = (libc::O_CREAT | libc::O_TRUNC) as u32;

/// ioctls that change something, by their whole number.
const IOCTLS: &[u32] = &[
    0x4C00,      // LOOP_SET_FD
    0x4C01,      // LOOP_CLR_FD
    0x4C02,      // LOOP_SET_STATUS
    0x4C04,      // LOOP_SET_STATUS64
    0x4C06,      // LOOP_CHANGE_FD
    0x4C07,      // LOOP_SET_CAPACITY
    0x4C08,      // LOOP_SET_DIRECT_IO
    0x4C09,      // LOOP_SET_BLOCK_SIZE
    0x4C0A,      // LOOP_CONFIGURE
    0x4C80,      // LOOP_CTL_ADD
    0x4C81,      // LOOP_CTL_REMOVE
    0x4C82,      // LOOP_CTL_GET_FREE, which may make a device
    0xC004_5877, // FIFREEZE
    0xC004_5878, // FITHAW
    0xC018_5879, // FITRIM
    0x125D,      // BLKROSET
    0x125F,      // BLKRRPART
    0x1261,      // BLKFLSBUF
    0x1269,      // BLKPG
    0x1277,      // BLKDISCARD
    0x127D,      // BLKSECDISCARD
    0x127F,      // BLKZEROOUT
    0x4004_9409, // FICLONE
    0x4020_940D, // FICLONERANGE
    0x4008_6602, // FS_IOC_SETFLAGS
    0x4008_6610, // EXT4_IOC_RESIZE_FS
    0x4010_586E, // XFS_IOC_FSGROWFSDATA
    0x5000_9403, // BTRFS_IOC_RESIZE
];

/// device-mapper ioctls that change something, by type and number: their size field varies with the kernel's headers.
const DM_IOCTLS: &[u32] = &[0xFD01, 0xFD03, 0xFD04, 0xFD05, 0xFD06, 0xFD09, 0xFD0A, 0xFD0E, 0xFD0F];

/// One system call that may change state.
pub(super) struct Row {
    pub(super) nr: i64,
    pub(super) name: &'static str,
    pub(super) when: When,
    pub(super) shown: &'static [Shown],
}

/// When a call of a row counts. All but `Judged` are decided inside the kernel.
#[derive(Clone, Copy)]
pub(super) enum When {
    Always,
    /// The argument has one of these bits.
    Bits(usize, u32),
    /// The argument is one of these.
    OneOf(usize, &'static [u32]),
    /// An ioctl from the two lists above.
    Ioctl,
    /// An open whose flags lie behind a pointer.
    JudgedOpenHow,
    /// A copy into a descriptor that counts when that is a file or a block device.
    JudgedTarget(usize),
    /// A write at an offset: long runs are thinned out.
    Write,
}

/// How an argument is written into the log.
#[derive(Clone, Copy)]
pub(super) enum Shown {
    Path(usize),
    /// Directory descriptor, path.
    At(usize, usize),
    Fd(usize),
    Hex(usize),
}

use Shown::{At, Fd, Hex, Path as P};
use When::{Always, Bits, OneOf};

const fn row(nr: i64, name: &'static str, when: When, shown: &'static [Shown]) -> Row {
    Row { nr, name, when, shown }
}

static ROWS: &[Row] = &[
    row(libc::SYS_mount, "mount", Always, &[P(0), P(1), P(2)]),
    row(libc::SYS_umount2, "umount2", Always, &[P(0)]),
    row(libc::SYS_pivot_root, "pivot_root", Always, &[P(0), P(1)]),
    row(libc::SYS_fsconfig, "fsconfig", OneOf(1, FSCONFIG_ACTS), &[Hex(1)]),
    row(libc::SYS_fsmount, "fsmount", Always, &[]),
    row(libc::SYS_move_mount, "move_mount", Always, &[At(2, 3)]),
    row(libc::SYS_open_tree, "open_tree", Bits(2, OPEN_TREE_CLONE), &[At(0, 1)]),
    // open_tree_attr, not in libc yet.
    row(467, "open_tree_attr", Bits(2, OPEN_TREE_CLONE), &[At(0, 1)]),
    row(libc::SYS_mount_setattr, "mount_setattr", Always, &[At(0, 1)]),
    row(libc::SYS_mkdirat, "mkdirat", Always, &[At(0, 1)]),
    row(libc::SYS_mknodat, "mknodat", Always, &[At(0, 1)]),
    row(libc::SYS_unlinkat, "unlinkat", Always, &[At(0, 1)]),
    row(libc::SYS_renameat, "renameat", Always, &[At(0, 1), At(2, 3)]),
    row(libc::SYS_renameat2, "renameat2", Always, &[At(0, 1), At(2, 3)]),
    row(libc::SYS_linkat, "linkat", Always, &[At(0, 1), At(2, 3)]),
    row(libc::SYS_symlinkat, "symlinkat", Always, &[P(0), At(1, 2)]),
    row(libc::SYS_truncate, "truncate", Always, &[P(0)]),
    row(libc::SYS_ftruncate, "ftruncate", Always, &[Fd(0)]),
    row(libc::SYS_fallocate, "fallocate", Always, &[Fd(0)]),
    row(libc::SYS_fsync, "fsync", Always, &[Fd(0)]),
    row(libc::SYS_fdatasync, "fdatasync", Always, &[Fd(0)]),
    row(libc::SYS_sync, "sync", Always, &[]),
    row(libc::SYS_syncfs, "syncfs", Always, &[Fd(0)]),
    row(libc::SYS_fchmod, "fchmod", Always, &[Fd(0)]),
    row(libc::SYS_fchmodat, "fchmodat", Always, &[At(0, 1)]),
    row(libc::SYS_fchmodat2, "fchmodat2", Always, &[At(0, 1)]),
    row(libc::SYS_fchown, "fchown", Always, &[Fd(0)]),
    row(libc::SYS_fchownat, "fchownat", Always, &[At(0, 1)]),
    row(libc::SYS_setxattr, "setxattr", Always, &[P(0), P(1)]),
    row(libc::SYS_lsetxattr, "lsetxattr", Always, &[P(0), P(1)]),
    row(libc::SYS_fsetxattr, "fsetxattr", Always, &[Fd(0), P(1)]),
    row(libc::SYS_removexattr, "removexattr", Always, &[P(0), P(1)]),
    row(libc::SYS_lremovexattr, "lremovexattr", Always, &[P(0), P(1)]),
    row(libc::SYS_fremovexattr, "fremovexattr", Always, &[Fd(0), P(1)]),
    // setxattrat and removexattrat, not in libc yet.
    row(463, "setxattrat", Always, &[At(0, 1)]),
    row(466, "removexattrat", Always, &[At(0, 1)]),
    row(libc::SYS_openat, "openat", Bits(2, OPEN_CHANGES), &[At(0, 1)]),
    row(libc::SYS_openat2, "openat2", When::JudgedOpenHow, &[At(0, 1)]),
    row(libc::SYS_execve, "execve", Always, &[P(0)]),
    row(libc::SYS_execveat, "execveat", Always, &[At(0, 1)]),
    row(libc::SYS_copy_file_range, "copy_file_range", Always, &[Fd(2)]),
    row(libc::SYS_sendfile, "sendfile", When::JudgedTarget(0), &[Fd(0)]),
    row(libc::SYS_pwrite64, "pwrite64", When::Write, &[Fd(0)]),
    row(libc::SYS_pwritev, "pwritev", When::Write, &[Fd(0)]),
    row(libc::SYS_pwritev2, "pwritev2", When::Write, &[Fd(0)]),
    row(libc::SYS_ioctl, "ioctl", When::Ioctl, &[Fd(0), Hex(1)]),
];

/// The calls that newer architectures no longer have.
#[cfg(target_arch = "x86_64")]
static OLD_ROWS: &[Row] = &[
    row(libc::SYS_mkdir, "mkdir", Always, &[P(0)]),
    row(libc::SYS_mknod, "mknod", Always, &[P(0)]),
    row(libc::SYS_rmdir, "rmdir", Always, &[P(0)]),
    row(libc::SYS_unlink, "unlink", Always, &[P(0)]),
    row(libc::SYS_rename, "rename", Always, &[P(0), P(1)]),
    row(libc::SYS_link, "link", Always, &[P(0), P(1)]),
    row(libc::SYS_symlink, "symlink", Always, &[P(0), P(1)]),
    row(libc::SYS_chmod, "chmod", Always, &[P(0)]),
    row(libc::SYS_chown, "chown", Always, &[P(0)]),
    row(libc::SYS_lchown, "lchown", Always, &[P(0)]),
    row(libc::SYS_open, "open", Bits(1, OPEN_CHANGES), &[P(0)]),
    row(libc::SYS_creat, "creat", Always, &[P(0)]),
];

#[cfg(not(target_arch = "x86_64"))]
static OLD_ROWS: &[Row] = &[];

/// The ioctls that count: whole numbers, and those compared by their low sixteen bits.
pub(super) fn ioctls() -> (&'static [u32], &'static [u32]) {
    (IOCTLS, DM_IOCTLS)
}

/// Every row of the table.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(OLD_ROWS)
}

/// The row of a system call, by its number.
pub(super) fn row_of(nr: i64) -> Option<&'static Row> {
    rows().find(|row| row.nr == nr)
}

/// A thread that waits at the door of a system call, with that call's arguments.
pub(super) struct Caller<'a> {
    pub(super) tid: u32,
    pub(super) args: &'a [u64; 6],
}

impl Caller<'_> {
    /// Whether this call of `row` changes state, where the kernel's filter could not tell.
    pub(super) fn changes_state(&self, row: &Row) -> bool {
        match row.when {
            When::JudgedOpenHow => {
                let flags = self.memory(self.args[2], 8).and_then(|b| <[u8; 8]>::try_from(b).ok());
                flags.is_none_or(|b| u64::from_ne_bytes(b) & u64::from(OPEN_CHANGES) != 0)
            }
            When::JudgedTarget(arg) => fs::metadata(self.fd_file(arg))
                .is_ok_and(|m| m.file_type().is_file() || m.file_type().is_block_device()),
            When::Always | When::Bits(..) | When::OneOf(..) | When::Ioctl | When::Write => true,
        }
    }

    /// The arguments worth reading, for the log.
    pub(super) fn detail(&self, row: &Row) -> String {
        let parts: Vec<String> = row.shown.iter().map(|shown| self.show(*shown)).collect();
        parts.join(" ")
    }

    fn show(&self, shown: Shown) -> String {
        match shown {
            Shown::Path(arg) => self.text(self.args[arg]),
            Shown::At(dir, arg) => self.at(dir, &self.text(self.args[arg])),
            Shown::Fd(arg) => link_text(&self.fd_file(arg)),
            Shown::Hex(arg) => format!("{:#x}", self.args[arg]),
        }
    }

    fn at(&self, dir: usize, path: &str) -> String {
        if path.starts_with('/') {
            return path.to_owned();
        }
        let base = if self.args[dir] as i32 == libc::AT_FDCWD {
            link_text(Path::new(&format!("/proc/{}/cwd", self.tid)))
        } else {
            link_text(&self.fd_file(dir))
        };
        if path.is_empty() { base } else { format!("{base}/{path}") }
    }

    fn fd_file(&self, arg: usize) -> PathBuf {
        format!("/proc/{}/fd/{}", self.tid, self.args[arg] as i32).into()
    }

    /// A string of the caller's memory, for people.
    fn text(&self, address: u64) -> String {
        if address == 0 {
            return "-".to_owned();
        }
        String::from_utf8_lossy(&self.string(address, 4096)).into_owned()
    }

    /// A string of the caller's memory, up to its NUL or little beyond `limit` bytes.
    pub(super) fn string(&self, address: u64, limit: usize) -> Vec<u8> {
        // A string may end just before an unmapped page: never read over a page's end in one go.
        let mut bytes = Vec::new();
        let mut at = address;
        while bytes.len() < limit {
            let Some(piece) = self.memory(at, (4096 - at % 4096) as usize) else { break };
            at += piece.len() as u64;
            match piece.iter().position(|b| *b == 0) {
                Some(end) => {
                    bytes.extend_from_slice(&piece[..end]);
                    break;
                }
                None => bytes.extend_from_slice(&piece),
            }
        }
        bytes
    }

    pub(super) fn memory(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let file = File::open(format!("/proc/{}/mem", self.tid)).ok()?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, address).ok()?;
        Some(bytes)
    }
}

fn link_text(link: &Path) -> String {
    fs::read_link(link).map_or_else(|_| "?".to_owned(), |to| to.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_system_call_has_two_rows() {
        let mut numbers: Vec<i64> = rows().map(|row| row.nr).collect();
        let all = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all);
    }

    #[test]
    fn reads_strings_and_paths_of_a_process() {
        let name = c"made/here";
        let args = [libc::AT_FDCWD as u64, name.as_ptr() as u64, 0, 0, 0, 0];
        let caller = Caller { tid: std::process::id(), args: &args };
        let cwd = std::env::current_dir().unwrap_or_default();
        let row = row_of(libc::SYS_mkdirat).unwrap_or(&ROWS[0]);
        assert_eq!(caller.detail(row), format!("{}/made/here", cwd.display()));
    }
}
