//! What drivers mount, and where: more, less or other than one mount at the wanted path.

use std::fs;

use flexvolume_testkit::scripted::Answer;
use serde_json::json;

use super::{direct_in, shells};
use crate::{
    bed::pod,
    one::{MOUNT, One},
    scripts::{direct, tool},
};

#[test]
fn w_21_a_driver_that_stacks_or_fails_where_something_is_mounted_is_called_once() {
    let guarded = r#"if mountpoint -q "$2"; then echo 'already mounted'; false; else mount -t tmpfs none "$2"; fi"#;
    for (name, shell) in shells() {
        for mount in [MOUNT, guarded] {
            let Some(one) = One::new(direct_in(shell.clone()).on("mount", Answer::success().run(mount))) else {
                return;
            };
            for _ in 0..3 {
                one.comes(name);
            }
            assert_eq!((one.count("mount"), one.bed.sandbox.mounts().unwrap().len()), (1, 1), "{name}: {mount}");
            one.goes(name);
        }
    }
}

#[test]
fn w_22_a_failed_mount_that_did_mount_is_undone_before_the_next_try() {
    let bad = Answer::json(&json!({"status": "Failure", "message": "only half done"})).run(MOUNT).exit(1);
    let Some(one) = One::new(direct().on_each("mount", [bad, Answer::success().run(MOUNT)])) else { return };
    one.up().fails(1, &["only half done"]);
    assert_eq!(one.bed.sandbox.mounts().unwrap(), []);
    assert_eq!(one.count("unmount"), 1, "it is undone through the driver");
    assert_eq!(one.up().code, 0);
    let layers = one.bed.sandbox.mounts().unwrap().len();
    assert_eq!(layers, 1, "a second layer on a mount that failed");
    one.goes("half done");
}

#[test]
fn w_22_a_mount_that_was_made_by_a_call_without_an_answer_is_undone_before_the_next_try() {
    // Cut off at its limit, after it has mounted; and one that answers nonsense.
    let hangs = Answer::success().run(format!("{MOUNT}; sleep 3600"));
    for first in [hangs, Answer::text("mounted.\n").run(MOUNT)] {
        let Some(one) = One::new(direct().on_each("mount", [first, Answer::success().run(MOUNT)])) else { return };
        one.set(json!({"limits": {"mount": {"answer": 0.1, "kill": 0.4}}}));
        one.up().fails(1, &["driver v/d"]);
        assert_eq!(one.bed.sandbox.mounts().unwrap(), []);
        assert_eq!(one.count("unmount"), 1, "it is undone through the driver");
        one.set(json!({}));
        one.comes("the second try");
        assert_eq!(one.bed.sandbox.mounts().unwrap().len(), 1, "a second layer on a mount that failed");
        one.goes("the second try");
    }
}

#[test]
fn w_23_a_success_without_a_mount_is_a_failure_unless_set_otherwise() {
    let Some(one) = One::new(direct().on("mount", Answer::success()).on("unmount", Answer::success())) else {
        return;
    };
    one.up().fails(1, &["answered Success, but nothing is mounted", "allowUnmounted"]);
    assert_eq!(one.bed.json(["ls"])[0]["state"], "waiting (staged)");
    let settings = json!({"drivers": {"v/d": {"allowUnmounted": true}}});
    one.bed.manifest("flexvol.json", &settings.to_string());
    one.works("allowed");
}

#[test]
fn w_23_a_failure_of_mount_that_is_passed_off_as_success_is_a_failure() {
    // Exit 32 of mount, which is what a wrong password comes to.
    let text = r#"sh -c 'exit 32'; case $? in 0|32) echo '{"status": "Success"}';; *) echo '{"status": "Failure"}';; esac; exit 0"#;
    for (name, shell) in shells() {
        let Some(one) = One::new(direct_in(shell).on("mount", Answer::shell(text))) else { return };
        let ran = one.up();
        ran.fails(1, &["answered Success, but nothing is mounted at", "hint:"]);
        one.bed.ok(["down", "--all"]);
        one.bed.assert_clean();
        assert_eq!(one.count("mount"), 1, "{name}");
    }
}

#[test]
fn w_23_a_filled_directory_and_a_link_are_accepted_and_told() {
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
        let Some(one) = One::new(script) else { return };
        let ran = one.up();
        assert!(ran.code == 0 && ran.stderr.contains("warning:") && ran.stderr.contains(words), "{what}: {ran:?}");
        let again = one.up();
        assert!(again.code == 0 && again.stdout.contains("unchanged"), "{what}: {again:?}");
        assert_eq!(one.count("mount"), 1, "{what}");
        one.goes(what);
    }
}

