//! The options JSON, byte for byte, for values that a manifest can hold and programs stumble over.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flexvolume_protocol::{HostKeys, Options, PodKeys, Secret, Secrets, UserOptions, keys};
use serde_json::{Value, json};

use super::{Known, Witness, assert_written, inline, install, persistent};
use crate::{bed::Bed, witness::recorder};

/// A volume as both hosts are told of it.
#[derive(Clone)]
pub(super) struct Volume {
    /// A PersistentVolume, whose claim says whether it is read-only; else inline.
    pub(super) persistent: bool,
    pub(super) name: &'static str,
    pub(super) fs_type: &'static str,
    pub(super) read_only: bool,
    pub(super) user: BTreeMap<String, String>,
    pub(super) secrets: Vec<(&'static str, Vec<u8>)>,
    pub(super) fs_group: Option<u32>,
    pub(super) account: &'static str,
}

/// The difference that is meant: both spellings of the group's key are sent.
const BOTH_SPELLINGS: Known =
    Known { name: "both spellings of the group's key", line: "**Both spellings of the group's key are sent**" };

impl Default for Volume {
    fn default() -> Self {
        Self {
            persistent: false,
            name: "data",
            fs_type: "",
            read_only: false,
            user: BTreeMap::new(),
            secrets: Vec::new(),
            fs_group: None,
            account: "default",
        }
    }
}

impl Volume {
    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        self.user.insert(key.to_owned(), value.to_owned());
        self
    }

    /// What the original is asked with, for the recording driver.
    pub(super) fn request(&self) -> Value {
        let mut source = json!({"driver": "v/d", "fsType": self.fs_type, "options": self.user});
        if !self.secrets.is_empty() {
            source["secretRef"] = json!({"name": "keys", "namespace": if self.persistent { "vault" } else { "" }});
        }
        let mut pod = super::pod("web");
        pod["spec"]["serviceAccountName"] = json!(self.account);
        if let Some(group) = self.fs_group {
            pod["spec"]["securityContext"] = json!({"fsGroup": group});
        }
        if self.persistent {
            // The volume's own flag has no effect.
            source["readOnly"] = json!(!self.read_only);
            json!({"persistentVolume": persistent(self.name, 1, source), "readOnly": self.read_only, "pod": pod})
        } else {
            source["readOnly"] = json!(self.read_only);
            json!({"volume": inline(self.name, source), "pod": pod})
        }
    }

    /// The Secret, where the original looks for it.
    pub(super) fn secret(&self) -> Value {
        let data: BTreeMap<_, _> = self.secrets.iter().map(|(key, raw)| (*key, STANDARD.encode(raw))).collect();
        let namespace = if self.persistent { "vault" } else { "default" };
        json!({"secret": {"metadata": {"name": "keys", "namespace": namespace}, "type": "v/d", "data": data}})
    }

    /// Our options for the calls about the node.
    pub(super) fn plain(&self) -> Options {
        self.compose(None)
    }

    /// Our options for `mount`.
    pub(super) fn of_pod(&self) -> Options {
        let pod = PodKeys {
            name: "web".to_owned(),
            namespace: "default".to_owned(),
            uid: "uid-web".to_owned(),
            service_account: self.account.to_owned(),
            fs_group: self.fs_group,
        };
        let secrets = self.secrets.iter().map(|(key, raw)| ((*key).to_owned(), Secret::new(raw.clone())));
        self.compose(Some(&pod)).with_secrets(secrets.collect::<Secrets>())
    }

    fn compose(&self, pod: Option<&PodKeys>) -> Options {
        let host = HostKeys { fs_type: self.fs_type.to_owned(), read_only: self.read_only, name: self.name.to_owned() };
        Options::compose(&host, pod, &UserOptions::parse(self.user.clone()).unwrap())
    }
}

/// Takes away what only we send, and insists that it was there.
pub(super) fn without_old_spelling(json: &str) -> String {
    let start = json.find(&format!("{:?}:", keys::FS_GROUP)).expect("no difference any more: one spelling is sent");
    let end = start + json[start..].find(',').unwrap() + 1;
    format!("{}{}", &json[..start], &json[end..])
}

