//! The device: what of `attach` and `waitforattach` reaches `mountdevice`, and what the host does for a driver without it.

use std::{
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

use super::whole;
use crate::{
    bed::pod,
    one::{MOUNT, One, is_mounted},
    scripts::tool,
};

fn device(name: &str) -> Answer {
    Answer::json(&json!({"status": "Success", "device": name}))
}

#[test]
fn h_62_without_mountdevice_and_without_a_device_nothing_is_mounted_for_the_node() {
    let script = Script::sh()
        .on("init", Answer::success())
        .on("attach", Answer::success())
        .on("mount", Answer::success().run(MOUNT));
    let Some(one) = One::new(script) else { return };
    one.comes("no device");
    assert!(one.is_mounted() && !is_mounted(&one.global()));
    assert_eq!(one.calls("waitforattach")[0].argv[1], "", "an empty device is a real argument");
    one.goes("no device");
}

#[test]
fn h_62_without_mountdevice_a_blank_device_is_formatted_once_and_mounted() {
    let Some(one) = One::disk(|script| script) else { return };
    one.comes("blank");
    let mounted = flexvolume_linux::mount::table::at(&one.global()).unwrap().unwrap();
    assert_eq!(mounted.fs_type, "ext4");
    fs::write(one.path().join("file"), "kept").unwrap();
    one.goes("formatted");
    one.comes("again");
    assert_eq!(fs::read_to_string(one.path().join("file")).unwrap(), "kept");
    one.goes("again");
}

#[test]
fn h_62_a_blank_device_that_is_only_read_is_an_error_and_stays_blank() {
    let Some(one) = One::disk(|script| script) else { return };
    one.wants(&pod("web", &[("data", "{driver: v/d, readOnly: true}")]));
    let ran = one.up();
    assert!(ran.code > 0, "{ran:?}");
    ran.fails(ran.code, &["read-only", "hint:"]);
    one.goes("blank");
    assert!(fs::read(one.bed.sandbox.path().join("image")).unwrap().iter().all(|byte| *byte == 0));
}

/// An old partition table: one partition of Linux, and its mark.
fn partition(disk: &Path) {
    let mut file = OpenOptions::new().write(true).open(disk).unwrap();
    file.seek(SeekFrom::Start(446)).unwrap();
    file.write_all(&[0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x10, 0, 0]).unwrap();
    file.seek(SeekFrom::Start(510)).unwrap();
    file.write_all(&[0x55, 0xaa]).unwrap();
}

#[test]
fn h_62_a_partitioned_device_is_never_formatted() {
    let Some(one) = One::disk(|script| script) else { return };
    let disk = one.bed.sandbox.path().join("image");
    partition(&disk);
    assert!(tool("blkid", &["-p", "-o", "export", disk.to_str().unwrap()]).contains("PTTYPE=dos"));
    let before = fs::read(&disk).unwrap();
    for _ in 0..2 {
        one.up().fails(4, &["/dev/loop", "hint:"]);
    }
    one.goes("partitioned");
    assert!(fs::read(&disk).unwrap() == before, "a byte of it was changed");
}

#[test]
fn h_65_what_waitforattach_answers_is_the_device_from_then_on() {
    let Some(one) = One::new(whole().on("waitforattach", device("/dev/nbd9"))) else { return };
    one.works("another device");
    assert_eq!(one.calls("waitforattach")[0].argv[1], "nbd7");
    assert_eq!(one.calls("mountdevice")[0].argv[2], "/dev/nbd9");
}

#[test]
fn h_65_a_waitforattach_that_answers_no_device_leaves_what_attach_answered() {
    for answer in [Answer::success(), device(""), Answer::not_supported()] {
        let Some(one) = One::new(whole().on("waitforattach", answer)) else { return };
        one.works("the device is kept");
        assert_eq!(one.calls("mountdevice")[0].argv[2], "nbd7");
    }
    // Else the host's own disk would be given out in place of the volume.
    let Some(one) = One::disk(|script| script.on("waitforattach", Answer::success())) else { return };
    one.comes("a real disk");
    assert_eq!(flexvolume_linux::mount::table::at(&one.path()).unwrap().unwrap().fs_type, "ext4");
    assert!(one.calls("mountdevice")[0].argv[2].starts_with("/dev/loop"));
    one.goes("a real disk");
}
