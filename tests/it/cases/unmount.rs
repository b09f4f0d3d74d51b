//! The way down: when `unmount` and `unmountdevice` are called, what is left to the host, and what must not be torn away.

use std::fs;

use flexvolume_testkit::{binary, hung::abort_at, scripted::Answer};

use super::{claimed, claiming, whole};
use crate::{
    faults::Started,
    one::{MOUNT, One, UMOUNT, is_mounted},
    scripts::{direct, tool, until},
};

#[test]
fn h_70_a_directory_that_is_gone_needs_no_unmount() {
    let Some(one) = One::new(direct()) else { return };
    one.comes("mounted");
    let path = one.path();
    tool("umount", &[path.to_str().unwrap()]);
    fs::remove_dir(path).unwrap();
    one.goes("gone already");
    assert_eq!(one.count("unmount"), 0);
}

#[test]
fn h_71_a_directory_with_nothing_mounted_is_unmounted_all_the_same() {
    let Some(one) = One::new(direct().on("unmount", Answer::success())) else { return };
    one.comes("mounted");
    let path = one.path();
    tool("umount", &[path.to_str().unwrap()]);
    one.goes("bare");
    assert_eq!(one.calls("unmount")[0].argv[1..], [path.to_str().unwrap().to_owned()]);
}

#[test]
fn h_72_the_host_removes_the_directory_that_the_driver_left_and_misses_none_that_it_removed() {
    for unmount in [UMOUNT, r#"umount "$2" && rmdir "$2""#, r#"umount "$2" && rm -rf "$2""#] {
        let Some(one) = One::new(direct().on("unmount", Answer::success().run(unmount))) else { return };
        one.comes(unmount);
        let path = one.path();
        one.goes(unmount);
        assert!(!path.exists());
    }
}

#[test]
fn h_72_files_left_in_the_directory_are_named_and_never_deleted_and_it_is_tried_again() {
    let leave = r#"umount "$2" && echo data >"$2/left-behind""#;
    let script = direct().on_each("unmount", [Answer::success().run(leave), Answer::success()]);
    let Some(one) = One::new(script) else { return };
    one.comes("mounted");
    let path = one.path();
    for tries in 1..=2 {
        let ran = one.down();
        assert_ne!(ran.code, 0, "{ran:?}");
        ran.fails(ran.code, &[path.to_str().unwrap(), "left-behind", "hint:"]);
        assert_eq!(fs::read_to_string(path.join("left-behind")).unwrap(), "data\n");
        assert_eq!(one.count("unmount"), tries);
    }
    fs::remove_file(path.join("left-behind")).unwrap();
    one.goes("after a person has looked");
}

#[test]
fn h_73_without_unmount_the_host_unmounts_and_removes_the_directory() {
    let Some(one) = One::new(direct().on("unmount", Answer::not_supported())) else { return };
    one.comes("mounted");
    let path = one.path();
    one.goes("by the host");
    assert!(!path.exists());
    assert_eq!(one.count("unmount"), 1);
}

#[test]
fn h_74_unmountdevice_is_called_with_its_directory_alone_and_only_where_something_is_mounted() {
    let Some(one) = One::new(whole()) else { return };
    let global = one.global();
    let text = global.to_str().unwrap();
    one.works("mounted");
    assert_eq!(one.calls("unmountdevice")[0].argv, ["unmountdevice", text]);
    assert!(!global.exists());
    for absent in [false, true] {
        one.driver.forget().unwrap();
        one.comes("mounted");
        tool("umount", &[text]);
        if absent {
            fs::remove_dir(&global).unwrap();
        }
        one.goes("unmounted by hand");
        assert_eq!(one.verbs()[4..], ["unmount", "detach"], "absent: {absent}");
        assert!(!global.exists());
    }
}

