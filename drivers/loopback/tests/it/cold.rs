//! The cold life: a stranger's `mount PDIR J` and `unmount PDIR`.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command, thread, time::Duration};

use crate::bed::{Bed, read, run, text, try_write, write};

/// Two pods on one volume at once, for one file system.
fn two_pods(fs_type: &str) {
    let Some(bed) = Bed::new() else { return };
    let j = bed.j("v").of(fs_type);
    let (one, two) = (bed.place("one"), bed.place("two"));
    for _ in 0..2 {
        bed.mount(&one, &j).ok();
    }
    bed.assert_up(1, fs_type);
    write(&one.join("file"), fs_type);
    for _ in 0..2 {
        bed.mount(&two, &j.clone().with("kubernetes.io/pod.name", "two")).ok();
    }
    bed.assert_up(2, fs_type);
    assert_eq!(read(&two.join("file")), fs_type, "the second sees the first's data");
    for _ in 0..2 {
        bed.unmount(&one).ok();
    }
    bed.assert_up(1, "the first unmount leaves the second alone");
    write(&two.join("more"), fs_type);
    for _ in 0..2 {
        bed.unmount(&two).ok();
    }
    bed.assert_down("the last one detaches");
    bed.mount(&one, &j).ok();
    assert_eq!(read(&one.join("more")), fs_type);
    bed.unmount(&one).ok();
    bed.assert_down(fs_type);
}

#[test]
fn two_pods_share_an_ext4() {
    two_pods("ext4");
}

#[test]
fn two_pods_share_an_xfs() {
    two_pods("xfs");
}

#[test]
fn two_pods_share_a_btrfs() {
    two_pods("btrfs");
}

#[test]
fn setuid_bits_and_device_nodes_have_no_effect() {
    let Some(bed) = Bed::new() else { return };
    let place = bed.place("pod");
    bed.mount(&place, &bed.j("v")).ok();
    let options = run("findmnt", &["-n", "-o", "OPTIONS", text(&place)]);
    for word in ["nosuid", "nodev", "errors=remount-ro"] {
        assert!(options.contains(word), "{options}");
    }
    bed.unmount(&place).ok();
}

#[test]
fn a_reader_cannot_write_and_a_writer_beside_it_can() {
    let Some(bed) = Bed::new() else { return };
    let (j, reader, writer) = (bed.j("v"), bed.place("reader"), bed.place("writer"));
    let ro = j.clone().read_only();
    bed.mount(&reader, &ro).fails("notFound", &["reader"]);
    assert_eq!(bed.names(), Vec::<String>::new(), "no image is made for a reader");
    bed.assert_down("after a refusal");
    bed.attach(&j);
    bed.mount(&reader, &ro).fails("", &["read-only"]);
    bed.call(&["detach", j.name(), "node"]).ok();
    bed.assert_down("nothing is formatted for a reader");

    bed.mount(&writer, &j).ok();
    bed.mount(&reader, &ro).ok();
    write(&writer.join("file"), "data");
    assert_eq!(read(&reader.join("file")), "data");
    let denied = |place: &Path| try_write(&place.join("file"), "").unwrap_err().contains("Read-only file system");
    assert!(denied(&reader));
    bed.unmount(&writer).ok();
    bed.mount(&reader, &ro).ok();
    assert!(denied(&reader));
    bed.mount(&writer, &j).ok();
    write(&writer.join("file"), "again");
    bed.unmount(&reader).ok();
    bed.unmount(&writer).ok();
    bed.assert_down("after all");
}

