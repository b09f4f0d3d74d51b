//! What must not be reached, used twice or overrun.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Command,
};

use crate::bed::{Bed, J, read, run, text, write};

/// A call of every verb that has options, none of which may reach anything.
fn all_refuse(bed: &Bed, j: &J, code: &str, words: &[&str]) {
    let (j, place) = (j.text(), bed.place("pod"));
    let place = text(&place);
    for args in [
        &["mount", place, &j] as &[&str],
        &["attach", &j, "node"],
        &["waitforattach", "", &j],
        &["mountdevice", place, "/dev/loop0", &j],
        &["expandvolume", &j, place, "99999999", "0"],
    ] {
        bed.call(args).fails(code, words);
    }
    bed.assert_down("after refusals");
}

#[test]
fn no_name_leads_out_of_the_directory() {
    let Some(bed) = Bed::new() else { return };
    for id in
        ["../v", "..", ".", "", "a/b", "/etc/shadow", "v\u{0}", "a b", ".hidden", "-v", "a\nb", "../../etc/shadow"]
    {
        all_refuse(&bed, &bed.j("v").with("volumeID", id), "invalid", &[]);
    }
    all_refuse(&bed, &bed.j("v").without("volumeID"), "invalid", &["volumeID"]);
    let long = "x".repeat(300);
    all_refuse(&bed, &bed.j("v").with("volumeID", &long), "invalid", &[]);
    for directory in ["images", "../images", ""] {
        all_refuse(&bed, &bed.j("v").with("directory", directory), "invalid", &["absolute"]);
    }
    assert_eq!(bed.names(), Vec::<String>::new());
}

#[test]
fn an_image_is_a_regular_file_and_no_link() {
    let Some(bed) = Bed::new() else { return };
    let secret = bed.sandbox.path().join("shadow");
    fs::write(&secret, vec![b'x'; 8 << 20]).unwrap();
    symlink(&secret, bed.image("v")).unwrap();
    bed.mount(&bed.place("pod"), &bed.j("v")).fails("", &["v.img", "symbolic link"]);
    fs::remove_file(bed.image("v")).unwrap();
    fs::create_dir(bed.image("v")).unwrap();
    bed.mount(&bed.place("pod"), &bed.j("v")).fails("", &["v.img"]);
    fs::remove_dir(bed.image("v")).unwrap();
    run("mkfifo", &[text(&bed.image("v"))]);
    bed.mount(&bed.place("pod"), &bed.j("v")).fails("invalid", &["not a regular file"]);
    assert_eq!(fs::read(&secret).unwrap(), vec![b'x'; 8 << 20]);
    bed.assert_down("after refusals");
}