#[test]
fn w_23_a_link_is_never_followed_when_it_goes() {
    // The driver leaves its link behind: only the link is in the way, and what it points at is not looked into.
    let script = direct()
        .on("mount", Answer::success().run(r#"rmdir "$2" && ln -s "$_d/../precious" "$2""#))
        .on_each("unmount", [Answer::success(), Answer::success().run(r#"rm "$2""#)]);
    let Some(one) = One::new(script) else { return };
    let precious = one.driver.exe().with_file_name("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "data").unwrap();
    one.up();
    let down = one.down();
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "data");
    if down.code != 0 {
        down.fails(down.code, &["error:", "hint:"]);
        one.down();
    }
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "data");
    one.bed.assert_clean();
}

#[test]
fn w_26_files_beside_the_target_are_the_drivers() {
    let mount = format!("{MOUNT} && echo secret >\"$2.credentials\"");
    let script = direct()
        .on("mount", Answer::success().run(mount))
        .on("unmount", Answer::success().run(r#"[ -e "$2.credentials" ] && umount "$2" && rm "$2.credentials""#));
    let Some(one) = One::new(script) else { return };
    one.works("credentials beside");
}

#[test]
fn w_27_names_are_cut_out_of_a_path_that_looks_like_the_kubelets() {
    let Some(one) = One::new(direct()) else { return };
    // Drivers count components from the left for the pod, and take the last one for the volume.
    let field = one.bed.sandbox.root().components().count() + 2;
    let cut = format!(
        r#"uid=$(echo "$2" | cut -d/ -f{field}); kind=$(echo "$2" | cut -d/ -f{}); volume=$(basename "$2")
[ "$uid" = u-1 ] && [ "$kind" = volumes ] && [ "$volume" = data ] || {{ echo "$uid $kind $volume"; exit 1; }}
vendor=$(basename "$(dirname "$2")"); [ "$vendor" = v~d ] || {{ echo "$vendor"; exit 1; }}
{MOUNT}"#,
        field + 1
    );
    one.bed.script("v/d", direct().on("mount", Answer::success().run(cut)));
    one.wants(&pod("web", &[("data", "{driver: v/d}")]).replace("{name: web}", "{name: web, uid: u-1}"));
    let ran = one.up();
    assert_eq!(ran.code, 0, "{ran:?} {}", one.driver.printed().unwrap());
    one.goes("cut");
}

#[test]
fn w_27_a_bridge_mounts_at_one_path_and_binds_from_there() {
    let bridge =
        r#"d=$2.bridge; mkdir "$d" && mount -t tmpfs none "$d" && mkdir "$d/sub" && mount --bind "$d/sub" "$2""#;
    let undo = r#"umount "$2" && umount "$2.bridge" && rmdir "$2.bridge""#;
    let script = direct().on("mount", Answer::success().run(bridge)).on("unmount", Answer::success().run(undo));
    let Some(one) = One::new(script) else { return };
    one.comes("bridged");
    fs::write(one.path().join("file"), "data").unwrap();
    one.goes("bridged");
}

#[test]
fn a_mount_taken_away_by_hand_is_made_again() {
    let Some(one) = One::new(direct()) else { return };
    one.up();
    tool("umount", &[one.path().to_str().unwrap()]);
    let ran = one.up();
    assert!(ran.code == 0 && ran.stderr.contains("gone"), "{ran:?}");
    assert!(one.is_mounted());
    one.goes("again");
}

#[test]
fn set_uid_and_devices_have_no_power_in_a_volume_unless_set_otherwise() {
    let Some(one) = One::new(direct()) else { return };
    let flags = |one: &One| tool("findmnt", &["-n", "-o", "OPTIONS", "--mountpoint", one.path().to_str().unwrap()]);
    one.up();
    let options = flags(&one);
    assert!(options.contains("nosuid") && options.contains("nodev"), "{options}");
    one.goes("nosuid");
    one.bed.manifest("flexvol.json", &json!({"defaults": {"allowSuidAndDevices": true}}).to_string());
    one.up();
    let options = flags(&one);
    assert!(!options.contains("nosuid") && !options.contains("nodev"), "{options}");
    one.goes("suid");
}
