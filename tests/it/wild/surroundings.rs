//! What drivers make of their arguments, of their own path, and of the machine around them.

use std::{fs, os::unix::fs::symlink, path::Path};

use flexvolume_testkit::scripted::Answer;
use serde_json::json;

use super::{direct_in, shells};
use crate::{
    bed::{Bed, pod},
    one::{MOUNT, One, UMOUNT},
    scripts::direct,
};

/// Dispatches as many drivers do: with every argument taken apart at its blanks.
fn split() -> Answer {
    let text = r#"domount() {
    [ $# -eq 2 ] || { echo "{\"status\": \"Failure\", \"message\": \"$# arguments\"}"; exit 1; }
    case $2 in *'"size":"1Gi"'*) ;; *) echo '{"status": "Failure", "message": "no size"}'; exit 1;; esac
    mount -t tmpfs none "$1" && echo '{"status": "Success"}'
}
shift
domount $*"#;
    Answer::shell(text)
}

#[test]
fn w_15_options_are_one_argument_without_a_blank_so_that_unquoted_arguments_survive() {
    for (name, shell) in shells() {
        let source = "{driver: v/d, fsType: ext4, options: {size: 1Gi, url: 'http://nas7/a?b=c&d=<e>'}}";
        let Some(one) = One::with(direct_in(shell).on("mount", split()), source) else { return };
        one.wants_also("securityContext: {fsGroup: 0}");
        one.works(name);
        let json = &one.calls("mount")[0].argv[2];
        assert!(!json.contains(char::is_whitespace), "{json}");
        let value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).unwrap();
        assert!(value.values().all(serde_json::Value::is_string), "{json}");
        let keys: Vec<_> = value.keys().collect();
        assert!(keys.is_sorted(), "{json}");
    }
}

#[test]
fn w_15_a_blank_inside_a_value_breaks_such_a_driver_and_is_told_in_its_own_words() {
    for (name, shell) in shells() {
        let source = "{driver: v/d, options: {size: 1Gi, comment: 'two words'}}";
        let Some(one) = One::with(direct_in(shell).on("mount", split()), source) else { return };
        one.up().fails(1, &["driver v/d failed to mount", "3 arguments"]);
        one.goes(name);
    }
}

#[test]
fn w_16_secrets_come_through_a_shell_whatever_they_hold() {
    let password = "p$a`s`s \"w\" 'o' \\r\\d %41\nsecond line & <more>";
    // Found and decoded as drivers do it that have no reader of JSON.
    let decode = format!(
        r#"{MOUNT} && printf '%s' "$3" | sed 's/.*"kubernetes.io\/secret\/password":"\([^"]*\)".*/\1/' | base64 -d >"$2/password""#
    );
    for (name, shell) in shells() {
        let Some(one) = One::new(direct_in(shell).on("mount", Answer::success().run(decode.as_str()))) else { return };
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "type": "v/d", "stringData": {"password": password},
        });
        one.wants(&format!(
            "---\n{secret}\n---\n{}",
            pod("web", &[("data", "{driver: v/d, secretRef: {name: keys}}")])
        ));
        one.comes(name);
        assert_eq!(fs::read_to_string(one.path().join("password")).unwrap(), password, "{name}");
        one.goes(name);
    }
}

