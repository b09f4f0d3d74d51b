//! A format that was cut off is recognised by its record and done again; without a record it is foreign.

use super::*;

/// Redone with an open record, refused without one, called lost if the record says it was finished.
fn judged(disk: &Disk, fs_type: FsType, what: &str) {
    disk.intents.clear().unwrap();
    let before = disk.print();
    assert_eq!(make_ready(&disk.wanted(fs_type)).unwrap_err().kind(), ErrorKind::Refused, "{fs_type}, {what}");
    disk.record(fs_type, Phase::Formatted);
    assert_eq!(make_ready(&disk.wanted(fs_type)).unwrap_err().kind(), ErrorKind::Corrupted, "{fs_type}, {what}");
    assert!(disk.print() == before, "{fs_type}, {what}");
    disk.record(fs_type, Phase::Proven);
    let (ready, there) = disk.visit(fs_type, Some("new")).unwrap();
    assert_eq!((ready.made, there.as_str()), (Made::Redone, "new"), "{fs_type}, {what}");
    assert_eq!(disk.phase(), Some(Phase::Formatted));
    let (ready, there) = disk.visit(fs_type, None).unwrap();
    assert_eq!((ready.made, there.as_str()), (Made::Already, "new"), "{fs_type}, {what}");
}

#[test]
fn first_mebibyte_gone() {
    private_mounts(|dir| {
        for fs_type in FsType::ALL {
            let disk = Disk::new(dir, mib(fs_type));
            disk.mkfs(fs_type, &disk.ours);
            disk.put(0, &vec![0; 1 << 20]);
            disk.put(700, b"something that mkfs left");
            judged(&disk, fs_type, "first MiB gone");
        }
    });
}

#[test]
fn xfs_in_progress_and_btrfs_with_its_temporary_magic() {
    private_mounts(|dir| {
        for (fs_type, at, half) in [(FsType::Xfs, 126, b'\x01'), (FsType::Btrfs, 65536 + 64, b'!')] {
            let disk = Disk::new(dir, mib(fs_type));
            disk.mkfs(fs_type, &disk.ours);
            disk.put(at, &[half]);
            let unfinished =
                Content::Filesystem { fs_type: fs_type.to_string(), uuid: disk.ours.clone(), in_progress: true };
            assert_eq!(content(&disk.dev).unwrap(), unfinished);
            judged(&disk, fs_type, "in progress");
            let disk = Disk::new(dir, mib(fs_type));
            disk.mkfs(fs_type, &disk.other);
            disk.put(at, &[half]);
            disk.record(fs_type, Phase::Proven);
            assert_eq!(make_ready(&disk.wanted(fs_type)).unwrap_err().kind(), ErrorKind::Refused, "another's");
        }
    });
}

#[test]
fn whole_but_not_recorded_as_finished() {
    private_mounts(|dir| {
        for fs_type in FsType::ALL {
            let disk = Disk::new(dir, mib(fs_type));
            disk.mkfs(fs_type, &disk.ours);
            disk.record(fs_type, Phase::Proven);
            let ends = disk.print();
            assert_eq!(make_ready(&disk.wanted(fs_type)).unwrap(), Made::Already, "{fs_type}: clean, accepted");
            assert!(disk.print() == ends, "{fs_type}: looked at only");
            assert_eq!(disk.phase(), Some(Phase::Formatted));
            // Bad behind a whole superblock: once it may have been mounted, it is never formatted again.
            match fs_type {
                FsType::Ext3 | FsType::Ext4 => disk.put(8192, &vec![0xff; 2 << 20]),
                FsType::Xfs => disk.put(1024, &[0xff; 512]),
                FsType::Btrfs => disk.put(1 << 20, &vec![0xff; 100 << 20]),
            }
            assert_eq!(make_ready(&disk.wanted(fs_type)).unwrap(), Made::Already, "{fs_type}");
            disk.record(fs_type, Phase::Proven);
            assert_eq!(make_ready(&disk.wanted(fs_type)).unwrap(), Made::Redone, "{fs_type}: bad, never mounted");
            disk.visit(fs_type, Some("x")).unwrap();
        }
    });
}

#[test]
fn killed_at_many_points() {
    private_mounts(|dir| {
        for fs_type in [FsType::Ext4, FsType::Xfs, FsType::Btrfs] {
            let mut redone = 0;
            for step in 0..14 {
                let disk = Disk::new(dir, mib(fs_type));
                disk.record(fs_type, Phase::Proven);
                let mut child = disk.mkfs_command(fs_type, &disk.ours).spawn().unwrap();
                thread::sleep(Duration::from_micros(step * 900));
                child.kill().unwrap();
                child.wait().unwrap();
                let found = content(&disk.dev).unwrap();
                // Without its record the ruin is foreign, unless mkfs had not begun or had ended.
                let alone = Wanted { read_only: true, ..disk.wanted(fs_type) };
                let other = Intents::new(disk.image.with_extension("none"));
                let verdict = make_ready(&Wanted { intents: &other, ..alone });
                let whole = matches!(found, Content::Filesystem { in_progress: false, .. });
                assert_eq!(verdict.is_ok(), whole, "{fs_type} {step} {found:?}");
                let (ready, there) = disk.visit(fs_type, Some("new")).unwrap();
                assert_eq!(there, "new");
                redone += u32::from(ready.made == Made::Redone);
                assert!(whole || ready.made == Made::Redone, "{fs_type} {step} {found:?} {ready:?}");
            }
            assert!(redone > 0, "{fs_type}: no kill came in time");
        }
    });
}

#[test]
fn a_device_of_another_size_is_another_device() {
    private_mounts(|dir| {
        let disk = Disk::new(dir, 64);
        disk.record(FsType::Ext4, Phase::Proven);
        disk.put(5000, b"ruin");
        run("truncate", &["-s", "32M", disk.image.to_str().unwrap()]);
        run("losetup", &["-c", disk.dev.to_str().unwrap()]);
        assert_eq!(make_ready(&disk.wanted(FsType::Ext4)).unwrap_err().kind(), ErrorKind::Refused, "shrunk");
        disk.grow(96);
        disk.put((96 << 20) - 3, b"x");
        assert_eq!(make_ready(&disk.wanted(FsType::Ext4)).unwrap_err().kind(), ErrorKind::Refused, "grown, not blank");
        disk.put((96 << 20) - 3, b"\0");
        assert_eq!(make_ready(&disk.wanted(FsType::Ext4)).unwrap(), Made::Redone, "grown and blank there");
    });
}

#[test]
fn a_failing_mkfs_leaves_an_open_record_and_the_next_try_works() {
    private_mounts(|dir| {
        let disk = Disk::new(dir, 64);
        let error = make_ready(&disk.wanted(FsType::Xfs)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{}: too small for xfs", error.story());
        assert_eq!(disk.phase(), Some(Phase::Proven));
        assert_eq!(make_ready(&disk.wanted(FsType::Ext4)).unwrap(), Made::Redone, "with another type");
        assert_eq!(disk.intents.read().unwrap().unwrap().fs_type, FsType::Ext4);
    });
}
