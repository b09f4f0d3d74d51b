//! What becomes of each key of CSI's maps: passed on, kept apart, dropped or refused.

use tonic::Code;

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn id(id: &str) -> Id {
    Id::parse(id).unwrap()
}

fn plain(options: &UserOptions) -> Vec<(&str, &str)> {
    options.iter().collect()
}

/// Keys that nobody but the host may write, in the spellings that Kubernetes compares.
const RESERVED: [&str; 8] = [
    "kubernetes.io/fsType",
    "kubernetes.io/secret/x",
    "k8s.io",
    "sub.k8s.io/x",
    "KUBERNETES.io/x",
    "storage.kubernetes.io/other",
    "flexvol/id",
    "Flexvol/onlyReader",
];

#[test]
fn parameters_are_options_without_what_sidecars_add() {
    let given = map(&[
        ("pool", "fast"),
        ("csi.storage.k8s.io/fstype", "xfs"),
        ("csi.storage.k8s.io/pvc/name", "claim"),
        ("csi.storage.k8s.io/pvc/namespace", "team"),
        ("csi.storage.k8s.io/pv/name", "pvc-1"),
    ]);
    let got = parameters("parameters", &given).unwrap();
    assert_eq!(plain(&got.options), [("pool", "fast")]);
    assert_eq!(got.fs_type.as_deref(), Some("xfs"));
    assert_eq!(parameters("parameters", &map(&[("csi.storage.k8s.io/fstype", "")])).unwrap(), Parameters::default());
    for key in RESERVED {
        let status = parameters("parameters", &map(&[("pool", "fast"), (key, "x")])).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{key}");
        assert!(status.message().contains(key), "{status}");
    }
    assert!(parameters("parameters", &map(&[("pool", &"x".repeat(4096))])).is_err());
}

#[test]
fn what_can_be_changed_obeys_the_same_rules_and_has_names() {
    let given = map(&[("speed", "fast"), ("tier", ""), ("csi.storage.k8s.io/pvc/name", "claim")]);
    assert_eq!(plain(&mutable(&given).unwrap()), [("speed", "fast"), ("tier", "")]);
    let odd = ["", ",", "a,b", "csi.storage.k8s.io/fstype"];
    for key in RESERVED.into_iter().chain(odd) {
        let status = mutable(&map(&[("speed", "fast"), (key, "xfs")])).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{key}");
        assert!(status.message().contains("mutable_parameters") && !status.message().contains("xfs"), "{status}");
    }
    assert!(mutable(&map(&[("speed", &"x".repeat(4096))])).is_err());
}

#[test]
fn what_the_driver_said_comes_back_with_the_id() {
    let created = Created { id: id("vg/v1"), bytes: None, options: map(&[("pool", "fast"), ("volumeID", "v1")]) };
    let mut context = made(Rpc::CreateVolume, &created, None).unwrap();
    assert_eq!(context, created.options);
    context.insert(PROVISIONER.to_owned(), "1-2-lvm.example.com".to_owned());
    let got = of(&created.id, &context).unwrap();
    assert_eq!(plain(&got.options), [("flexvol/id", "vg/v1"), ("pool", "fast"), ("volumeID", "v1")]);
    assert_eq!((got.pod, got.is_inline), (None, false));
    assert_eq!(plain(&of(&id("vg/v2"), &map(&[])).unwrap().options), [("flexvol/id", "vg/v2")], "written by hand");
}

#[test]
fn a_driver_that_writes_the_hosts_keys_is_at_fault() {
    for key in RESERVED.into_iter().chain([PROVISIONER, "csi.storage.k8s.io/pod.name"]) {
        let created = Created { id: id("v"), bytes: None, options: map(&[(key, "x")]) };
        assert_eq!(
            made(Rpc::ListVolumes(status::Page::First), &created, None).unwrap_err().code(),
            Code::Internal,
            "{key}"
        );
        assert_eq!(made(Rpc::CreateVolume, &created, None).unwrap_err().code(), Code::Unavailable, "{key}");
    }
    let long = Created { id: id("v"), bytes: None, options: map(&[("k", &"x".repeat(4096))]) };
    assert!(made(Rpc::CreateVolume, &long, None).is_err());
}

const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";

