//! The staged life: attach, wait, mount once per node, bind per pod, and all of it back.

use std::{
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::bed::{Bed, read, run, text, try_write, write};

fn staging(bed: &Bed) -> PathBuf {
    bed.sandbox.dir("pods/global/data").unwrap()
}

/// Every verb twice, for one file system: the device, the mount, a pod's bind, the data after a whole round.
fn rounds(fs_type: &str) {
    let Some(bed) = Bed::new() else { return };
    let j = bed.j("v").of(fs_type);
    let (gdir, pod) = (staging(&bed), bed.place("pod"));
    for round in 0..2 {
        let isattached = ["isattached", &j.text(), "node"];
        assert_eq!(bed.twice(&isattached).get("attached"), false);
        let device = bed.twice(&["attach", &j.text(), "node"]).word("device");
        assert!(device.starts_with("/dev/loop"), "{device}");
        assert_eq!(bed.twice(&isattached).get("attached"), true);
        for given in ["", "/dev/loop999", &device] {
            assert_eq!(bed.twice(&["waitforattach", given, &j.text()]).word("device"), device);
        }
        bed.twice(&["mountdevice", text(&gdir), &device, &j.text()]);
        run("mount", &["--bind", text(&gdir), text(&pod)]);
        if round == 0 {
            write(&pod.join("file"), fs_type);
        }
        assert_eq!(read(&gdir.join("file")), fs_type);
        bed.assert_up(2, fs_type);
        bed.call(&["detach", j.name(), "node"]).fails("busy", &[&device]);
        run("umount", &[text(&pod)]);
        bed.twice(&["unmountdevice", text(&gdir)]);
        bed.twice(&["detach", j.name(), "node"]);
        bed.assert_down(fs_type);
    }
}

#[test]
fn ext4_goes_round_and_every_verb_may_come_twice() {
    rounds("ext4");
}

#[test]
fn xfs_goes_round_and_every_verb_may_come_twice() {
    rounds("xfs");
}

#[test]
fn btrfs_goes_round_and_every_verb_may_come_twice() {
    rounds("btrfs");
}

#[test]
fn a_file_in_use_keeps_the_mount() {
    let Some(bed) = Bed::new() else { return };
    let (j, gdir) = (bed.j("v"), staging(&bed));
    let device = bed.attach(&j);
    bed.call(&["mountdevice", text(&gdir), &device, &j.text()]).ok();
    write(&gdir.join("file"), "data");
    let mut reader =
        Command::new("tail").args(["-f", text(&gdir.join("file"))]).stdout(Stdio::piped()).spawn().unwrap();
    // It has the file open once it has said what is in it.
    reader.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
    bed.call(&["unmountdevice", text(&gdir)]).fails("busy", &[text(&gdir)]);
    bed.assert_up(1, "while a file is open");
    reader.kill().unwrap();
    reader.wait().unwrap();
    bed.call(&["unmountdevice", text(&gdir)]).ok();
    bed.call(&["detach", j.name(), "node"]).ok();
    bed.assert_down("after all");
}

#[test]
fn another_mount_at_the_place_is_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let (one, two, gdir) = (bed.j("one"), bed.j("two"), staging(&bed));
    let devices = [bed.attach(&one), bed.attach(&two)];
    bed.call(&["mountdevice", text(&gdir), &devices[0], &one.text()]).ok();
    bed.call(&["mountdevice", text(&gdir), &devices[1], &two.text()]).fails("conflict", &[text(&gdir)]);
    assert_eq!(bed.mounts(), 1);
    // A link is no place to mount at: it may lead anywhere.
    let link = bed.sandbox.path().join("pods/link");
    std::os::unix::fs::symlink("/etc", &link).unwrap();
    bed.call(&["mountdevice", text(&link), &devices[1], &two.text()]).fails("conflict", &[text(&link)]);
}

/// Names of devices mean nothing after a reboot: the image knows its own.
#[test]
fn a_stale_name_of_a_device_is_never_believed() {
    let Some(bed) = Bed::new() else { return };
    let (one, two) = (bed.j("one"), bed.j("two"));
    let (first, second) = (bed.attach(&one), bed.attach(&two));
    bed.sandbox.unmount_all().unwrap();
    let said = bed.call(&["waitforattach", &first, &one.text()]);
    said.fails("", &["not attached", "attach comes first"]);
    // Back in the other order, so that each has the other's old name, unless others took it meanwhile.
    let (now_two, now_one) = (bed.attach(&two), bed.attach(&one));
    assert_ne!(now_one, now_two);
    for (stale, j, now) in [(&first, &one, &now_one), (&second, &two, &now_two), (&first, &two, &now_two)] {
        assert_eq!(bed.call(&["waitforattach", stale, &j.text()]).ok().word("device"), *now);
        let gdir = staging(&bed);
        bed.call(&["mountdevice", text(&gdir), stale, &j.text()]).ok();
        assert_eq!(run("findmnt", &["-n", "-o", "SOURCE", text(&gdir)]), *now);
        bed.call(&["unmountdevice", text(&gdir)]).ok();
    }
    bed.call(&["detach", one.name(), "node"]).ok();
    assert_eq!(bed.loops().len(), 1, "the other's device is left alone");
    bed.call(&["detach", two.name(), "node"]).ok();
    bed.assert_down("after all");
}

#[test]
fn read_only_devices_are_read_only_and_never_formatted() {
    let Some(bed) = Bed::new() else { return };
    let (j, gdir) = (bed.j("v"), staging(&bed));
    let ro = j.clone().read_only();
    bed.call(&["attach", &ro.text(), "node"]).fails("notFound", &["reader"]);
    assert_eq!(bed.names(), Vec::<String>::new(), "nothing is made for a reader");
    bed.attach(&j);
    bed.call(&["detach", j.name(), "node"]).ok();
    // The image is there and empty.
    let device = bed.attach(&ro);
    bed.call(&["mountdevice", text(&gdir), &device, &ro.text()]).fails("", &["read-only"]);
    bed.call(&["attach", &j.text(), "node"]).fails("busy", &["read-only"]);
    bed.call(&["detach", j.name(), "node"]).ok();
    let device = bed.attach(&j);
    bed.call(&["mountdevice", text(&gdir), &device, &j.text()]).ok();
    write(&gdir.join("file"), "data");
    bed.call(&["unmountdevice", text(&gdir)]).ok();
    bed.call(&["detach", j.name(), "node"]).ok();
    let device = bed.attach(&ro);
    bed.twice(&["mountdevice", text(&gdir), &device, &ro.text()]);
    assert_eq!(read(&gdir.join("file")), "data");
    assert!(try_write(&gdir.join("file"), "").unwrap_err().contains("Read-only file system"));
    bed.call(&["unmountdevice", text(&gdir)]).ok();
    bed.call(&["detach", j.name(), "node"]).ok();
    bed.assert_down("after all");
}

#[test]
fn what_it_says_of_itself() {
    let Some(bed) = Bed::new() else { return };
    let said = bed.twice(&["init"]);
    assert_eq!(said.get("capabilities")["attach"], false, "strangers must not attach");
    let extensions: Vec<_> = said.get("extensions").as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let all = [
        "staged",
        "local",
        "stdin",
        "block",
        "provision",
        "expand",
        "snapshot",
        "clone",
        "capacity",
        "list",
        "health",
        "modify",
    ];
    assert_eq!(extensions, all);
    assert_eq!(bed.call(&["getvolumename", "{}"]).get("status"), "Not supported");
    assert_eq!(bed.names(), Vec::<String>::new());
}
