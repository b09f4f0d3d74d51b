//! Growing while it is mounted: the image, the device, the file system, with the data staying where it is.

use std::{fs, path::Path};

use flexvolume_linux::fs::usage;
use flexvolume_testkit::skip;

use crate::bed::{Bed, read, text, write};

const OLD: u64 = 320 << 20;
const NEW: u64 = 480 << 20;

fn sizes() -> (String, String) {
    (NEW.to_string(), OLD.to_string())
}

fn total(path: &Path) -> u64 {
    usage(path).unwrap().total
}

/// In both lives, each call twice.
fn grows(fs_type: &str) {
    let Some(bed) = Bed::new() else { return };
    let j = bed.j("v").of(fs_type).with("size", "320m");
    let (new, old) = sizes();
    let place = bed.place("cold");
    bed.mount(&place, &j).ok();
    write(&place.join("file"), fs_type);
    let before = total(&place);
    let first = bed.call(&["expandfs", &j.text(), "", text(&place), &new, &old]);
    if first.message().contains("CAP_SYS_RESOURCE") {
        return skip("growing a mounted ext4 needs CAP_SYS_RESOURCE, which not every root has");
    }
    bed.twice(&["expandfs", &j.text(), "", text(&place), &new, &old]);
    let after = total(&place);
    assert!(after > before + (100 << 20) && after <= NEW, "{fs_type}: {before} {after}");
    assert_eq!(fs::metadata(bed.image("v")).unwrap().len(), NEW);
    assert_eq!(read(&place.join("file")), fs_type);
    bed.unmount(&place).ok();

    let bigger = (NEW + (160 << 20)).to_string();
    let device = bed.attach(&j);
    let gdir = bed.sandbox.dir("pods/global").unwrap();
    bed.call(&["mountdevice", text(&gdir), &device, &j.text()]).ok();
    assert_eq!(total(&gdir), after);
    let said = bed.twice(&["expandvolume", &j.text(), text(&gdir), &bigger, &new]);
    assert_eq!(said.get("bytes").to_string().trim_matches('"'), bigger);
    assert_eq!(total(&gdir), after, "the file system has a call of its own");
    bed.twice(&["expandfs", &j.text(), &device, text(&gdir), &bigger, &new]);
    assert!(total(&gdir) > after + (100 << 20), "{fs_type}");
    assert_eq!(read(&gdir.join("file")), fs_type);
    bed.call(&["unmountdevice", text(&gdir)]).ok();
    bed.call(&["detach", j.name(), "node"]).ok();
    bed.assert_down(fs_type);
}

#[test]
fn ext4_grows_under_its_pods() {
    grows("ext4");
}

#[test]
fn xfs_grows_under_its_pods() {
    grows("xfs");
}

#[test]
fn btrfs_grows_under_its_pods() {
    grows("btrfs");
}

#[test]
fn it_grows_unattached_and_never_shrinks() {
    let Some(bed) = Bed::new() else { return };
    let j = bed.j("v").of("xfs");
    let place = bed.place("pod");
    bed.call(&["expandvolume", &j.text(), text(&place), "1", "0"]).fails("permission", &["not made by this driver"]);
    bed.mount(&place, &j).ok();
    write(&place.join("file"), "data");
    bed.unmount(&place).ok();
    let (new, old) = ((400 << 20).to_string(), (300 << 20).to_string());
    bed.twice(&["expandvolume", &j.text(), text(&place), &new, &old]);
    let said = bed.call(&["expandvolume", &j.text(), text(&place), "1", &new]).ok();
    assert_eq!(said.get("bytes").to_string().trim_matches('"'), new);
    // Larger than it is asked for now: it stays as it is, and is grown once mounted.
    bed.mount(&place, &j).ok();
    bed.call(&["expandfs", &j.text(), "", text(&place), &new, &old]).ok();
    assert!(total(&place) > (320 << 20));
    assert_eq!(read(&place.join("file")), "data");
    bed.unmount(&place).ok();
    bed.call(&["expandfs", &j.text(), "", text(&place), &new, &old]).fails("invalid", &["nothing is mounted"]);
    bed.assert_down("after all");
}