#[test]
fn w_17_each_key_that_somebody_needs_is_there() {
    // One driver for each spelling of the group, one for the pod, and so on: all in one, which wants all of them.
    let wants = [
        r#""kubernetes.io/fsGroup":"4711""#,
        r#""kubernetes.io/mounterArgs.FsGroup":"4711""#,
        r#""kubernetes.io/readwrite":"ro""#,
        r#""kubernetes.io/pod.name":"web""#,
        r#""kubernetes.io/pod.namespace":"shop""#,
        r#""kubernetes.io/pod.uid":"u-1""#,
        r#""kubernetes.io/serviceAccount.name":"keeper""#,
        r#""kubernetes.io/pvOrVolumeName":"data""#,
        r#""kubernetes.io/fsType":"""#,
    ];
    let check = wants.map(|key| format!("case $3 in *'{key}'*) ;; *) echo 'no {key}'; exit 1;; esac")).join("\n");
    let Some(one) = One::with(
        direct().on("mount", Answer::success().run(format!("{check}\n{MOUNT}"))),
        "{driver: v/d, readOnly: true}",
    ) else {
        return;
    };
    one.wants_also("serviceAccountName: keeper\n  securityContext: {fsGroup: 4711}");
    let text = fs::read_to_string(&one.file).unwrap();
    one.wants(&text.replace("{name: web}", "{name: web, namespace: shop, uid: u-1}"));
    one.works(&one.driver.printed().unwrap());
}

/// A driver that has its mode from the name it is run by, and helper, settings and log beside itself and above.
const FAMILIAR: &str = r#"here=$(dirname "$0")
[ "$(basename "$0")" = nas ] || { echo "run as $0"; exit 1; }
. "$here/settings"
"$here/helper" "$2" && echo "mounted for $site" >>"$here/log" && [ -e "$here/../../root" ]"#;

#[test]
fn w_18_a_driver_is_run_by_its_own_path_with_what_lies_beside_it() {
    for linked in [false, true] {
        for (name, shell) in shells() {
            let Some(bed) = Bed::new() else { return };
            let driver = bed.script("v/nas", direct_in(shell).on("mount", Answer::success().run(FAMILIAR)));
            let folder = driver.exe().parent().unwrap();
            fs::write(folder.join("settings"), "site=lab\n").unwrap();
            let helper = folder.join("helper");
            crate::scripts::replace(&helper, b"#!/bin/sh\nmount -t tmpfs none \"$1\"\n");
            if linked {
                // One program under several names: the link is what is run, never what it leads to.
                fs::rename(driver.exe(), folder.join("multi")).unwrap();
                symlink("multi", driver.exe()).unwrap();
            }
            let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/nas}")]));
            let ran = bed.run(["up", &file]);
            assert_eq!(ran.code, 0, "{name}, linked: {linked}: {ran:?} {}", driver.printed().unwrap());
            bed.ok(["down", &file]);
            bed.assert_clean();
            for call in driver.calls().unwrap() {
                assert_eq!(Path::new(&call.program), driver.exe());
            }
            assert_eq!(fs::read_to_string(folder.join("log")).unwrap(), "mounted for lab\n");
        }
    }
}

#[test]
fn w_19_the_environment_passes_through_the_directory_is_the_root_and_input_is_empty() {
    let script = direct().records_env("PATH").records_env("NAS_SITE").records_stdin();
    let Some(one) = One::new(script) else { return };
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    for verb in ["up", "down"] {
        let mut command = one.bed.command([verb, &one.file]);
        let output = command.env("NAS_SITE", "lab").env("PATH", &path).current_dir(one.bed.sandbox.path()).output();
        assert!(output.unwrap().status.success());
    }
    let calls = one.driver.calls().unwrap();
    assert_eq!(calls.len(), 4);
    for call in calls {
        assert_eq!((call.cwd.as_str(), call.env["PATH"].as_str(), call.env["NAS_SITE"].as_str()), ("/", &*path, "lab"));
        assert_eq!(call.stdin.as_deref(), Some(b"".as_slice()));
    }
    // What such drivers reach for is reached: /tmp, /dev and a place for logs are the host's own.
    let reach = format!(r#"{MOUNT} && t=$(mktemp) && rm "$t" && [ -w /dev/null ] && [ -d /var/log ] && [ -d /dev ]"#);
    one.bed
        .script("v/d", direct().on("mount", Answer::success().run(reach)).on("unmount", Answer::success().run(UMOUNT)));
    one.works("in reach");
}
