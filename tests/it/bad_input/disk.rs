//! Disks beneath the root that are full, read-only or damaged, and devices that hold what is not ours.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use super::*;

/// Mounts a small file system at the bed's root.
fn small_root(bed: &Bed, kind: &str) {
    let root = bed.sandbox.root();
    let root = root.to_str().unwrap();
    match kind {
        "tmpfs" => drop(tool("mount", &["-t", "tmpfs", "-o", "size=3m,mode=0755", "none", root])),
        _ => {
            let file = bed.sandbox.path().join("disk");
            image(&file, 8);
            tool("mke2fs", &["-q", "-F", "-t", "ext4", "-m", "0", file.to_str().unwrap()]);
            tool("mount", &["-o", "loop", file.to_str().unwrap(), root]);
        }
    }
}

/// Writes a file until no byte more fits.
fn fill(dir: &Path) -> PathBuf {
    let path = dir.join("fill");
    let mut file = File::create(&path).unwrap();
    for size in [65536, 4096, 512, 1] {
        let bytes = vec![0x5a; size];
        while file.write_all(&bytes).is_ok() {}
        let _ = file.sync_all();
    }
    path
}

/// The bed is not clean as others are: its root is a mount of the test's own.
fn assert_only_the_root_is_mounted(bed: &Bed) {
    let points: Vec<_> = bed.sandbox.mounts().unwrap().into_iter().map(|mount| mount.point).collect();
    assert_eq!(points, [bed.sandbox.root()]);
    assert_eq!(bed.json(["ls"]), json!([]));
}

#[test]
fn a_full_disk_lets_volumes_go_and_refuses_new_ones() {
    for kind in ["tmpfs", "ext4"] {
        let Some((bed, first)) = bed() else { return };
        small_root(&bed, kind);
        let second = bed.manifest("second.yaml", &pod("other", &[("data", VOLUME)]));
        bed.ok(["up", &first]);
        let path = bed.path_of("web", "data");
        let filled = fill(&bed.sandbox.root());

        assert_eq!(bed.json(["ls"])[0]["state"], "mounted", "{kind}");
        let ran = bed.run(["up", &second]);
        ran.fails(6, &["disk is full", "hint:"]);
        assert!(flexvolume_linux::mount::table::at(&path).unwrap().is_some(), "{kind}: a volume was lost");
        let ran = bed.run(["down", &first]);
        assert_eq!(ran.code, 0, "{kind}: {ran:?}");
        assert_only_the_root_is_mounted(&bed);
        // The room that an unmount may have used is not for new volumes.
        bed.run(["up", &second]).fails(6, &["disk is full"]);
        assert_only_the_root_is_mounted(&bed);

        fs::remove_file(filled).unwrap();
        bed.ok(["up", &second]);
        // Once there is room, room is held back again: the same once more.
        fill(&bed.sandbox.root());
        bed.run(["up", &first]).fails(6, &["disk is full"]);
        bed.ok(["down", &second]);
        assert_only_the_root_is_mounted(&bed);
    }
}

#[test]
fn a_read_only_root_still_lists_and_loses_nothing() {
    for kind in ["tmpfs", "ext4"] {
        let Some((bed, first)) = bed() else { return };
        small_root(&bed, kind);
        let second = bed.manifest("second.yaml", &pod("other", &[("data", VOLUME)]));
        bed.ok(["up", &first]);
        let path = bed.path_of("web", "data");
        let root = bed.sandbox.root();
        tool("mount", &["-o", "remount,ro", root.to_str().unwrap()]);

        assert_eq!(bed.json(["ls"])[0]["state"], "mounted");
        for args in [["up", &second], ["down", &first]] {
            bed.run(args).fails(6, &["read-only", "hint:"]);
        }
        assert!(flexvolume_linux::mount::table::at(&path).unwrap().is_some(), "a volume was lost");

        tool("mount", &["-o", "remount,rw", root.to_str().unwrap()]);
        bed.ok(["up", &second]);
        bed.ok(["down", "--all"]);
        assert_only_the_root_is_mounted(&bed);
    }
}

#[test]
fn a_root_that_was_never_writable_is_told_in_words() {
    let Some((bed, first)) = bed() else { return };
    small_root(&bed, "tmpfs");
    let root = bed.sandbox.root();
    tool("mount", &["-o", "remount,ro", root.to_str().unwrap()]);
    bed.run(["up", &first]).fails(6, &["read-only", "hint:"]);
    tool("mount", &["-o", "remount,rw", root.to_str().unwrap()]);
    bed.ok(["up", &first]);
    bed.ok(["down", &first]);
    assert_only_the_root_is_mounted(&bed);
}

/// What damages a ledger, and whether the damage reaches beyond one row.
type Damage = fn(&Path);

