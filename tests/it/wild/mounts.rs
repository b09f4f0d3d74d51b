//! Mounts that are more, less or other than one mount at the wanted path.

use super::*;

#[test]
fn two_stacked_layers_go_whatever_the_driver_takes_away() {
    let twice = Answer::success().run(format!("{MOUNT} && {MOUNT}"));
    for (what, unmount) in [
        ("one of two", Answer::success().run(r#"umount "$2""#)),
        ("none", Answer::success()),
        ("not supported", Answer::not_supported()),
        ("both", Answer::success().run(r#"umount "$2" && umount "$2""#)),
    ] {
        let Some(wild) = Wild::new(direct().on("mount", twice.clone()).on("unmount", unmount)) else { return };
        wild.works(what);
        assert_eq!(wild.count("unmount"), 1, "{what}");
    }
}

#[test]
fn an_unmount_that_fails_with_the_mount_still_there_is_a_failure() {
    let script = direct().on_each("unmount", [Answer::failure("device busy"), Answer::success().run(r#"umount "$2""#)]);
    let Some(wild) = Wild::new(script) else { return };
    wild.up();
    wild.down().fails(1, &["v/d", "device busy"]);
    assert!(wild.is_mounted());
    wild.goes("the second try");
}

#[test]
fn an_unmount_that_fails_because_nothing_is_there_is_done() {
    let Some(wild) = Wild::new(direct()) else { return };
    wild.up();
    tool("umount", &[wild.path().to_str().unwrap()]);
    wild.goes("unmounted by hand");
}

#[test]
fn a_mount_taken_away_by_hand_is_made_again() {
    let Some(wild) = Wild::new(direct()) else { return };
    wild.up();
    tool("umount", &[wild.path().to_str().unwrap()]);
    let ran = wild.up();
    assert!(ran.code == 0 && ran.stderr.contains("gone"), "{ran:?}");
    assert!(wild.is_mounted());
    wild.goes("again");
}

#[test]
fn a_success_without_a_mount_is_a_failure_unless_set_otherwise() {
    let Some(wild) = Wild::new(direct().on("mount", Answer::success()).on("unmount", Answer::success())) else {
        return;
    };
    wild.up().fails(1, &["answered Success, but nothing is mounted", "allowUnmounted"]);
    assert_eq!(wild.bed.json(["ls"])[0]["state"], "waiting (staged)");
    let settings = json!({"drivers": {"v/d": {"allowUnmounted": true}}});
    wild.bed.manifest("flexvol.json", &settings.to_string());
    wild.works("allowed");
}

#[test]
fn a_filled_directory_and_a_link_are_accepted_and_told() {
    for (what, mount, unmount, words) in [
        ("files", r#"echo data >"$2/file""#, r#"rm "$2/file""#, "plain directory with files"),
        ("link", r#"rmdir "$2" && ln -s /usr "$2""#, r#"rm "$2""#, "symbolic link"),
        (
            "nested",
            r#"mkdir "$2/in" && mount -t tmpfs none "$2/in""#,
            r#"umount "$2/in" && rmdir "$2/in""#,
            "plain directory with files",
        ),
    ] {
        let script = direct().on("mount", Answer::success().run(mount)).on("unmount", Answer::success().run(unmount));
        let Some(wild) = Wild::new(script) else { return };
        let ran = wild.up();
        assert!(ran.code == 0 && ran.stderr.contains("warning:") && ran.stderr.contains(words), "{what}: {ran:?}");
        let again = wild.up();
        assert!(again.code == 0 && again.stdout.contains("unchanged"), "{what}: {again:?}");
        assert_eq!(wild.count("mount"), 1, "{what}");
        wild.goes(what);
    }
}

#[test]
fn a_link_is_never_followed_when_it_goes() {
    // The driver leaves its link behind: only the link is in the way, and what it points at is not looked into.
    let script = direct()
        .on("mount", Answer::success().run(r#"rmdir "$2" && ln -s "$_d/../precious" "$2""#))
        .on_each("unmount", [Answer::success(), Answer::success().run(r#"rm "$2""#)]);
    let Some(wild) = Wild::new(script) else { return };
    let precious = wild.driver.exe().with_file_name("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "data").unwrap();
    wild.up();
    let down = wild.down();
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "data");
    if down.code != 0 {
        down.fails(down.code, &["error:", "hint:"]);
        wild.down();
    }
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "data");
    wild.bed.assert_clean();
}

#[test]
fn a_failed_mount_that_did_mount_is_undone_before_the_next_try() {
    let bad = Answer::json(&json!({"status": "Failure", "message": "only half done"})).run(MOUNT).exit(1);
    let Some(wild) = Wild::new(direct().on_each("mount", [bad, Answer::success().run(MOUNT)])) else { return };
    wild.up().fails(1, &["only half done"]);
    assert_eq!(wild.bed.sandbox.mounts().unwrap(), []);
    assert_eq!(wild.count("unmount"), 1, "it is undone through the driver");
    assert_eq!(wild.up().code, 0);
    let layers = wild.bed.sandbox.mounts().unwrap().len();
    assert_eq!(layers, 1, "a second layer on a mount that failed");
    wild.goes("half done");
}

#[test]
fn a_driver_may_remove_its_directory() {
    for (what, unmount) in [
        ("rmdir", r#"umount "$2" && rmdir "$2""#),
        ("rm -rf", r#"umount "$2" && rm -rf "$2""#),
        ("parents too", r#"umount "$2" && rmdir -p "$2" 2>/dev/null; true"#),
    ] {
        let Some(wild) = Wild::new(direct().on("unmount", Answer::success().run(unmount))) else { return };
        wild.works(what);
        wild.works(what);
    }
}

#[test]
fn files_left_in_the_directory_are_named_and_never_deleted() {
    let leave = r#"umount "$2" && echo data >"$2/left-behind""#;
    let script = direct().on_each("unmount", [Answer::success().run(leave), Answer::success()]);
    let Some(wild) = Wild::new(script) else { return };
    wild.up();
    let path = wild.path();
    for _ in 0..2 {
        let ran = wild.down();
        assert_ne!(ran.code, 0, "{ran:?}");
        ran.fails(ran.code, &[path.to_str().unwrap(), "left-behind", "hint:"]);
        assert_eq!(fs::read_to_string(path.join("left-behind")).unwrap(), "data\n");
    }
    fs::remove_file(path.join("left-behind")).unwrap();
    wild.goes("after a person has looked");
}

#[test]
fn files_beside_the_target_are_the_drivers() {
    let mount = format!("{MOUNT} && echo secret >\"$2.credentials\"");
    let script = direct()
        .on("mount", Answer::success().run(mount))
        .on("unmount", Answer::success().run(r#"[ -e "$2.credentials" ] && umount "$2" && rm "$2.credentials""#));
    let Some(wild) = Wild::new(script) else { return };
    wild.works("credentials beside");
}

#[test]
fn set_uid_and_devices_have_no_power_in_a_volume_unless_set_otherwise() {
    let Some(wild) = Wild::new(direct()) else { return };
    let flags = |wild: &Wild| tool("findmnt", &["-n", "-o", "OPTIONS", "--mountpoint", wild.path().to_str().unwrap()]);
    wild.up();
    let options = flags(&wild);
    assert!(options.contains("nosuid") && options.contains("nodev"), "{options}");
    wild.goes("nosuid");
    wild.bed.manifest("flexvol.json", &json!({"defaults": {"allowSuidAndDevices": true}}).to_string());
    wild.up();
    let options = flags(&wild);
    assert!(!options.contains("nosuid") && !options.contains("nodev"), "{options}");
    wild.goes("suid");
}

#[test]
fn attach_false_and_no_mount_is_told() {
    let script = direct().on("mount", Answer::not_supported());
    let Some(wild) = Wild::new(script) else { return };
    wild.up().fails(1, &["attach:false", "does not know mount", "1.6"]);
    wild.goes("nothing was there");
}
