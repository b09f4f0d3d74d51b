//! Snapshots and clones where blocks can be shared: at once, of what is in use, as it was at that moment.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    bed::{Bed, read, run, text, write},
    copies::{clone, delete, delete_snapshot, snapshot, uuid},
};

/// Volumes of each file system in a directory on `beneath`, snapshotted and cloned while they are mounted and written to.
fn of_mounted_volumes(beneath: &str) {
    let Some(bed) = Bed::on(beneath) else { return };
    for (fs_type, size) in [("ext4", "64m"), ("xfs", "300m"), ("btrfs", "128m")] {
        let (place, j) = (bed.place("pod"), bed.j("v").of(fs_type).with("size", size));
        bed.mount(&place, &j).ok();
        run(
            "dd",
            &["if=/dev/urandom", &format!("of={}", text(&place.join("ballast"))), "bs=1M", "count=4", "status=none"],
        );
        let sum = run("sha256sum", &[text(&place.join("ballast"))]);
        // Nobody has flushed it.
        write(&place.join("file"), "before");
        let mut writer = Command::new("sh")
            .args(["-c", "cd \"$1\" && while :; do n=$((n + 1)); echo $n >more.$((n % 50)); done", "sh", text(&place)])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        bed.ask(&snapshot("s", "v")).ok();
        write(&place.join("file"), "between");
        bed.ask(&clone("c", "v", "")).ok();
        writer.kill().unwrap();
        writer.wait().unwrap();
        write(&place.join("file"), "after");
        bed.ask(&clone("d", "s.snap", "")).ok();
        for (id, holds) in [("d", "before"), ("c", "between")] {
            // Beside its original.
            let (file, theirs) = bed.held(id, fs_type);
            assert_eq!(
                (file.as_str(), sum.split(' ').next()),
                (holds, Some(theirs.as_str())),
                "{fs_type} on {beneath}"
            );
            assert_ne!(uuid(&bed.image(id)), uuid(&bed.image("v")), "{fs_type}");
        }
        assert_eq!(read(&place.join("file")), "after");
        bed.unmount(&place).ok();
        bed.assert_down(fs_type);
        for call in [delete_snapshot("s.snap"), delete("v"), delete("c"), delete("d")] {
            bed.ask(&call).ok();
        }
        assert_eq!(bed.names(), Vec::<String>::new());
    }
}

#[test]
fn a_mounted_volume_on_xfs() {
    of_mounted_volumes("xfs");
}

#[test]
fn a_mounted_volume_on_btrfs() {
    of_mounted_volumes("btrfs");
}

/// However large the volume is.
#[test]
fn nothing_is_copied() {
    let Some(bed) = Bed::on("xfs") else { return };
    bed.volume("v", "ext4", "128m", 60);
    // Thirty would not fit.
    for n in 0..15 {
        bed.ask(&snapshot(&format!("s{n}"), "v")).ok();
        bed.ask(&clone(&format!("c{n}"), "v", "")).ok();
    }
    assert_eq!(bed.held("c7", "ext4"), bed.held("v", "ext4"));
}

/// On another file system it is copied, though its original is where blocks can be shared; so it must not be in use.
#[test]
fn across_file_systems_it_is_copied() {
    let Some(bed) = Bed::on("xfs") else { return };
    bed.volume("v", "ext4", "8m", 1);
    let other = bed.sandbox.dir("other").unwrap();
    let call = clone("c", "v", &format!(r#","directory":{other:?}"#));
    let place = bed.place("pod");
    bed.mount(&place, &bed.j("v")).ok();
    bed.ask(&call).fails("busy", &["cannot share blocks"]);
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    bed.unmount(&place).ok();
    bed.ask(&call).ok();
    assert!(fs::read(other.join("c.img")).unwrap() == fs::read(bed.image("v")).unwrap());
}