#[test]
fn stage_and_publish_make_the_same_options_and_no_token_gets_anywhere() {
    let stage = map(&[("pool", "fast")]);
    let mut publish = stage.clone();
    publish.extend(map(&[
        ("csi.storage.k8s.io/pod.name", "web-0"),
        ("csi.storage.k8s.io/pod.namespace", "team"),
        ("csi.storage.k8s.io/pod.uid", "1b4e28ba-2fa1-11d2-883f-0016d3cca427"),
        ("csi.storage.k8s.io/serviceAccount.name", "robot"),
        ("csi.storage.k8s.io/ephemeral", "false"),
        ("csi.storage.k8s.io/of.later.days", "x"),
        (TOKENS, &"t0ken".repeat(2000)),
    ]));
    let (staged, published) = (of(&id("v"), &stage).unwrap(), of(&id("v"), &publish).unwrap());
    assert_eq!(staged.options, published.options);
    assert_eq!(staged.pod, None);
    let pod = published.pod.clone().unwrap();
    assert_eq!(
        (pod.name.as_str(), pod.namespace.as_str(), pod.uid.as_str(), pod.service_account.as_str()),
        ("web-0", "team", "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "robot")
    );
    assert!(!format!("{published:?}").contains("t0ken"));
}

#[test]
fn a_context_that_makes_no_sense_is_refused() {
    for key in RESERVED {
        let status = of(&id("v"), &map(&[(key, "x")])).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{key}");
    }
    let pod = [("pod.name", "web-0"), ("pod.namespace", "team"), ("pod.uid", "u-1")];
    for (key, value) in [("pod.name", ""), ("pod.name", "../x"), ("pod.namespace", ""), ("pod.uid", "a/b")] {
        let mut given: BTreeMap<String, String> =
            pod.iter().map(|(key, value)| (format!("{KUBERNETES}{key}"), (*value).to_owned())).collect();
        assert!(of(&id("v"), &given).is_ok());
        given.insert(format!("{KUBERNETES}{key}"), value.to_owned());
        assert_eq!(of(&id("v"), &given).unwrap_err().code(), Code::InvalidArgument, "{key} {value:?}");
    }
    assert!(of(&id("v"), &map(&[("k", &"x".repeat(4095))])).is_ok());
    assert!(of(&id("v"), &map(&[("k", &"x".repeat(4096))])).is_err());
}

#[test]
fn pods_write_volumes_down_only_where_and_how_they_may() {
    let given = map(&[("csi.storage.k8s.io/ephemeral", "true"), ("size", "1Gi")]);
    let inline = of(&id("csi-0a1b"), &given).unwrap();
    assert_eq!(plain(&inline.options), [("size", "1Gi")]);
    let persistent = of(&id("v"), &map(&[("size", "1Gi")])).unwrap();
    let allowed = |keys: &[&str]| Inline::Allowed(keys.iter().map(|key| (*key).to_owned()).collect());
    for (rule, inline_may) in [(Inline::Off, false), (allowed(&[]), false), (allowed(&["mode", "size"]), true)] {
        assert_eq!(rule.admit(&inline).is_ok(), inline_may, "{rule:?}");
        assert!(rule.admit(&persistent).is_ok(), "{rule:?}");
    }
    assert_eq!(Inline::default().admit(&inline).unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn the_device_travels_from_the_controller_to_the_node() {
    for text in ["/dev/sdx", ""] {
        let device_there = Device(text.to_owned());
        assert_eq!(device(&attached(&device_there)).unwrap(), Some(device_there));
    }
    assert_eq!(device(&map(&[("other", "x")])).unwrap(), None);
    assert!(device(&map(&[("device", &"x".repeat(4096))])).is_err());
}

#[test]
fn secrets_are_taken_over_and_tokens_are_not() {
    let got = secrets(map(&[("user", "bob"), ("pass_word.1-2", "hunter2"), (TOKENS, "t0ken")])).unwrap();
    let pairs: Vec<_> = got.iter().map(|(key, secret)| (key, secret.expose().to_vec())).collect();
    assert_eq!(pairs, [("pass_word.1-2", b"hunter2".to_vec()), ("user", b"bob".to_vec())]);
    for key in ["", "a/b", "a b", "ä", "a\0"] {
        let status = secrets(map(&[(key, "hunter2")])).err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{key:?}");
        assert!(!status.message().contains("hunter2"), "{status}");
    }
}