#[test]
fn one_image_through_two_names_of_its_directory_is_one_device() {
    let Some(bed) = Bed::new() else { return };
    let link = bed.sandbox.path().join("link");
    symlink(bed.images(), &link).unwrap();
    let (straight, linked) = (bed.j("v"), bed.j("v").with("directory", text(&link)));
    let dotted = bed.j("v").with("directory", &format!("{}/../images/./", text(&bed.images())));
    let places = ["one", "two", "three"].map(|pod| bed.place(pod));
    for (place, j) in places.iter().zip([&straight, &linked, &dotted]) {
        bed.mount(place, j).ok();
    }
    bed.assert_up(3, "under three names");
    write(&places[0].join("file"), "data");
    assert_eq!(read(&places[2].join("file")), "data");
    // A host's own attach counts as a use of it too.
    assert_eq!(bed.attach(&linked), bed.loops()[0].device.to_str().unwrap());
    for place in &places {
        bed.unmount(place).ok();
    }
    bed.assert_up(0, "the host has it");
    bed.call(&["detach", linked.name(), "node"]).ok();
    bed.assert_down("after all");
}

#[test]
fn two_pods_at_the_same_moment_get_one_image_and_one_device() {
    let Some(bed) = Bed::new() else { return };
    let places: Vec<_> = (0..4).map(|n| bed.place(&format!("pod{n}"))).collect();
    for round in 0..3 {
        let j = bed.j(&format!("v{round}"));
        thread::scope(|scope| {
            for place in &places {
                scope.spawn(|| bed.mount(place, &j).ok());
            }
        });
        bed.assert_up(places.len(), "all at once");
        write(&places[0].join("file"), "data");
        for place in &places {
            assert_eq!(read(&place.join("file")), "data");
        }
        thread::scope(|scope| {
            for place in &places {
                scope.spawn(|| bed.unmount(place).ok());
            }
        });
        bed.assert_down("all at once");
    }
}

#[test]
fn unmount_needs_no_record() {
    let Some(bed) = Bed::new() else { return };
    let (one, two) = (bed.place("one"), bed.place("two"));
    bed.unmount(&one).ok();
    bed.unmount(&bed.sandbox.path().join("pods/never")).ok();
    for lost in ["run", "run/loopback/mounts"] {
        bed.mount(&one, &bed.j("v")).ok();
        bed.mount(&two, &bed.j("v")).ok();
        fs::remove_dir_all(bed.sandbox.path().join(lost)).unwrap();
        bed.unmount(&one).ok();
        bed.assert_up(1, lost);
        bed.unmount(&two).ok();
        bed.assert_down(lost);
    }
}

/// Somebody who parted from our mount namespace while it was mounted holds the device, unseen.
#[test]
fn a_device_held_by_an_unknown_goes_with_a_later_call() {
    let Some(bed) = Bed::new() else { return };
    let (j, one, two) = (bed.j("v"), bed.place("one"), bed.place("two"));
    bed.mount(&one, &j).ok();
    let mut holder =
        Command::new("unshare").args(["--mount", "--propagation", "private", "sleep", "600"]).spawn().unwrap();
    // Until it has parted, the unmount would be seen by it too.
    until(|| fs::read_link(format!("/proc/{}/exe", holder.id())).is_ok_and(|exe| exe.ends_with("sleep")));
    bed.unmount(&one).ok();
    bed.assert_up(0, "while it is held");
    bed.unmount(&two).ok();
    bed.assert_up(0, "while it is held");
    holder.kill().unwrap();
    holder.wait().unwrap();
    bed.unmount(&two).ok();
    bed.assert_down("after it has ended");
}

fn until(done: impl Fn() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came about");
}

#[test]
fn a_failed_mount_leaves_nothing() {
    let Some(bed) = Bed::new() else { return };
    let place = bed.place("pod");
    bed.mount(&place, &bed.j("v").with("kubernetes.io/fsType", "ntfs")).fails("unsupported", &["ntfs", "ext4"]);
    bed.assert_down("after an unknown type");
    bed.mount(&place, &bed.j("small").with("size", "1m").with("kubernetes.io/fsType", "xfs")).fails("", &["mkfs.xfs"]);
    bed.assert_down("after mkfs failed");
    bed.mount(&place, &bed.j("v")).ok();
    bed.mount(&place, &bed.j("v").with("kubernetes.io/fsType", "xfs")).ok();
    bed.unmount(&place).ok();
    bed.mount(&place, &bed.j("v").with("kubernetes.io/fsType", "xfs")).fails("", &["ext4", "xfs"]);
    bed.assert_down("after another type was asked for");
}