/// Values and keys, each a stumbling block of its own.
fn hostile() -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        " ",
        "  two  blanks ",
        "\t",
        "\n",
        "\r\n",
        "a\nb\n",
        "\"",
        "\\",
        "\\\"",
        "\\n",
        "'",
        "`id`",
        "$HOME",
        "$(id)",
        "a;b|c&d",
        "<>&",
        "</script>",
        "\u{2028}",
        "\u{2029}",
        "\u{7f}",
        "\u{80}",
        "\u{a0}",
        "\u{ad}",
        "\u{feff}",
        "\u{202e}",
        "\u{fffd}",
        "\u{fffe}",
        "ü",
        "u\u{308}",
        "ß",
        "ſ",
        "K",
        "日本語",
        "😀",
        "👩‍👩‍👧",
        "\u{10ffff}",
        "%00",
        "%s%n",
        "-",
        "--",
        "-o",
        "*",
        "?",
        "[a]",
        "~",
        "#",
        "!",
        "{}",
        "{\"a\":1}",
        "[]",
        "null",
        "true",
        "0",
        "1e999",
        "a=b,c=d",
        "a:b",
        "/",
        "..",
        "../../etc",
        "\u{1}\u{1f}\u{8}\u{c}",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push("x".repeat(60_000));
    all.push("<\u{2028}\"".repeat(6_000));
    all
}

/// The volumes whose options are compared.
fn volumes() -> Vec<Volume> {
    let mut all = Vec::new();
    for persistent in [false, true] {
        for read_only in [false, true] {
            for fs_group in [None, Some(0), Some(4711), Some(2_147_483_647)] {
                let name = if persistent { "pv-1" } else { "data" };
                all.push(Volume { persistent, read_only, fs_group, name, ..Volume::default() });
            }
        }
    }
    for fs_type in ["ext4", "xfs", "a b", "\"", "ntfs<"] {
        all.push(Volume { fs_type, ..Volume::default() });
    }
    for account in ["", "builder", "a.b"] {
        all.push(Volume { account, ..Volume::default() });
    }
    for text in hostile() {
        all.push(Volume::default().with("value", &text));
        if text.len() < 100 {
            all.push(Volume { persistent: true, ..Volume::default() }.with(&text, "key"));
        }
    }
    let everything =
        hostile().iter().filter(|text| text.len() < 100).fold(Volume::default(), |all, text| all.with(text, text));
    all.push(everything);
    let order = [
        "b",
        "a",
        "B",
        "é",
        "z",
        "\u{e000}",
        "😀",
        "a/b",
        "a.b",
        "kubernetes",
        "kubernetes.iox",
        "mykubernetes.io/x",
        "l",
    ];
    all.push(order.iter().fold(Volume::default(), |all, key| all.with(key, "1")));
    let secrets: [&[(&'static str, &[u8])]; 7] = [
        &[("password", b"pass")],
        &[("empty", b"")],
        &[("line", b"a\n"), ("quote", b"\"'\\"), ("unicode", "ü\u{2028}".as_bytes())],
        &[("binary", &[0, 0xff, 0xfe, 0x80, 0])],
        &[("a", b"1"), ("ab", b"12"), ("abc", b"123"), ("abcd", b"1234")],
        &[("tls.crt", b"-"), ("tls_key-2", b"--")],
        &[("long", &[0xfb; 4096])],
    ];
    for secrets in secrets {
        for persistent in [false, true] {
            let secrets = secrets.iter().map(|(key, raw)| (*key, raw.to_vec())).collect();
            all.push(Volume { persistent, secrets, fs_group: Some(7), ..Volume::default() }.with("user", "ann"));
        }
    }
    all
}

#[test]
fn options_are_those_of_the_original_byte_for_byte() {
    assert_written(&[BOTH_SPELLINGS]);
    let Some(bed) = Bed::new() else { return };
    let Some(mut witness) = Witness::start(&bed) else { return };
    let driver = install(&bed, "v/d", recorder("none"));
    witness.found("v/d");
    let (mut compared, mut spelt) = (0, 0);
    for volume in volumes() {
        driver.forget().unwrap();
        witness.ok("secret", volume.secret());
        let mut request = volume.request();
        witness.ok("setup", request.clone());
        request["node"] = json!("node");
        witness.word("attach", request);
        let calls = driver.calls().unwrap();
        let argument = |verb: &str, at: usize| &calls.iter().find(|call| call.verb() == verb).unwrap().argv[at];
        let (mount, attach) = (volume.of_pod().render(), volume.plain().render());
        let mount = if volume.fs_group.is_some() {
            spelt += 1;
            without_old_spelling(&mount)
        } else {
            mount.to_string()
        };
        assert_eq!(&mount, argument("mount", 2));
        assert_eq!(&*attach, argument("attach", 1));
        compared += 2;
    }
    assert!(compared > 200 && spelt > 20, "{compared} options compared, {spelt} with a group");
}
