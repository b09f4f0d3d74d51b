//! Options put together as the contract's tables say, and refused where they must be.

use std::collections::BTreeMap;

use flexvolume_protocol::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn host() -> HostKeys {
    HostKeys { fs_type: String::new(), read_only: true, name: "data".to_owned() }
}

fn pod(fs_group: Option<u32>) -> PodKeys {
    let text = str::to_owned;
    PodKeys { name: text("web"), namespace: text("shop"), uid: text("u-1"), service_account: text("sa"), fs_group }
}

#[test]
fn h_57_keys_in_namespaces_of_kubernetes_are_refused_and_near_misses_are_not() {
    let reserved = [
        "kubernetes.io/x",
        "kubernetes.io",
        "k8s.io",
        "k8s.io/y",
        "foo.k8s.io/y",
        "foo.kubernetes.io/y",
        "K8S.IO/z",
        "Kubernetes.Io/fsType",
        "a.b.kubernetes.io",
        ".kubernetes.io/x",
        "kubernetes.io/",
        "kubernetes.io/secret/password",
        "\u{212a}ubernetes.io/kelvin",
    ];
    for key in reserved {
        let error = UserOptions::parse(map(&[("fine", "1"), (key, "x")])).unwrap_err();
        assert_eq!(error.key, key);
        let json = serde_json::to_string(&map(&[(key, "x")])).unwrap();
        assert!(serde_json::from_str::<UserOptions>(&json).is_err(), "{key:?}");
    }
    let free = [
        "mykubernetes.io/x",
        "kubernetes.io.example/x",
        "kubernetesXio/x",
        "x/kubernetes.io",
        "/kubernetes.io",
        "kubernetes.io ",
        "myk8s.io",
        "k8s",
        "io",
        "",
        "flexvol/name",
    ];
    for key in free {
        assert_eq!(UserOptions::parse(map(&[(key, "kubernetes.io/x")])).unwrap().get(key), Some("kubernetes.io/x"));
    }
}

#[test]
fn h_50_three_keys_are_always_there_in_byte_order_with_gos_escapes() {
    let options = Options::compose(&host(), None, &UserOptions::default());
    assert_eq!(
        *options.render(),
        r#"{"kubernetes.io/fsType":"","kubernetes.io/pvOrVolumeName":"data","kubernetes.io/readwrite":"ro"}"#
    );
    assert_eq!((options.fs_type(), options.read_only(), options.volume_name()), ("", true, "data"));
    assert_eq!((options.pod_uid(), options.fs_group()), (None, None));
    // Upper case before lower case, and what a user may add stands among them.
    let user = UserOptions::parse(map(&[("z", "<a>"), ("Z", "b & \u{2028}"), ("a", "")])).unwrap();
    assert_eq!(
        *Options::compose(&host(), None, &user).render(),
        concat!(
            r#"{"Z":"b \u0026 \u2028","a":"","kubernetes.io/fsType":"","kubernetes.io/pvOrVolumeName":"data","#,
            r#""kubernetes.io/readwrite":"ro","z":"\u003ca\u003e"}"#
        )
    );
}

#[test]
fn mount_has_the_keys_of_the_pod_and_secrets() {
    let user = UserOptions::parse(map(&[("size", "1Gi"), ("Size", "<>&")])).unwrap();
    let secrets: Secrets = [("password".to_owned(), Secret::new(b"pass".to_vec()))].into_iter().collect();
    let options = Options::compose(&host(), Some(&pod(Some(2000))), &user).with_secrets(secrets);
    assert_eq!(
        *options.render(),
        concat!(
            r#"{"Size":"\u003c\u003e\u0026","kubernetes.io/fsGroup":"2000","kubernetes.io/fsType":"","#,
            r#""kubernetes.io/mounterArgs.FsGroup":"2000","kubernetes.io/pod.name":"web","#,
            r#""kubernetes.io/pod.namespace":"shop","kubernetes.io/pod.uid":"u-1","#,
            r#""kubernetes.io/pvOrVolumeName":"data","kubernetes.io/readwrite":"ro","#,
            r#""kubernetes.io/secret/password":"cGFzcw==","kubernetes.io/serviceAccount.name":"sa","size":"1Gi"}"#
        )
    );
    let read = Options::parse(&options.render()).unwrap();
    assert!(read == options);
    assert_eq!(read.secrets().get("password").unwrap().expose(), b"pass");
    assert_eq!(read.get("kubernetes.io/secret/password"), None);
    assert_eq!((read.pod_name(), read.pod_namespace(), read.pod_uid()), (Some("web"), Some("shop"), Some("u-1")));
    assert_eq!((read.service_account(), read.fs_group()), (Some("sa"), Some(2000)));

    let without = Options::compose(&host(), Some(&pod(None)), &user);
    assert!(!without.render().to_lowercase().contains("fsgroup"));
}

#[test]
fn either_spelling_of_the_group_is_read() {
    for key in [keys::FS_GROUP, keys::FS_GROUP_ARGS] {
        let group = |value: &str| {
            let mut options = Options::default();
            options.insert(key, value);
            options.fs_group()
        };
        assert_eq!(group("0"), Some(0));
        assert_eq!(group("4294967295"), Some(u32::MAX));
        assert_eq!(group("-1"), None);
        assert_eq!(group("x"), None);
    }
}

#[test]
fn only_flat_strings_are_options() {
    let table = [
        ("", "the options are no JSON: it breaks off after 0 bytes"),
        ("{\"a\":\"b\"", "breaks off after 8 bytes"),
        ("{\"a\":\"b\"}x", "byte 9 of 10 cannot stand there"),
        ("{\"a\":\"\n\"}", "byte 6 of 9 cannot stand there"),
        ("[]", "the options are an array; they must be one flat object"),
        ("null", "the options are null"),
        ("\"{}\"", "the options are a string"),
        ("{\"a\":1}", "the option \"a\" is a number"),
        ("{\"a\":true}", "the option \"a\" is true or false"),
        ("{\"a\":null}", "the option \"a\" is null"),
        ("{\"ok\":\"1\",\"a\":{\"b\":\"c\"}}", "the option \"a\" is an object"),
        ("{\"a\":[\"b\"]}", "the option \"a\" is an array"),
        ("{\"kubernetes.io/secret/k\":\"a\"}", "the secret \"kubernetes.io/secret/k\" is no standard padded base64"),
        ("{\"kubernetes.io/secret/k\":\"_-8=\"}", "is no standard padded base64"),
    ];
    for (text, wanted) in table {
        let error = Options::parse(text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    let read = Options::parse(" {\"a\" : \"1\", \"A\":\"2\", \"a\":\"\\ud800\\u00e9\"}\n").unwrap();
    assert_eq!(read.iter().collect::<Vec<_>>(), [("A", "2"), ("a", "\u{fffd}é")]);
}
