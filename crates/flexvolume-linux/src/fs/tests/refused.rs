//! Nothing foreign is ever formatted, and nothing is formatted twice.

use super::*;

/// Refused in this way by every type, with and without an open record, and not one byte changed.
fn untouched(disk: &Disk, what: &str) {
    let before = disk.print();
    for fs_type in FsType::ALL {
        for open in [false, true] {
            disk.intents.clear().unwrap();
            if open {
                disk.record(fs_type, Phase::Proven);
            }
            let error = make_ready(&disk.wanted(fs_type)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{what}: {}", error.story());
            assert!(error.hint().is_some());
        }
    }
    assert!(disk.print() == before, "{what} was written to");
}

#[test]
fn foreign_data() {
    private_mounts(|dir| {
        let table = |kind: u8| {
            let mut sector = vec![0; 512];
            sector[446 + 4] = kind;
            sector[446 + 8] = 8;
            sector[446 + 13] = 1;
            sector[510..].copy_from_slice(&[0x55, 0xaa]);
            sector
        };
        let mut lvm = vec![0; 512];
        lvm[..8].copy_from_slice(b"LABELONE");
        lvm[24..32].copy_from_slice(b"LVM2 001");
        let cases: [(&str, u64, Vec<u8>); 6] = [
            ("a partition table", 0, table(0x83)),
            ("LUKS", 0, b"LUKS\xba\xbe\0\x02".to_vec()),
            ("LVM", 512, lvm),
            ("the copy of a GPT", (64 << 20) - 512, b"EFI PART".to_vec()),
            ("a RAID member", 4096, b"\xfc\x4e\x2b\xa9\x01\0\0\0".to_vec()),
            ("vfat", 82, b"FAT32   ".to_vec()),
        ];
        for (what, at, bytes) in cases {
            let disk = Disk::new(dir, 64);
            disk.put(at, &bytes);
            untouched(&disk, what);
        }
        let disk = Disk::new(dir, 64);
        run("mkswap", &[disk.dev.to_str().unwrap()]);
        untouched(&disk, "swap");
        let disk = Disk::new(dir, 64);
        disk.mkfs(FsType::Ext4, &disk.other);
        disk.put(0, b"XFSB");
        untouched(&disk, "two signatures");
    });
}

#[test]
fn unknown_bytes_are_data_unless_a_format_of_ours_is_open() {
    private_mounts(|dir| {
        for at in [0, 300_000, (1 << 20) - 1, (64 << 20) - (1 << 20), (64 << 20) - 5] {
            let disk = Disk::new(dir, 64);
            disk.put(at, b"x");
            let before = disk.print();
            assert_eq!(content(&disk.dev).unwrap(), Content::Unsigned { at });
            let error = make_ready(&disk.wanted(FsType::Ext4)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains("unknown data"), "{error}");
            assert!(disk.print() == before && disk.phase().is_none());
        }
        // What the glance reads counts even for storage that we made.
        let disk = Disk::new(dir, 64);
        disk.put((64 << 20) - 5, b"x");
        let wanted = Wanted { made_by_us: true, ..disk.wanted(FsType::Ext4) };
        assert_eq!(make_ready(&wanted).unwrap_err().kind(), ErrorKind::Refused);
    });
}

#[test]
fn another_type_or_another_uuid() {
    private_mounts(|dir| {
        let disk = Disk::new(dir, 320);
        disk.mkfs(FsType::Xfs, &disk.other);
        let error = make_ready(&disk.wanted(FsType::Ext4)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("xfs") && error.to_string().contains("ext4"), "{error}");
        for phase in [Phase::Proven, Phase::Formatted] {
            disk.record(FsType::Xfs, phase);
            let error = make_ready(&disk.wanted(FsType::Xfs)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(&disk.other), "{error}");
        }
        let elsewhere = Wanted { identity: "another disk", ..disk.wanted(FsType::Xfs) };
        assert_eq!(make_ready(&elsewhere).unwrap_err().kind(), ErrorKind::Refused);
        disk.intents.clear().unwrap();
        assert_eq!(make_ready(&disk.wanted(FsType::Xfs)).unwrap(), Made::Already);
    });
}

#[test]
fn a_lost_volume_is_not_replaced_by_an_empty_one() {
    private_mounts(|dir| {
        let disk = Disk::new(dir, 64);
        make_ready(&disk.wanted(FsType::Ext4)).unwrap();
        disk.put(0, &vec![0; 1 << 20]);
        let blank = Disk::new(dir, 64);
        for device in [&disk.dev, &blank.dev] {
            for made_by_us in [false, true] {
                let wanted = Wanted { device, made_by_us, ..disk.wanted(FsType::Ext4) };
                assert_eq!(make_ready(&wanted).unwrap_err().kind(), ErrorKind::Corrupted);
            }
        }
        assert_eq!(content(&blank.dev).unwrap(), Content::Empty);
        std::fs::write(disk.intents.path(), "{").unwrap();
        let wanted = Wanted { device: &blank.dev, ..disk.wanted(FsType::Ext4) };
        assert_eq!(make_ready(&wanted).unwrap_err().kind(), ErrorKind::Corrupted, "a broken record allows nothing");
        assert_eq!(content(&blank.dev).unwrap(), Content::Empty);
    });
}

#[test]
fn read_only_never_formats() {
    private_mounts(|dir| {
        let disk = Disk::new(dir, 64);
        let wanted = Wanted { read_only: true, ..disk.wanted(FsType::Ext4) };
        assert_eq!(make_ready(&wanted).unwrap_err().kind(), ErrorKind::Refused);
        let ro = [("ro".to_owned(), None)];
        let wanted = Wanted { mount_options: &ro, ..disk.wanted(FsType::Ext4) };
        assert_eq!(format_and_mount(&wanted, dir).unwrap_err().kind(), ErrorKind::Refused);
        disk.record(FsType::Ext4, Phase::Proven);
        assert_eq!(format_and_mount(&wanted, dir).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(content(&disk.dev).unwrap(), Content::Empty);
    });
}

#[test]
fn a_second_writer_is_told_busy() {
    private_mounts(|dir| {
        let disk = Disk::new(dir, 64);
        let other = File::open(&disk.dev).unwrap();
        rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let error = make_ready(&disk.wanted(FsType::Ext4)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.story());
        drop(other);
        // Somebody who takes the device for himself without asking for the lock.
        let claim = device::Device::open(&disk.dev).unwrap().claim().unwrap();
        assert!(claim.is_some());
        assert_eq!(make_ready(&disk.wanted(FsType::Ext4)).unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!((content(&disk.dev).unwrap(), disk.phase()), (Content::Empty, None));
        drop(claim);
        assert_eq!(make_ready(&disk.wanted(FsType::Ext4)).unwrap(), Made::Formatted);
    });
}

#[test]
fn a_child_keeps_the_lock_when_we_are_gone() {
    private_mounts(|dir| {
        let disk = Disk::new(dir, 64);
        let held = device::Device::lock(&disk.dev).unwrap();
        let mut child = held
            .lending(|| {
                let mut command = Command::new("sleep");
                Ok(command.arg("600").spawn().unwrap())
            })
            .unwrap();
        drop(held);
        assert_eq!(make_ready(&disk.wanted(FsType::Ext4)).unwrap_err().kind(), ErrorKind::Busy);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(make_ready(&disk.wanted(FsType::Ext4)).unwrap(), Made::Formatted);
    });
}

#[test]
fn no_block_device() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(content(file.path()).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(content(Path::new("/dev/null")).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(content(Path::new("/dev/nowhere")).unwrap_err().kind(), ErrorKind::NotFound);
}
