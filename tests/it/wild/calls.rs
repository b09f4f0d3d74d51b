//! Which calls drivers know, in which contract, and what they expect of the arguments.

use std::fs;

use flexvolume_testkit::{
    hung::HungFs,
    scripted::{Answer, Script},
};
use serde_json::json;

use super::{direct_in, shells};
use crate::{
    bed::Bed,
    one::{MOUNT, One, UMOUNT, is_mounted},
    scripts::{direct, tool},
};

fn device(name: &str) -> Answer {
    Answer::json(&json!({"status": "Success", "device": name}))
}

#[test]
fn w_09_without_attach_nothing_is_called_but_mount_and_unmount_whatever_happens() {
    // `direct` answers Failure to all else.
    let Some(one) = One::new(direct()) else { return };
    one.wants_also("securityContext: {fsGroup: 4711}");
    one.comes("the first time");
    one.bed.ok(["ls", "--usage"]);
    let path = one.path();
    tool("umount", &[path.to_str().unwrap()]);
    one.comes("after somebody unmounted it");
    fs::remove_file(one.bed.sandbox.root().join("ledger.db")).unwrap();
    one.bed.ok(["down", "--all"]);
    one.bed.assert_clean();
    assert!(one.verbs().iter().all(|verb| verb == "mount" || verb == "unmount"), "{:?}", one.verbs());
}

#[test]
fn w_10_a_driver_that_knows_almost_nothing_is_served_by_the_defaults() {
    // attach and detach alone; and even without these, where there is something else that mounts.
    let Some(one) = One::disk(|script| script) else { return };
    one.comes("only attach");
    fs::write(one.path().join("file"), "kept").unwrap();
    assert!(is_mounted(&one.global()));
    one.goes("only attach");
    one.comes("again");
    assert_eq!(fs::read_to_string(one.path().join("file")).unwrap(), "kept");
    one.goes("only attach");
    let Some(one) = One::new(Script::bash().on("init", Answer::success()).on("mount", Answer::success().run(MOUNT)))
    else {
        return;
    };
    one.works("only mount");
    let verbs = ["attach", "waitforattach", "mountdevice", "mount", "unmount", "detach"];
    assert_eq!(one.verbs(), verbs);
}

#[test]
fn w_11_who_has_umount_for_unmount_is_unmounted_by_the_host_and_never_asked_for_umount() {
    for (name, shell) in shells() {
        let script =
            direct_in(shell).on("umount", Answer::success().run(UMOUNT)).on("unmount", Answer::not_supported());
        let Some(one) = One::new(script) else { return };
        one.works(name);
        assert_eq!(one.verbs(), ["mount", "unmount"]);
    }
}