#[test]
fn a_foreign_file_is_used_only_where_the_settings_vouch_for_it() {
    let Some(bed) = Bed::new() else { return };
    let other = bed.sandbox.dir("other").unwrap();
    let (j, place) = (bed.j("v").with("directory", text(&other)), bed.place("pod"));
    let image = other.join("v.img");
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    bed.mount(&place, &j).fails("permission", &["not made by this driver", "directories"]);
    // One that the driver makes there itself is another matter, as long as no list forbids it.
    let own = j.clone().with("volumeID", "own");
    bed.mount(&place, &own).ok();
    bed.unmount(&place).ok();
    bed.set(&format!(r#"{{"directory":{:?},"directories":[]}}"#, bed.images()));
    bed.mount(&place, &own).fails("permission", &["not among the directories", "settings.json"]);
    bed.mount(&place, &j).fails("permission", &["not among the directories"]);
    assert_eq!(fs::metadata(&image).unwrap().len(), 8 << 20);
    bed.set(&format!(r#"{{"directories":["/nowhere",{other:?}]}}"#));
    bed.mount(&place, &j).ok();
    bed.unmount(&place).ok();
    bed.call(&["deletevolume", &j.clone().with("flexvol/id", "x").without("volumeID").text()]).fails("", &["/var/lib"]);
    let id = format!("{}/v", text(&other).trim_start_matches('/'));
    bed.call(&["deletevolume", &format!(r#"{{"flexvol/id":"{id}"}}"#)]).fails("permission", &["not deleted"]);
    bed.call(&["expandvolume", &j.text(), text(&place), "99999999", "0"]).fails("permission", &["not grown"]);
    bed.assert_down("after all");
}

#[test]
fn a_directory_that_others_can_write_to_is_not_trusted() {
    let Some(bed) = Bed::new() else { return };
    let open = bed.sandbox.dir("open").unwrap();
    let below = bed.sandbox.dir("open/below").unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let tmp = (PathBuf::from("/tmp"), "choose another directory");
    for (directory, hint) in [(open, "chmod go-w"), (below.clone(), "chmod go-w"), tmp] {
        let j = bed.j("v").with("directory", text(&directory));
        all_refuse(&bed, &j, "", &["cannot trust", hint]);
    }
    assert_eq!(fs::read_dir(&below).unwrap().count(), 0);
}

#[test]
fn foreign_data_is_not_formatted_over() {
    let Some(bed) = Bed::new() else { return };
    let place = bed.place("pod");
    fs::write(bed.image("raw"), vec![b'x'; 8 << 20]).unwrap();
    bed.mount(&place, &bed.j("raw")).fails("", &["unknown data"]);
    assert_eq!(fs::read(bed.image("raw")).unwrap(), vec![b'x'; 8 << 20]);
    fs::File::create(bed.image("swap")).unwrap().set_len(8 << 20).unwrap();
    run("mkswap", &[text(&bed.image("swap"))]);
    let before = fs::read(bed.image("swap")).unwrap();
    bed.mount(&place, &bed.j("swap")).fails("", &["not touched", "swap"]);
    assert!(fs::read(bed.image("swap")).unwrap() == before, "it was written to");
    // What somebody formatted himself is used as it is.
    fs::File::create(bed.image("own")).unwrap().set_len(8 << 20).unwrap();
    run("mkfs.ext4", &["-q", "-L", "mine", text(&bed.image("own"))]);
    bed.mount(&place, &bed.j("own")).ok();
    assert_eq!(run("findmnt", &["-n", "-o", "LABEL", text(&place)]), "mine");
    bed.unmount(&place).ok();
    bed.assert_down("after all");
}

/// A device made by hand is never shared, and never taken away: it may begin anywhere in the image, and holds no lock.
#[test]
fn there_is_no_second_writer() {
    let Some(bed) = Bed::new() else { return };
    let (j, place) = (bed.j("v"), bed.place("pod"));
    bed.mount(&place, &j).ok();
    write(&place.join("file"), "data");
    bed.unmount(&place).ok();
    let theirs = run("losetup", &["--find", "--show", text(&bed.image("v"))]);
    bed.mount(&place, &j).fails("busy", &[&theirs, "not by this driver", "losetup -d"]);
    bed.call(&["attach", &j.text(), "node"]).fails("busy", &[&theirs]);
    assert_eq!(bed.call(&["isattached", &j.text(), "node"]).ok().get("attached"), false);
    bed.call(&["detach", j.name(), "node"]).ok();
    assert_eq!(bed.loops().len(), 1, "it is left alone");
    bed.call(&["deletevolume", r#"{"flexvol/id":"v"}"#]).fails("busy", &[&theirs]);
    run("losetup", &["-d", &theirs]);
    bed.mount(&place, &j).ok();
    // And one that comes later: nothing more is mounted, what is mounted stays and can be taken down.
    let later = Command::new("losetup").args(["--find", "--show", text(&bed.image("v"))]).output().unwrap();
    if later.status.success() {
        let later = String::from_utf8(later.stdout).unwrap();
        bed.mount(&bed.place("two"), &j).fails("busy", &[later.trim()]);
        assert_eq!(read(&place.join("file")), "data");
        bed.unmount(&place).ok();
        assert_eq!(bed.loops().len(), 1, "ours is gone, theirs is not");
        run("losetup", &["-d", later.trim()]);
    } else {
        bed.unmount(&place).ok();
    }
    bed.assert_down("after all");
    // A hard link is the same image under another name.
    fs::hard_link(bed.image("v"), bed.image("w")).unwrap();
    bed.mount(&place, &j).ok();
    bed.mount(&bed.place("two"), &bed.j("w")).fails("busy", &["not by this driver"]);
    bed.unmount(&place).ok();
    bed.assert_down("after all");
}

/// Another program that locked the image, as virtual machines do, is not disturbed.
#[test]
fn a_locked_image_is_busy() {
    let Some(bed) = Bed::new() else { return };
    let (j, place) = (bed.j("v"), bed.place("pod"));
    bed.mount(&place, &j).ok();
    bed.unmount(&place).ok();
    let image = fs::File::open(bed.image("v")).unwrap();
    image.lock().unwrap();
    bed.mount(&place, &j).fails("busy", &["in use"]);
    bed.call(&["deletevolume", r#"{"flexvol/id":"v"}"#]).fails("busy", &["in use"]);
    image.unlock().unwrap();
    bed.mount(&place, &j).ok();
    bed.unmount(&place).ok();
}

#[test]
fn a_full_disk_is_said_and_the_next_try_works() {
    let Some(bed) = Bed::new() else { return };
    let full = bed.sandbox.dir("full").unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=2m,mode=0755", "tmpfs", text(&full)]);
    bed.set(&format!(r#"{{"directory":{full:?}}}"#));
    let (j, place) = (bed.j("v").with("size", "64m"), bed.place("pod"));
    let ballast = full.join("ballast");
    // Not a block is free.
    assert!(fs::write(&ballast, vec![1; 3 << 20]).is_err());
    bed.mount(&place, &j).fails("exhausted", &["No space left"]);
    bed.assert_down("after no room for a mark");
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1, "only the ballast is there");
    // Room for the marks, none for a file system.
    fs::File::options().write(true).open(&ballast).unwrap().set_len((2 << 20) - (64 << 10)).unwrap();
    bed.mount(&place, &j).fails("", &["mkfs.ext4"]);
    bed.assert_down("after no room for a file system");
    fs::remove_file(&ballast).unwrap();
    run("mount", &["-o", "remount,size=64m", text(&full)]);
    bed.mount(&place, &j).ok();
    write(&place.join("file"), "data");
    bed.unmount(&place).ok();
    bed.mount(&place, &j).ok();
    assert_eq!(read(&place.join("file")), "data");
    bed.unmount(&place).ok();
    bed.assert_down("after all");
}

#[test]
fn wrong_sizes_and_flags_are_named() {
    let Some(bed) = Bed::new() else { return };
    let place = bed.place("pod");
    for (key, value, words) in [
        ("size", "lots", ["size", "500m"]),
        ("size", "0", ["size", "zero"]),
        ("size", "", ["size", "missing"]),
        ("create", "yes", ["create", "true"]),
    ] {
        bed.mount(&place, &bed.j("v").with(key, value)).fails("invalid", &words);
    }
    bed.mount(&place, &bed.j("v").without("create")).fails("notFound", &["v.img", "create"]);
    bed.mount(&place, &bed.j("v").with("size", "7e")).fails("invalid", &["v.img", "ask for less"]);
    assert_eq!(bed.names(), Vec::<String>::new());
    bed.mount(&place, &bed.j("v").with("size", "1000m")).ok();
    assert_eq!(fs::metadata(bed.image("v")).unwrap().len(), 1000 << 20);
    bed.unmount(&place).ok();
}
