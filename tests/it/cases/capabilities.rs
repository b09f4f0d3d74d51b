//! What a driver says at `init`, and what the host does or leaves for it.

use std::{fs, os::unix::fs::MetadataExt};

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::{Value, json};

use super::{claimed, whole};
use crate::{
    one::{MOUNT, One},
    scripts::direct,
};

const ALL: [&str; 7] = ["attach", "waitforattach", "mountdevice", "mount", "unmount", "unmountdevice", "detach"];

fn with(capabilities: &Value) -> Answer {
    Answer::json(&json!({"status": "Success", "capabilities": capabilities}))
}

#[test]
fn h_40_a_bare_success_means_that_attach_is_served() {
    let Some(one) = One::new(whole()) else { return };
    one.works("all defaults");
    assert_eq!(one.verbs(), ALL);
}

#[test]
fn h_41_without_attach_a_driver_is_called_for_nothing_but_mount_and_unmount() {
    let Some(one) = One::with(direct(), "{driver: v/d, options: {a: b}}") else { return };
    one.comes("the first time");
    assert!(one.is_mounted());
    one.comes("again");
    one.goes("as it came");
    assert_eq!(one.verbs(), ["mount", "unmount"]);
    assert_eq!(one.options("mount")["a"], "b");
}

#[test]
fn h_41_without_attach_and_without_mount_a_driver_can_serve_nothing() {
    let Some(one) = One::new(direct().on("mount", Answer::not_supported())) else { return };
    one.up().fails(1, &["attach:false", "does not know mount", "1.6"]);
    one.goes("nothing was there");
}

#[test]
fn h_42_what_is_left_out_keeps_its_default() {
    for capabilities in [json!({}), json!({"supportsMetrics": false}), json!({"attach": null, "fsGroup": true})] {
        let Some(one) = One::new(whole().on("init", with(&capabilities))) else { return };
        one.wants(&claimed("1Mi", "{driver: v/d}"));
        one.comes("small");
        one.wants(&claimed("2Mi", "{driver: v/d}"));
        one.comes("grown");
        one.goes("whole");
        let wanted = [&ALL[..4], &["expandfs"], &ALL[4..]].concat();
        assert_eq!(one.verbs(), wanted, "{capabilities}");
    }
}

#[test]
fn h_43_null_in_place_of_capabilities_is_the_same_as_none() {
    let Some(one) = One::new(whole().on("init", with(&Value::Null))) else { return };
    one.works("null");
    assert_eq!(one.verbs(), ALL);
    one.set(json!({"strict": true}));
    one.works("and strictly too");
}

#[test]
fn h_44_fs_group_false_leaves_ownership_to_the_driver() {
    let mount = format!("{MOUNT} && echo x >\"$2/file\" && chmod 0640 \"$2/file\"");
    for (fs_group, owned) in [(true, (4711, 0o660)), (false, (0, 0o640))] {
        let init = with(&json!({"attach": false, "fsGroup": fs_group}));
        let script = direct().on("init", init).on("mount", Answer::success().run(mount.as_str()));
        let Some(one) = One::new(script) else { return };
        one.wants_also("securityContext: {fsGroup: 4711}");
        one.comes("grouped");
        let meta = fs::metadata(one.path().join("file")).unwrap();
        assert_eq!((meta.gid(), meta.mode() & 0o7777), owned);
        assert_eq!(one.options("mount")["kubernetes.io/fsGroup"], "4711", "the driver is told in any case");
        one.goes("grouped");
    }
}

#[test]
fn h_44_supports_metrics_lets_the_file_system_be_asked_how_full_it_is() {
    for supports in [true, false] {
        let script = direct().on("init", with(&json!({"attach": false, "supportsMetrics": supports})));
        let Some(one) = One::new(script) else { return };
        one.comes("measured");
        let rows = one.bed.json(["ls", "--usage"]);
        assert_eq!(rows[0]["totalBytes"].is_u64(), supports, "{rows}");
        one.goes("measured");
    }
}

#[test]
fn h_44_requires_fs_resize_false_means_that_nobody_grows_it() {
    for requires in [true, false] {
        let init = with(&json!({"attach": false, "requiresFSResize": requires}));
        let Some(one) = One::new(direct().on("init", init).on("expandfs", Answer::success())) else { return };
        for size in ["1Mi", "2Mi"] {
            one.wants(&claimed(size, "{driver: v/d}"));
            one.comes(size);
        }
        assert_eq!(one.count("expandfs"), usize::from(requires));
        one.goes("grown or not");
    }
}

/// No container is started here, so there is nobody who could relabel.
#[test]
fn h_44_selinux_relabel_changes_nothing_here() {
    for relabel in [true, false] {
        let script: Script = direct().on("init", with(&json!({"attach": false, "selinuxRelabel": relabel})));
        let Some(one) = One::new(script) else { return };
        let ran = one.works("labelled or not");
        assert!(!ran.stderr.contains("warning:"), "{ran:?}");
        assert_eq!(one.verbs(), ["mount", "unmount"]);
    }
}