#[test]
fn a_ledger_that_is_no_database_is_set_aside_and_rebuilt() {
    let damages: [(&str, Damage); 4] = [
        ("garbage", |path| fs::write(path, "garbage ".repeat(5000)).unwrap()),
        ("cut off", |path| {
            let length = fs::metadata(path).unwrap().len();
            OpenOptions::new().write(true).open(path).unwrap().set_len(length / 2 - 100).unwrap();
        }),
        ("cut to nothing", |path| drop(File::create(path).unwrap())),
        ("gone", |path| fs::remove_file(path).unwrap()),
    ];
    for (name, damage) in damages {
        let Some((bed, file)) = bed() else { return };
        bed.ok(["up", &file]);
        let path = bed.path_of("web", "data");
        fs::write(path.join("kept"), "data").unwrap();
        let ledger = bed.sandbox.root().join("ledger.db");
        damage(&ledger);

        let ran = bed.run(["ls"]);
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        assert!(ran.stderr.contains("warning:"), "{name}: {ran:?}");
        let damaged = name == "garbage" || name == "cut off";
        assert_eq!(ledger.with_file_name("ledger.db.damaged-1").exists(), damaged, "{name}");
        assert_eq!(ran.stderr.contains("ledger.db.damaged-1"), damaged, "{name}: {ran:?}");
        assert_eq!(fs::read_to_string(path.join("kept")).unwrap(), "data", "{name}: a volume was lost");
        bed.run(["up", &file]).fails(4, &["pieced together", "flexvol down"]);
        bed.ok(["down", &file]);
        bed.assert_clean();
        the_next_try_works(&bed, &file);
    }
}

#[test]
fn a_flipped_byte_in_a_row_is_told_and_touches_no_other_volume() {
    let Some((bed, first)) = bed() else { return };
    let second = bed.manifest("second.yaml", &pod("other", &[("data", VOLUME)]));
    bed.ok(["up", &first]);
    bed.ok(["up", &second]);
    let path = bed.path_of("web", "data");
    let ledger = bed.sandbox.root().join("ledger.db");
    flip(&ledger, b"\"pod\":\"web\"", b"\"pod\":\"wec\"");

    bed.run(["ls"]).fails(6, &["checksum", "hint:"]);
    bed.run(["up", &first]).fails(6, &["checksum", "hint:"]);
    bed.run(["down", &first]).fails(6, &["checksum", "hint:"]);
    assert!(flexvolume_linux::mount::table::at(&path).unwrap().is_some(), "it was unmounted on a false record");
    // The other volume is not concerned, though each run tells of the damage.
    bed.ok(["up", &second]);
    bed.run(["down", &second]).fails(6, &["checksum"]);
    assert_eq!(bed.sandbox.mounts().unwrap().len(), 1);

    // As the hint says: without the file everything is recorded anew from what is mounted.
    fs::rename(&ledger, ledger.with_extension("old")).unwrap();
    bed.ok(["down", &first]);
    bed.assert_clean();
    the_next_try_works(&bed, &first);
}

fn flip(path: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_ledger_of_a_newer_flexvol_is_left_alone() {
    let Some((bed, file)) = bed() else { return };
    bed.ok(["up", &file]);
    let ledger = bed.sandbox.root().join("ledger.db");
    let sql = |text: &str| drop(tool("sqlite3", &[ledger.to_str().unwrap(), text]));
    if std::process::Command::new("sqlite3").arg("--version").output().is_err() {
        return flexvolume_testkit::skip("no sqlite3");
    }
    sql("PRAGMA user_version = 9; UPDATE about SET value = 9");
    bed.run(["down", &file]).fails(6, &["newer flexvol", "hint:"]);
    sql("PRAGMA user_version = 1; UPDATE about SET value = 1");
    bed.ok(["down", &file]);
    bed.assert_clean();
}

#[test]
fn a_device_with_foreign_data_is_never_formatted() {
    let contents: [(&str, Damage); 4] = [
        ("swap", |path| drop(tool("mkswap", &["-q", path.to_str().unwrap()]))),
        ("random bytes", |path| {
            let mut random = vec![0; 4096];
            File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
            OpenOptions::new().write(true).open(path).unwrap().write_all(&random).unwrap();
        }),
        ("one byte at the end", |path| {
            let mut file = OpenOptions::new().write(true).open(path).unwrap();
            file.seek(SeekFrom::End(-1)).unwrap();
            file.write_all(&[1]).unwrap();
        }),
        ("another file system", |path| drop(tool("mke2fs", &["-q", "-F", "-t", "ext2", path.to_str().unwrap()]))),
    ];
    for (name, damage) in contents {
        let Some(bed) = Bed::new() else { return };
        let disk = bed.sandbox.path().join("disk.img");
        image(&disk, 16);
        damage(&disk);
        let before = fs::read(&disk).unwrap();
        bed.script("v/disk", attachable(&disk));
        let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/disk, fsType: xfs}")]));
        let ran = bed.run(["up", &file]);
        assert_eq!(ran.code, 4, "{name}: {ran:?}");
        ran.fails(4, &["/dev/loop", "hint:"]);
        assert_eq!(bed.run(["up", &file]).code, 4, "{name}: the second try");
        bed.ok(["down", &file]);
        bed.assert_clean();
        assert!(fs::read(&disk).unwrap() == before, "{name}: foreign data was changed");
        // Once a person has decided that it is nothing, it is used.
        image(&disk, 16);
        the_next_try_works(&bed, &bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/disk}")])));
    }
}
