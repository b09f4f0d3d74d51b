//! What is lost is said to be lost: never replaced by something empty, and never in the way of taking down.

use std::fs;

use crate::bed::{Bed, read, text, write};

#[test]
fn an_image_deleted_while_it_is_down_is_a_loss() {
    let Some(bed) = Bed::new() else { return };
    let (j, place) = (bed.j("v"), bed.place("pod"));
    bed.mount(&place, &j).ok();
    bed.unmount(&place).ok();
    fs::remove_file(bed.image("v")).unwrap();
    for _ in 0..2 {
        bed.mount(&place, &j).fails("notFound", &["gone", "backup", ".v.flexvol.json"]);
        bed.call(&["attach", &j.text(), "node"]).fails("notFound", &["gone"]);
        bed.call(&["detach", j.name(), "node"]).ok();
        bed.assert_down("nothing is made in its place");
    }
    assert!(!bed.image("v").exists());
    // What the message tells a person to do to begin anew.
    fs::remove_file(bed.images().join(".v.flexvol.json")).unwrap();
    bed.mount(&place, &j).ok();
    bed.unmount(&place).ok();
}

#[test]
fn an_image_deleted_under_its_pods_is_a_loss_once_they_are_gone() {
    let Some(bed) = Bed::new() else { return };
    let (j, one, two) = (bed.j("v"), bed.place("one"), bed.place("two"));
    bed.mount(&one, &j).ok();
    write(&one.join("file"), "data");
    fs::remove_file(bed.image("v")).unwrap();
    bed.mount(&two, &j).fails("notFound", &["gone"]);
    assert_eq!(read(&one.join("file")), "data", "the pod that has it keeps it");
    bed.assert_up(1, "while it runs");
    bed.unmount(&one).ok();
    bed.assert_down("its device has gone");
    bed.mount(&one, &j).fails("notFound", &["gone"]);
    assert!(!bed.image("v").exists());
}

#[test]
fn in_the_staged_life_too_and_cut_off_before_the_device_was_noted() {
    let Some(bed) = Bed::new() else { return };
    let j = bed.j("v");
    bed.attach(&j);
    // As after a kill between attaching and recording.
    let record = bed.sandbox.path().join("run/loopback/attachments/host").join(j.name());
    let blank = fs::read_to_string(&record).unwrap().replace(bed.loops()[0].device.to_str().unwrap(), "");
    fs::write(&record, blank).unwrap();
    fs::remove_file(bed.image("v")).unwrap();
    assert_eq!(bed.call(&["isattached", &j.text(), "node"]).ok().get("attached"), true);
    bed.call(&["waitforattach", "", &j.text()]).fails("notFound", &["gone"]);
    bed.call(&["detach", j.name(), "node"]).ok();
    bed.assert_down("found by its name in the kernel's list");
}

#[test]
fn an_image_restored_under_its_pods_is_not_a_second_one() {
    let Some(bed) = Bed::new() else { return };
    let (j, one, two) = (bed.j("v"), bed.place("one"), bed.place("two"));
    bed.mount(&one, &j).ok();
    let backup = bed.sandbox.path().join("backup");
    fs::copy(bed.image("v"), &backup).unwrap();
    fs::remove_file(bed.image("v")).unwrap();
    fs::copy(&backup, bed.image("v")).unwrap();
    bed.mount(&two, &j).fails("busy", &["earlier file"]);
    bed.assert_up(1, "the first pod keeps what it has");
    bed.unmount(&one).ok();
    bed.mount(&two, &j).ok();
    bed.unmount(&two).ok();
    bed.assert_down("after all");
}

#[test]
fn an_emptied_image_is_not_formatted_again() {
    let Some(bed) = Bed::new() else { return };
    let (j, place) = (bed.j("v"), bed.place("pod"));
    bed.mount(&place, &j).ok();
    bed.unmount(&place).ok();
    let image = fs::File::options().write(true).open(bed.image("v")).unwrap();
    image.set_len(0).unwrap();
    image.set_len(8 << 20).unwrap();
    bed.mount(&place, &j).fails("", &["empty", "restore"]);
    bed.assert_down("after a refusal");
}

#[test]
fn an_image_that_was_found_and_used_is_missed_too() {
    let Some(bed) = Bed::new() else { return };
    let (j, place) = (bed.j("v"), bed.place("pod"));
    fs::File::create(bed.image("v")).unwrap().set_len(8 << 20).unwrap();
    bed.mount(&place, &j).ok();
    bed.unmount(&place).ok();
    fs::remove_file(bed.image("v")).unwrap();
    bed.mount(&place, &j).fails("notFound", &["gone"]);
    assert!(!bed.image("v").exists());
}

/// A directory that is absent is perhaps a disk that is not mounted.
#[test]
fn a_directory_is_never_made() {
    let Some(bed) = Bed::new() else { return };
    let away = bed.sandbox.path().join("away");
    let j = bed.j("v").with("directory", text(&away));
    bed.mount(&bed.place("pod"), &j).fails("", &[text(&away), "mkdir"]);
    assert!(!away.exists());
    bed.set(&format!(r#"{{"directory":{away:?}}}"#));
    bed.mount(&bed.place("pod"), &bed.j("v")).fails("", &[text(&away), "mkdir"]);
}

#[test]
fn a_damaged_mark_is_an_error_and_not_an_absence() {
    let Some(bed) = Bed::new() else { return };
    let (j, place) = (bed.j("v"), bed.place("pod"));
    bed.mount(&place, &j).ok();
    bed.unmount(&place).ok();
    fs::write(bed.images().join(".v.flexvol.json"), "{").unwrap();
    bed.mount(&place, &j).fails("", &[".v.flexvol.json", "cannot be read"]);
    bed.call(&["deletevolume", r#"{"flexvol/id":"v"}"#]).fails("", &["cannot be read"]);
    assert!(bed.image("v").exists());
}