#[test]
fn h_75_a_device_that_is_mounted_elsewhere_too_is_not_unmounted() {
    let Some(one) = One::new(whole()) else { return };
    one.comes("mounted");
    let other = one.bed.sandbox.dir("other").unwrap();
    let other = other.to_str().unwrap();
    tool("mount", &["--bind", one.global().to_str().unwrap(), other]);
    one.down().fails(4, &["also mounted at", other, "umount"]);
    assert!(is_mounted(&one.global()));
    assert_eq!((one.count("unmountdevice"), one.count("detach")), (0, 0));
    tool("umount", &[other]);
    // No pod has it any more, and its name still says what is meant.
    assert!(one.bed.ok(["down", "web"]).contains("what no pod wanted any more is gone"));
    one.bed.run(["down", "web"]).fails(3, &["no pod \"web\" has a volume here"]);
    one.bed.assert_clean();
    assert_eq!((one.count("unmountdevice"), one.count("detach")), (1, 1));
}

#[test]
fn h_76_a_dead_mount_is_unmounted_through_the_driver() {
    let hung = format!("{} \"$2\" 0", binary("hungfs").unwrap().display());
    for lazy in [true, false] {
        let unmount = Answer::success().run(if lazy { r#"umount -l "$2""# } else { "true" });
        let Some(one) = One::new(direct().on("mount", Answer::success().run(hung.as_str())).on("unmount", unmount))
        else {
            return;
        };
        one.comes("alive");
        let path = one.path();
        // Its server dies: from here on every look into it is answered ENOTCONN.
        abort_at(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap_err().raw_os_error(), Some(107));
        one.goes("dead");
        assert_eq!(one.count("unmount"), 1);
    }
}

#[test]
fn h_77_detach_comes_last_once_nobody_uses_the_device_with_name_and_node() {
    let Some(one) = One::new(whole()) else { return };
    one.bed.manifest("flexvol.json", r#"{"node": "rack4-7"}"#);
    one.wants(&format!("{}---\n{}", claimed("1Mi", "{driver: v/d}"), claiming("other", false)));
    one.comes("two pods");
    one.driver.forget().unwrap();
    one.bed.ok(["down", "other"]);
    assert_eq!(one.verbs(), ["unmount"]);
    one.bed.ok(["down", "web"]);
    assert_eq!(one.verbs(), ["unmount", "unmount", "unmountdevice", "detach"]);
    assert_eq!(one.calls("detach")[0].argv, ["detach", "pv", "rack4-7"]);
    one.bed.assert_clean();
}

#[test]
fn h_77_detach_does_not_follow_an_unmountdevice_that_failed() {
    let script = whole().on_each("unmountdevice", [Answer::failure("busy"), Answer::success().run(UMOUNT)]);
    let Some(one) = One::new(script) else { return };
    one.comes("mounted");
    one.down().fails(1, &["busy"]);
    assert_eq!(one.count("detach"), 0);
    one.bed.ok(["down", "--all"]);
    assert_eq!(one.verbs()[4..], ["unmount", "unmountdevice", "unmountdevice", "detach"]);
    one.bed.assert_clean();
}

#[test]
fn h_78_a_pod_taken_down_during_a_slow_mountdevice_waits_for_its_end_and_then_goes_in_order() {
    let slow = Answer::success().run(format!("{MOUNT}; while [ ! -e \"$_d/../go\" ]; do sleep 0.02; done"));
    let Some(one) = One::new(whole().on("mountdevice", slow)) else { return };
    let mut up = Started::new(&one.bed, &["up", &one.file]);
    until("mountdevice to be called", || one.count("mountdevice") == 1);
    let mut down = Started::new(&one.bed, &["down", &one.file]);
    until("down to say for whom it waits", || down.words().contains("waiting for pid"));
    assert_eq!(one.verbs(), ["attach", "waitforattach", "mountdevice"], "something was done beside it");
    fs::write(one.driver.exe().with_file_name("go"), "").unwrap();
    assert_eq!(up.end().code, 0);
    let ended = down.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(one.verbs(), ["attach", "waitforattach", "mountdevice", "mount", "unmount", "unmountdevice", "detach"]);
    one.bed.assert_clean();
}

#[test]
fn h_70_after_a_volume_has_gone_nothing_more_is_called_for_it() {
    let Some(one) = One::new(direct()) else { return };
    one.works("once");
    one.driver.forget().unwrap();
    one.goes("a second time");
    one.bed.ok(["down", "--all"]);
    assert_eq!(one.driver.verbs().unwrap(), Vec::<String>::new());
}