/// A driver of the contract before 1.6, with what it does for a verb that was not there then.
fn old(unknown: &str) -> Script {
    let usage = r#"usage() { echo "Usage:
    $0 init
    $0 attach <json options>
    $0 detach <device>
    $0 mount <directory> <device> <json options>
    $0 unmount <directory>" >&2; exit 1; }
"#;
    let shell = |text: &str| Answer::shell(format!("{usage}{text}"));
    let mount = r#"[ -b "$3" ] || { echo "{\"status\": \"Failure\", \"message\": \"$3 is no block device\"}"; exit 1; }
mount "$3" "$2" && echo '{"status": "Success"}'"#;
    Script::bash()
        .on("init", Answer::success())
        .on("attach", Answer::success())
        .on("detach", shell(r#"[ -b "$2" ] || usage"#))
        .on("mount", shell(mount))
        .on("unmount", Answer::success().run(UMOUNT))
        .otherwise(shell(unknown))
}

#[test]
fn w_12_a_driver_of_the_contract_before_1_6_is_told_as_such() {
    for (unknown, verb) in [
        ("usage", "waitforattach"),
        (r#"echo '{"status": "Not Supported"}'; exit 1"#, "waitforattach"),
        (r#"echo '{"status": "Not supported"}'; exit 1"#, "mount"),
    ] {
        let Some(one) = One::new(old(unknown)) else { return };
        let failed = format!("driver v/d failed to {verb}");
        one.up().fails(1, &[&failed, "hint:", "Kubernetes 1.2 to 1.5", "`mount DIR DEVICE OPTIONS`"]);
        assert_eq!(one.bed.sandbox.mounts().unwrap(), []);
    }
}

#[test]
fn w_12_a_driver_of_todays_contract_is_not_taken_for_an_old_one() {
    let usage = "echo 'Usage: d init|attach|detach|waitforattach|mountdevice|mount|unmount|unmountdevice' >&2; exit 1";
    let whole = Script::sh().on("init", Answer::success()).on("attach", Answer::success());
    for script in [
        whole.clone().otherwise(Answer::shell(usage)),
        whole.clone().otherwise(Answer::failure("the pool is full")),
        direct().on("mount", Answer::failure("no route to nas7")),
        whole.on("mountdevice", Answer::success().run(MOUNT)).on("mount", Answer::failure("no route to nas7")),
    ] {
        let Some(one) = One::new(script) else { return };
        let ran = one.up();
        assert!(ran.code == 1 && !ran.stderr.contains("1.2 to 1.5"), "{ran:?}");
        one.bed.run(["down", "--all"]);
    }
}

#[test]
fn w_13_arguments_are_counted_by_the_driver_and_an_empty_one_is_one() {
    for (name, shell) in shells() {
        // The count with the verb; and that of the last argument which has to be there.
        let counted = |count: usize, more: &str| {
            let check = format!(
                r#"[ $# -eq {count} ] || {{ echo "{{\"status\": \"Failure\", \"message\": \"$# arguments\"}}"; exit 1; }}
{more}
echo '{{"status": "Success"}}'"#
            );
            Answer::shell(check)
        };
        let script = shell
            .on("init", counted(1, ""))
            .on("attach", counted(3, ""))
            .on("waitforattach", counted(3, r#"[ -z "$2" ] || exit 1"#))
            .on("mountdevice", counted(4, &format!(r#"[ -z "$3" ] && {MOUNT} || exit 1"#)))
            .on("mount", counted(3, &format!("{MOUNT} || exit 1")))
            .on("unmount", counted(2, &format!("{UMOUNT} || exit 1")))
            .on("unmountdevice", counted(2, &format!("{UMOUNT} || exit 1")))
            .on("detach", counted(3, r#"[ "$2" = data ] || exit 1"#));
        let Some(one) = One::new(script) else { return };
        one.works(name);
        let verbs = ["attach", "waitforattach", "mountdevice", "mount", "unmount", "unmountdevice", "detach"];
        assert_eq!(one.verbs(), verbs, "{name}");
    }
}

#[test]
fn w_14_a_device_is_the_drivers_own_word_and_not_looked_at() {
    let Some(place) = Bed::new() else { return };
    let file = place.manifest("volume.img", "a plain file");
    // Whoever looks at what lies here hangs.
    let frozen = HungFs::mount(&place.sandbox.dir("frozen").unwrap(), 0).unwrap();
    let hung = frozen.dir().join("volume.img");
    for name in ["foo", "nas7:4711:67f8519d-b1b5", "/dev/null", "/dev/no-such", &file, hung.to_str().unwrap()] {
        let script = Script::sh()
            .on("init", Answer::success())
            .on("attach", device(name))
            .on("mountdevice", Answer::success().run(MOUNT));
        let Some(one) = One::new(script) else { return };
        let ran = one.comes(name);
        assert!(!ran.stderr.contains("warning:"), "{ran:?}");
        one.goes(name);
        assert_eq!(one.calls("mountdevice")[0].argv[2], name);
        assert_eq!(one.count("detach"), 1);
    }
}

#[test]
fn w_14_only_the_default_needs_a_block_device_and_says_so() {
    for name in ["foo", "/dev/null", "/dev/no-such"] {
        let Some(one) = One::new(Script::sh().on("init", Answer::success()).on("attach", device(name))) else { return };
        let ran = one.up();
        assert!(ran.code > 0, "{ran:?}");
        ran.fails(ran.code, &[name, "hint:"]);
        one.goes(name);
    }
}
