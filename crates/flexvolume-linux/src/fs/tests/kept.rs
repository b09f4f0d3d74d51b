//! What was formatted is mounted, checked, grown, and its data stays.

use super::*;

#[test]
fn formatted_once_and_kept() {
    private_mounts(|dir| {
        for fs_type in FsType::ALL {
            for made_by_us in [false, true] {
                let disk = Disk::new(dir, mib(fs_type));
                let wanted = Wanted { made_by_us, ..disk.wanted(fs_type) };
                assert_eq!(make_ready(&wanted).unwrap(), Made::Formatted, "{fs_type}");
                let record = disk.intents.read().unwrap().unwrap();
                let holds =
                    Content::Filesystem { fs_type: fs_type.to_string(), uuid: record.uuid.clone(), in_progress: false };
                assert_eq!(content(&disk.dev).unwrap(), holds);
                assert_eq!((record.phase, record.size), (Phase::Formatted, disk.size()));
                let (ready, _) = disk.visit(fs_type, Some("mine")).unwrap();
                assert_eq!(ready, Ready { made: Made::Already, notes: vec![] }, "{fs_type}");
                assert_eq!(disk.visit(fs_type, None).unwrap().1, "mine");
                // A volume that somebody filled before us needs no record.
                disk.intents.clear().unwrap();
                assert_eq!(disk.visit(fs_type, None).unwrap().1, "mine");
            }
        }
    });
}

