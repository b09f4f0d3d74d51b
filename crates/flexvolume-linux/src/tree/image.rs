//! One file's content, for who copies an image.

use std::{fs::File, io, time::Instant};

use rustix::{fs::ioctl_ficlone, io::Errno};

use super::{
    clock::Clock,
    content::{Came, Ways},
};

/// Gives `to`, whatever was in it, the content that `from` has at one moment: what is written to `from` before that is in it, what
/// comes later is not. Nothing is copied, the blocks are shared; `false` if the file systems cannot do that, and then nothing was
/// done. `to` is open for writing, and not durable yet.
///
/// # Errors
/// The kernel's.
pub fn share_content(from: &File, to: &File) -> io::Result<bool> {
    match ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        // No such call; another file system; files that are kept in different ways, as with btrfs' nodatacow.
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS | Errno::XDEV | Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Copies the first `size` bytes of `from`, of which `at` are in `to` already, until `until`; something is done in any case. With
/// `at` 0 whatever was in `to` goes. Holes stay holes. It is for the caller to see that nobody writes to either meanwhile, and to
/// make durable what is there.
///
/// # Errors
/// The kernel's. What was copied before stays.
pub fn copy_content(from: &File, to: &File, size: u64, at: u64, until: Instant) -> io::Result<Came> {
    let slice = until.saturating_duration_since(Instant::now());
    Ok(Ways { share: false, by_kernel: true }.copy(from, to, size, at, &mut Clock::Waits(slice), &|| true)?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{FileExt, MetadataExt},
        time::Duration,
    };

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_file_is_copied_in_slices_and_its_holes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            File::options().read(true).write(true).create(true).truncate(false).open(dir.path().join(name)).unwrap()
        };
        let (from, to) = (open("from"), open("to"));
        for at in [3, 12, 40] {
            from.write_all_at(&vec![at as u8; MIB as usize], at * MIB).unwrap();
        }
        from.set_len(64 * MIB).unwrap();
        from.sync_all().unwrap();
        to.write_all_at(b"old", 60 * MIB).unwrap();
        let (mut at, mut slices) = (0, 0);
        let past = Instant::now() - Duration::from_millis(1);
        while let Came::To(done) = copy_content(&from, &to, 64 * MIB, at, past).unwrap() {
            assert!(done > at && to.metadata().unwrap().len() == done, "{done} after {at}");
            (at, slices) = (done, slices + 1);
        }
        assert!(slices >= 2, "{slices}");
        assert!(fs::read(dir.path().join("to")).unwrap() == fs::read(dir.path().join("from")).unwrap());
        assert!(to.metadata().unwrap().blocks() * 512 < 8 * MIB, "{} blocks", to.metadata().unwrap().blocks());
    }

    #[test]
    fn what_cannot_be_shared_is_said_and_left() {
        let (dir, shm) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        fs::write(dir.path().join("from"), "from").unwrap();
        fs::write(shm.path().join("to"), "to").unwrap();
        let to = File::options().write(true).open(shm.path().join("to")).unwrap();
        assert!(!share_content(&File::open(dir.path().join("from")).unwrap(), &to).unwrap());
        assert_eq!(fs::read(shm.path().join("to")).unwrap(), b"to");
    }
}
