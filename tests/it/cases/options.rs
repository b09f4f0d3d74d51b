//! The options of each call: which keys are there, from where their values come, and that they arrive unchanged.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{claimed, claiming, whole};
use crate::{
    bed::pod,
    one::{One, options_of},
    scripts::{direct, tool},
};

const HOST: [&str; 3] = ["kubernetes.io/fsType", "kubernetes.io/pvOrVolumeName", "kubernetes.io/readwrite"];
const POD: [&str; 4] = [
    "kubernetes.io/pod.name",
    "kubernetes.io/pod.namespace",
    "kubernetes.io/pod.uid",
    "kubernetes.io/serviceAccount.name",
];
const GROUP: [&str; 2] = ["kubernetes.io/fsGroup", "kubernetes.io/mounterArgs.FsGroup"];

fn keys(options: &Value) -> BTreeSet<&str> {
    options.as_object().unwrap().keys().map(String::as_str).collect()
}

fn set<'a>(groups: &[&[&'a str]]) -> BTreeSet<&'a str> {
    groups.concat().into_iter().collect()
}

/// A Secret of the driver's type with these values, each in base64.
fn secret(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "type": "v/d", "data": data})
}

#[test]
fn h_51_keys_of_the_pod_are_in_mount_and_in_no_other_call() {
    let Some(one) = One::new(whole()) else { return };
    let text = |size| {
        let text = claimed(size, "{driver: v/d, options: {user: ann}}");
        text.replace(
            "spec:\n  containers",
            "spec:\n  serviceAccountName: keeper\n  securityContext: {fsGroup: 7}\n  containers",
        )
        .replace("metadata: {name: web}", "metadata: {name: web, namespace: shop, uid: u-1}")
        .replace("namespace: default, name: claim", "namespace: shop, name: claim")
        .replace("metadata: {name: claim}", "metadata: {name: claim, namespace: shop}")
    };
    for size in ["1Mi", "2Mi"] {
        one.wants(&text(size));
        one.comes(size);
    }
    for verb in ["attach", "waitforattach", "mountdevice", "expandfs"] {
        assert_eq!(keys(&one.options(verb)), set(&[&HOST, &["user"]]), "{verb}");
    }
    let mount = one.options("mount");
    assert_eq!(keys(&mount), set(&[&HOST, &POD, &GROUP, &["user"]]));
    let values = POD.map(|key| mount[key].as_str().unwrap());
    assert_eq!(values, ["web", "shop", "u-1", "keeper"]);
    one.goes("shop");
}

#[test]
fn h_52_the_group_is_told_under_both_spellings_and_only_when_there_is_one() {
    let Some(one) = One::new(direct()) else { return };
    one.works("no group");
    assert_eq!(keys(&one.options("mount")), set(&[&HOST, &POD]));
    one.wants_also("securityContext: {fsGroup: 2000}");
    one.works("a group");
    let mount = one.options("mount");
    assert_eq!(keys(&mount), set(&[&HOST, &POD, &GROUP]));
    assert_eq!(GROUP.map(|key| mount[key].as_str().unwrap()), ["2000", "2000"]);
}

#[test]
fn h_53_secrets_are_in_mount_alone_each_in_padded_base64_whatever_its_bytes() {
    let Some(one) = One::new(whole()) else { return };
    let bytes = one.bed.sandbox.path().join("bytes");
    std::fs::write(&bytes, [0, 255, 10, 13, 128, 34, 39, 0, 7]).unwrap();
    let binary = tool("base64", &["-w0", bytes.to_str().unwrap()]);
    let secret = secret(json!({"binary": binary, "one": "YQ==", "two": "YWI=", "none": ""}));
    let pod = pod("web", &[("data", "{driver: v/d, secretRef: {name: keys}}")]);
    one.wants(&format!("---\n{secret}\n---\n{pod}"));
    one.works("secrets");
    let mount = one.options("mount");
    for (key, value) in [("binary", binary.as_str()), ("one", "YQ=="), ("two", "YWI="), ("none", "")] {
        assert_eq!(mount[format!("kubernetes.io/secret/{key}")], value);
    }
    for call in one.driver.calls().unwrap().iter().filter(|call| call.verb() != "mount") {
        assert!(!format!("{call:?}").contains("secret"), "{call:?}");
    }
}

#[test]
fn h_56_values_of_the_volume_arrive_as_they_were_written() {
    let wanted = json!({
        "blank": " a b ", "quote": "it's \"quoted\" \\ `x` $HOME", "newline": "a\nb\n", "unicode": "ümlaut \u{1f600} \u{2028}",
        "angle": "<a & b>", "empty": "", "dash": "-n", "json": "{\"a\": [1]}", "Key with blank": "x", "flexvol/x": "y",
    });
    let Some(one) = One::with(direct(), &format!("{{driver: v/d, options: {wanted}}}")) else { return };
    one.works("odd values");
    let options = one.options("mount");
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(options[key], *value, "{key}");
    }
    // On the wire it is one argument without a blank outside of a value, its angles escaped as Go does.
    let wire = &one.calls("mount")[0].argv[2];
    assert!(wire.contains(r#""angle":"\u003ca \u0026 b\u003e","#), "{wire}");
}

#[test]
fn h_58_read_only_is_the_inline_volumes_word_or_the_claims_and_never_the_persistent_volumes() {
    let Some(one) = One::new(whole()) else { return };
    let says = |what: &str, text: String, wanted: &str| {
        one.wants(&text);
        let ran = one.works(what);
        for verb in ["attach", "waitforattach", "mountdevice", "mount"] {
            assert_eq!(one.options(verb)["kubernetes.io/readwrite"], wanted, "{what}: {verb}");
        }
        ran
    };
    says("inline", pod("web", &[("data", "{driver: v/d}")]), "rw");
    says("inline, read-only", pod("web", &[("data", "{driver: v/d, readOnly: true}")]), "ro");
    let ran = says("volume", claimed("1Mi", "{driver: v/d, readOnly: true}"), "rw");
    ran.fails(0, &["warning:", "readOnly", "no effect"]);
    let claim = claimed("1Mi", "{driver: v/d}").replace(&claiming("web", false), &claiming("web", true));
    says("claim", claim, "ro");
}

#[test]
fn h_59_the_name_is_the_persistent_volumes_or_that_of_the_inline_volume() {
    let Some(one) = One::new(whole()) else { return };
    for (text, name) in [(pod("web", &[("data", "{driver: v/d}")]), "data"), (claimed("1Mi", "{driver: v/d}"), "pv")] {
        one.wants(&text);
        one.works(name);
        for call in one.driver.calls().unwrap() {
            if let Some(options) = options_of(&call) {
                assert_eq!(options["kubernetes.io/pvOrVolumeName"], name, "{call:?}");
            }
        }
        assert_eq!(one.calls("detach")[0].argv[1], name);
        one.driver.forget().unwrap();
    }
}