#[test]
fn mounted_with_care_and_mounted_twice() {
    private_mounts(|dir| {
        let disk = Disk::new(dir, 64);
        let (one, two) = (dir.join("one"), dir.join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        let options = [("noatime".to_owned(), None), ("commit".to_owned(), Some("7".to_owned()))];
        let wanted = Wanted { mount_options: &options, ..disk.wanted(FsType::Ext4) };
        assert_eq!(format_and_mount(&wanted, &one).unwrap().made, Made::Formatted);
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let line = mounts.lines().find(|line| line.contains(one.to_str().unwrap())).unwrap();
        for word in [" ext4 ", "nosuid", "nodev", "noatime", "errors=remount-ro", "commit=7"] {
            assert!(line.contains(word), "{word} in {line}");
        }
        fs::write(one.join("data"), "x").unwrap();
        assert_eq!(format_and_mount(&wanted, &two).unwrap().made, Made::Already);
        assert_eq!(fs::read_to_string(two.join("data")).unwrap(), "x");
        let panic = [("errors".to_owned(), Some("panic".to_owned()))];
        let wanted = Wanted { mount_options: &panic, ..wanted };
        assert_eq!(format_and_mount(&wanted, &two).unwrap_err().kind(), ErrorKind::Refused);
        leave(&one);
        leave(&two);
        let ro = Wanted { read_only: true, mount_options: &[], ..wanted };
        format_and_mount(&ro, &one).unwrap();
        assert_eq!(fs::write(one.join("data"), "y").unwrap_err().raw_os_error(), Some(30));
        leave(&one);
    });
}

#[test]
fn mkfs_options_arrive() {
    private_mounts(|dir| {
        let disk = Disk::new(dir, 64);
        let options = ["-L".to_owned(), "named".to_owned()];
        make_ready(&Wanted { mkfs_options: &options, ..disk.wanted(FsType::Ext4) }).unwrap();
        assert_eq!(disk.get(1024 + 0x78, 5), b"named");
        let bad = ["-d".to_owned(), "/etc".to_owned()];
        let wanted = Wanted { mkfs_options: &bad, ..disk.wanted(FsType::Ext4) };
        assert_eq!(make_ready(&wanted).unwrap_err().kind(), ErrorKind::Refused);
    });
}

#[test]
fn checked_before_a_writing_mount() {
    private_mounts(|dir| {
        let disk = Disk::new(dir, 64);
        let dev = disk.dev.to_str().unwrap();
        // A child that another test is starting has the context of our mount for a moment; the kernel writes the superblock when the
        // last of it goes, over what is put there before.
        let until_free = || {
            let is_free = || Command::new("e2fsck").args(["-p", dev]).stdout(Stdio::null()).status().unwrap().success();
            assert!(
                (0..500).any(|_| is_free() || {
                    thread::sleep(Duration::from_millis(10));
                    false
                }),
                "{dev} stays in use"
            );
        };
        disk.visit(FsType::Ext4, Some("mine")).unwrap();
        until_free();
        run("debugfs", &["-w", "-R", "set_super_value state 0", dev]);
        run("debugfs", &["-w", "-R", "set_super_value free_blocks_count 7", dev]);
        let (ready, there) = disk.visit(FsType::Ext4, None).unwrap();
        assert_eq!((ready.made, there.as_str()), (Made::Already, "mine"));
        assert_eq!(ready.notes.len(), 1, "it says that it mended something: {:?}", ready.notes);
        until_free();
        let refused = |finder: &str| {
            let error = disk.visit(FsType::Ext4, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupted, "{finder}: {}", error.story());
            assert!(error.hint().is_some_and(|hint| hint.contains("e2fsck -f")), "{finder}: {}", error.story());
        };
        let root = inode_of_root(dev);
        let whole = disk.get(root, 256);
        disk.put(root + 8, &[1; 4]);
        refused("the kernel, by a checksum");
        disk.put(root, &whole);
        until_free();
        run("debugfs", &["-w", "-R", "clri <2>", dev]);
        refused("the kernel");
        run("debugfs", &["-w", "-R", "set_super_value state 2", dev]);
        refused("the check");
    });
}

/// Where the inode of the uppermost directory lies, in bytes. A file system as small as ours has blocks of 1 KiB.
fn inode_of_root(dev: &str) -> u64 {
    let out = Command::new("debugfs").args(["-R", "imap <2>", dev]).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let (_, place) = said.split_once("located at block ").unwrap();
    let (block, offset) = place.trim().split_once(", offset 0x").unwrap();
    block.parse::<u64>().unwrap() * 1024 + u64::from_str_radix(offset, 16).unwrap()
}

#[test]
fn grown_while_mounted() {
    private_mounts(|dir| {
        for fs_type in FsType::ALL {
            let mib = mib(fs_type).max(256);
            let disk = Disk::new(dir, mib);
            let point = dir.join(fs_type.as_str());
            fs::create_dir(&point).unwrap();
            assert_eq!(make_ready(&disk.wanted(fs_type)).unwrap(), Made::Formatted);
            if fs_type != FsType::Btrfs {
                assert_eq!(grow_fs(&disk.dev, &point).unwrap_err().kind(), ErrorKind::Invalid, "not mounted");
            }
            format_and_mount(&disk.wanted(fs_type), &point).unwrap();
            fs::write(point.join("data"), "mine").unwrap();
            grow_fs(&disk.dev, &point).unwrap();
            let before = usage(&point).unwrap();
            disk.grow(mib * 2);
            match grow_fs(&disk.dev, &point) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Unsupported && !may_resize() => {
                    assert!(error.hint().is_some_and(|hint| hint.contains("CAP_SYS_RESOURCE")), "{}", error.story());
                    eprintln!("skipped: {fs_type}: {}", error.hint().unwrap_or_default());
                    leave(&point);
                    continue;
                }
                Err(error) => panic!("{fs_type}: {}", error.story()),
            }
            let after = usage(&point).unwrap();
            assert!(after.total > before.total * 3 / 2, "{fs_type}: {before:?} {after:?}");
            grow_fs(&disk.dev, &point).unwrap();
            assert_eq!(fs::read_to_string(point.join("data")).unwrap(), "mine");
            leave(&point);
            assert_eq!(disk.visit(fs_type, None).unwrap().1, "mine");
        }
        let blank = Disk::new(dir, 64);
        assert_eq!(grow_fs(&blank.dev, dir).unwrap_err().kind(), ErrorKind::Invalid);
    });
}

/// Whether this machine lets us grow a mounted ext4.
fn may_resize() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() & (1 << 24) != 0
}

#[test]
fn grown_while_unmounted() {
    private_mounts(|dir| {
        for fs_type in [FsType::Ext3, FsType::Ext4] {
            let disk = Disk::new(dir, 64);
            disk.visit(fs_type, Some("mine")).unwrap();
            disk.grow(128);
            let point = dir.join(fs_type.as_str());
            fs::create_dir(&point).unwrap();
            format_and_mount(&disk.wanted(fs_type), &point).unwrap();
            let before = usage(&point).unwrap();
            assert_eq!(grow_unmounted(&disk.dev).unwrap_err().kind(), ErrorKind::Busy);
            leave(&point);
            grow_unmounted(&disk.dev).unwrap();
            format_and_mount(&disk.wanted(fs_type), &point).unwrap();
            assert!(usage(&point).unwrap().total > before.total * 3 / 2);
            assert_eq!(fs::read_to_string(point.join("data")).unwrap(), "mine");
            leave(&point);
        }
        let disk = Disk::new(dir, mib(FsType::Xfs));
        make_ready(&disk.wanted(FsType::Xfs)).unwrap();
        assert_eq!(grow_unmounted(&disk.dev).unwrap_err().kind(), ErrorKind::Unsupported);
    });
}
