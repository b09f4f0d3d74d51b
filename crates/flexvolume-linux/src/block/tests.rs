//! Devices erased and filled as the kernel does it, on loop devices.

use std::fs;

use super::*;
use crate::{
    loopdev,
    mount::{Flags, FsMount, mount, testing::private_mounts},
};

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(10);

/// A loop device full of `byte`; detached at the end.
struct Disk(PathBuf);

impl Disk {
    fn new(dir: &Path, name: &str, mib: u64, byte: u8) -> Self {
        let bytes = vec![byte; usize::try_from(mib * MIB).unwrap()];
        fs::write(dir.join(name), bytes).unwrap();
        let image = OpenOptions::new().read(true).write(true).open(dir.join(name)).unwrap();
        Self(loopdev::attach(image, &format!("block-{}-{name}", std::process::id()), false).unwrap())
    }

    fn content(&self) -> Vec<u8> {
        fs::read(&self.0).unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = loopdev::detach(&self.0, SOON);
    }
}

fn step(bytes: u64) -> NonZeroU64 {
    NonZeroU64::new(bytes).unwrap()
}

/// Which parts of some bytes are zero: the ends of each run.
fn zeroes(content: &[u8]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (at, _) in content.iter().enumerate().filter(|(_, byte)| **byte == 0) {
        let at = at as u64;
        match runs.last_mut() {
            Some((_, end)) if *end == at => *end += 1,
            Some(_) | None => runs.push((at, at + 1)),
        }
    }
    runs
}

#[test]
fn a_range_is_erased_and_nothing_beside_it() {
    private_mounts(|tmp| {
        for how in [Erase::Zero, Erase::Discard] {
            let disk = Disk::new(tmp, "range", 8, 7);
            assert_eq!(size(&disk.0).unwrap(), 8 * MIB);
            let alone = Alone::open(&disk.0).unwrap();
            let mut told = Vec::new();
            let (from, to) = (MIB, 5 * MIB + 4096);
            let done = alone.erase(how, from..to, step(3 * MIB / 2), &mut |at| {
                told.push(at);
                true
            });
            assert_eq!(done.unwrap(), to);
            assert_eq!(told, [5 * MIB / 2, 4 * MIB, to]);
            drop(alone);
            assert_eq!(zeroes(&disk.content()), [(from, to)]);
        }
    });
}

#[test]
fn what_was_ended_goes_on_where_it_was() {
    private_mounts(|tmp| {
        let disk = Disk::new(tmp, "slices", 8, 7);
        let mut at = 0;
        let mut calls = 0;
        while at < 8 * MIB {
            let alone = Alone::open(&disk.0).unwrap();
            let mut left = 2;
            at = alone
                .erase(Erase::Zero, at..alone.size(), step(MIB), &mut |_| {
                    left -= 1;
                    left > 0
                })
                .unwrap();
            calls += 1;
            assert_eq!(zeroes(&disk.content()), [(0, at)]);
        }
        assert_eq!((at, calls), (8 * MIB, 4));
        let alone = Alone::open(&disk.0).unwrap();
        assert_eq!(alone.erase(Erase::Zero, at..at, step(1), &mut |_| panic!("nothing is left")).unwrap(), at);
    });
}

#[test]
fn what_makes_no_sense_is_refused() {
    private_mounts(|tmp| {
        let disk = Disk::new(tmp, "sense", 2, 7);
        let alone = Alone::open(&disk.0).unwrap();
        #[expect(clippy::reversed_empty_ranges, reason = "it is to be refused")]
        for range in [0..3 * MIB, 1..MIB, 0..MIB + 1, MIB..0] {
            let error = alone.erase(Erase::Zero, range.clone(), step(MIB), &mut |_| true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{range:?}: {error}");
        }
        assert_eq!(zeroes(&disk.content()), []);
        let file = tmp.join("sense");
        assert_eq!(Alone::open(&file).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(size(&file).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(Alone::open(&tmp.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(size(&tmp.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn what_cannot_be_discarded_says_so() {
    private_mounts(|tmp| {
        // What lies in memory alone has nothing to punch holes into.
        fs::create_dir(tmp.join("ram")).unwrap();
        let ram = FsMount { fs_type: "ramfs", source: None, options: &[], flags: Flags::default() };
        mount(&ram, &tmp.join("ram")).unwrap();
        let disk = Disk::new(&tmp.join("ram"), "no-discard", 2, 7);
        let alone = Alone::open(&disk.0).unwrap();
        let error = alone.erase(Erase::Discard, 0..MIB, step(MIB), &mut |_| true).unwrap_err();
        assert_eq!(
            (error.kind(), error.hint()),
            (ErrorKind::Unsupported, Some("zero it instead")),
            "{}",
            error.story()
        );
        assert_eq!(zeroes(&disk.content()), []);
    });
}

#[test]
fn what_is_in_use_is_not_touched() {
    private_mounts(|tmp| {
        let disk = Disk::new(tmp, "used", 16, 0);
        let made = std::process::Command::new("mkfs.ext4").arg("-qF").arg(&disk.0).status().unwrap();
        assert!(made.success());
        let before = disk.content();
        fs::create_dir(tmp.join("m")).unwrap();
        let source = disk.0.to_str();
        let options = [("norecovery".to_owned(), None)];
        let flags = Flags { read_only: true, ..Flags::default() };
        mount(&FsMount { fs_type: "ext4", source, options: &options, flags }, &tmp.join("m")).unwrap();
        assert!(!is_free(&disk.0).unwrap());
        let error = Alone::open(&disk.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.hint().unwrap().contains("fuser"), "{error}");
        crate::mount::unmount(&tmp.join("m"), crate::mount::Unmount::Plain).unwrap();

        let alone = Alone::open(&disk.0).unwrap();
        assert!(!is_free(&disk.0).unwrap());
        assert_eq!(Alone::open(&disk.0).unwrap_err().kind(), ErrorKind::Busy);
        drop(alone);
        assert!(is_free(&disk.0).unwrap());
        assert_eq!(disk.content(), before);
    });
}

#[test]
fn a_device_is_filled_from_another_in_slices() {
    private_mounts(|tmp| {
        let (source, target) = (Disk::new(tmp, "source", 7, 0), Disk::new(tmp, "target", 9, 7));
        let bytes: Vec<u8> = (0..7 * MIB).map(|n| u8::try_from((n >> 9) % 251).unwrap()).collect();
        let filled = File::options().write(true).open(&source.0).unwrap();
        filled.write_all_at(&bytes, 0).unwrap();
        filled.sync_all().unwrap();

        let alone = Alone::open(&target.0).unwrap();
        let first = alone.copy_from(&source.0, 0, step(3 * MIB), &mut |_| false).unwrap();
        assert_eq!(first, 3 * MIB);
        let mut told = Vec::new();
        let second = alone.copy_from(&source.0, first, step(3 * MIB), &mut |at| {
            told.push(at);
            true
        });
        assert_eq!((second.unwrap(), told), (7 * MIB, vec![6 * MIB, 7 * MIB]));
        drop(alone);
        let content = target.content();
        assert!(content[..bytes.len()] == bytes && content[bytes.len()..].iter().all(|byte| *byte == 7));

        let small = Alone::open(&source.0).unwrap();
        let error = small.copy_from(&target.0, 0, step(MIB), &mut |_| true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        drop(small);
        assert!(source.content() == bytes);
    });
}
