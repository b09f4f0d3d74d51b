//! How drivers undo: not at all, in part, too much, or again and again.

use std::fs;

use flexvolume_testkit::scripted::Answer;

use super::{direct_in, shells};
use crate::{
    one::{MOUNT, One},
    scripts::{direct, tool},
};

#[test]
fn w_24_two_stacked_layers_go_whatever_the_driver_takes_away() {
    let twice = Answer::success().run(format!("{MOUNT} && {MOUNT}"));
    for (what, unmount) in [
        ("one of two", Answer::success().run(r#"umount "$2""#)),
        ("none", Answer::success()),
        ("not supported", Answer::not_supported()),
        ("both", Answer::success().run(r#"umount "$2" && umount "$2""#)),
    ] {
        let Some(one) = One::new(direct().on("mount", twice.clone()).on("unmount", unmount)) else { return };
        one.works(what);
        assert_eq!(one.count("unmount"), 1, "{what}");
    }
}

#[test]
fn w_24_an_unmount_that_fails_with_the_mount_still_there_is_a_failure() {
    let script = direct().on_each("unmount", [Answer::failure("device busy"), Answer::success().run(r#"umount "$2""#)]);
    let Some(one) = One::new(script) else { return };
    one.up();
    one.down().fails(1, &["v/d", "device busy"]);
    assert!(one.is_mounted());
    one.goes("the second try");
}

#[test]
fn w_24_an_unmount_that_fails_because_nothing_is_there_is_done() {
    let Some(one) = One::new(direct()) else { return };
    one.up();
    tool("umount", &[one.path().to_str().unwrap()]);
    one.goes("unmounted by hand");
}

#[test]
fn w_24_an_unmount_that_does_nothing_and_says_success_is_finished_by_the_host() {
    for (name, shell) in shells() {
        let nothing = Answer::shell(r#"echo '{"status": "Success"}'; exit 0"#);
        let Some(one) = One::new(direct_in(shell).on("unmount", nothing)) else { return };
        one.works(name);
        assert_eq!(one.count("unmount"), 1);
    }
}

#[test]
fn w_25_a_driver_may_remove_its_directory() {
    for (what, unmount) in [
        ("rmdir", r#"umount "$2" && rmdir "$2""#),
        ("rm -rf", r#"umount "$2" && rm -rf "$2""#),
        ("parents too", r#"umount "$2" && rmdir -p "$2" 2>/dev/null; true"#),
    ] {
        let Some(one) = One::new(direct().on("unmount", Answer::success().run(unmount))) else { return };
        one.works(what);
        one.works(what);
    }
}

#[test]
fn w_25_a_driver_that_removes_all_beneath_its_directory_reaches_no_data_of_the_volume() {
    // The volume is a disk that the host has bound there; the driver sees to unmounting.
    let remove = r#"umount "$2"; rm -rf "$2""#;
    let Some(one) = One::disk(|script| script.on("unmount", Answer::success().run(remove))) else { return };
    one.comes("bound");
    fs::write(one.path().join("file"), "kept").unwrap();
    one.goes("removed");
    one.comes("again");
    assert_eq!(fs::read_to_string(one.path().join("file")).unwrap(), "kept");
    one.goes("removed");
}
