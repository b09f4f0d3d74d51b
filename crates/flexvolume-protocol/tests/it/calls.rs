//! Every call rendered and read back, by both roads; argv exactly as the contract has it.

use flexvolume_protocol::*;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn options() -> impl Strategy<Value = Options> {
    let secrets = btree_map(any::<String>(), vec(any::<u8>(), 0..40), 0..4);
    (btree_map(any::<String>(), any::<String>(), 0..6), secrets).prop_map(|(plain, secrets)| {
        let mut options = Options::default();
        for (key, value) in plain.into_iter().filter(|(key, _)| !key.starts_with(keys::SECRET_PREFIX)) {
            options.insert(key, value);
        }
        options.with_secrets(secrets.into_iter().map(|(key, value)| (key, Secret::new(value))).collect())
    })
}

fn dir() -> impl Strategy<Value = Dir> {
    "/[^\\x00]{0,40}".prop_filter_map("a directory below the root", |path| Dir::parse(&path).ok())
}

fn device() -> impl Strategy<Value = Device> {
    prop_oneof![Just(String::new()), any::<String>()].prop_map(Device)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    any::<u64>().prop_map(Bytes)
}

/// Any call. The match makes the compiler ask for a new arm when the contract grows.
fn call() -> impl Strategy<Value = Call> {
    proptest::sample::select(VerbName::ALL).prop_flat_map(|verb| {
        let (o, s) = (options, any::<String>);
        match verb {
            VerbName::Init => Just(Call::Init(Init {})).boxed(),
            VerbName::GetVolumeName => o().prop_map(|options| GetVolumeName { options }.into()).boxed(),
            VerbName::Attach => (o(), s()).prop_map(|(options, node)| Attach { options, node }.into()).boxed(),
            VerbName::IsAttached => (o(), s()).prop_map(|(options, node)| IsAttached { options, node }.into()).boxed(),
            VerbName::WaitForAttach => {
                (device(), o()).prop_map(|(device, options)| WaitForAttach { device, options }.into()).boxed()
            }
            VerbName::MountDevice => (dir(), device(), o())
                .prop_map(|(dir, device, options)| MountDevice { dir, device, options }.into())
                .boxed(),
            VerbName::Mount => (dir(), o()).prop_map(|(dir, options)| Mount { dir, options }.into()).boxed(),
            VerbName::Unmount => dir().prop_map(|dir| Unmount { dir }.into()).boxed(),
            VerbName::UnmountDevice => dir().prop_map(|dir| UnmountDevice { dir }.into()).boxed(),
            VerbName::Detach => (s(), s()).prop_map(|(name, node)| Detach { name, node }.into()).boxed(),
            VerbName::ExpandVolume => (o(), dir(), bytes(), bytes())
                .prop_map(|(options, dir, new, old)| ExpandVolume { options, dir, new, old }.into())
                .boxed(),
            VerbName::ExpandFs => (o(), device(), dir(), bytes(), bytes())
                .prop_map(|(options, device, dir, new, old)| ExpandFs { options, device, dir, new, old }.into())
                .boxed(),
            VerbName::CreateVolume => o().prop_map(|options| CreateVolume { options }.into()).boxed(),
            VerbName::DeleteVolume => o().prop_map(|options| DeleteVolume { options }.into()).boxed(),
            VerbName::CreateSnapshot => o().prop_map(|options| CreateSnapshot { options }.into()).boxed(),
            VerbName::DeleteSnapshot => o().prop_map(|options| DeleteSnapshot { options }.into()).boxed(),
            VerbName::ListSnapshots => o().prop_map(|options| ListSnapshots { options }.into()).boxed(),
            VerbName::GetCapacity => o().prop_map(|options| GetCapacity { options }.into()).boxed(),
            VerbName::ListVolumes => o().prop_map(|options| ListVolumes { options }.into()).boxed(),
            VerbName::GetHealth => o().prop_map(|options| GetHealth { options }.into()).boxed(),
            VerbName::ModifyVolume => o().prop_map(|options| ModifyVolume { options }.into()).boxed(),
        }
    })
}

proptest! {
    #[test]
    fn every_call_comes_back(call in call(), by_stdin: bool) {
        let wire = call.render(by_stdin);
        prop_assert_eq!(wire.argv[0].as_str(), call.verb().as_str());
        prop_assert_eq!(wire.stdin.is_some(), by_stdin && call.verb().has_options());
        prop_assert_eq!(call.options().is_some(), call.verb().has_options());
        prop_assert_eq!(wire.argv.len() - 1, call.verb().arguments().len());
        let stdin = wire.stdin.as_ref().map_or("", |text| text.as_str());
        let read = Call::parse(&wire.argv[0], &mut Args::new(&wire.argv[1..], stdin)).unwrap().unwrap();
        // Compared apart: a failing test would print the secrets of one only as their number.
        prop_assert!(read == call, "{read:?} is not {call:?}");
    }

    #[test]
    fn by_stdin_no_secret_is_in_argv(secret in "[a-z]{12}", verb in proptest::sample::select(VerbName::ALL)) {
        let mut options = Options::default();
        options.insert(format!("{}k", keys::SECRET_PREFIX), secret.clone());
        let arguments: Vec<String> = verb.arguments().iter().map(|argument| match *argument {
            "options" => options.render().to_string(),
            "dir" => "/d".to_owned(),
            "new" | "old" => "1".to_owned(),
            _ => "x".to_owned(),
        }).collect();
        let call = Call::parse(verb.as_str(), &mut Args::new(&arguments, "")).unwrap().unwrap();
        let secrets: Secrets = [("k".to_owned(), Secret::new(secret.into_bytes()))].into_iter().collect();
        let redactor = Redactor::new(&secrets);
        for argument in call.render(true).argv {
            prop_assert_eq!(redactor.text(&argument), argument.as_str());
        }
        let debug = format!("{call:?}");
        prop_assert_eq!(redactor.text(&debug), debug);
    }

    #[test]
    fn parsing_never_panics(
        verb in proptest::sample::select(VerbName::ALL), arguments in vec(prop_oneof![any::<String>(), "[{}\"\\\\:,a-]{0,12}"], 0..7), stdin: String
    ) {
        if let Err(error) = Call::parse(verb.as_str(), &mut Args::new(&arguments, &stdin)) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

fn composed() -> Options {
    let host = HostKeys { fs_type: "ext4".to_owned(), read_only: false, name: "pv1".to_owned() };
    let user = UserOptions::parse([("volumeID".to_owned(), "a<b".to_owned())].into()).unwrap();
    Options::compose(&host, None, &user)
}

#[test]
fn h_20_argv_is_that_of_the_contract_for_every_call() {
    let json = r#"{"kubernetes.io/fsType":"ext4","kubernetes.io/pvOrVolumeName":"pv1","kubernetes.io/readwrite":"rw","volumeID":"a\u003cb"}"#;
    let o = composed;
    let text = |text: &str| text.to_owned();
    let dir = || Dir::parse("/d").unwrap();
    let device = || Device(text("/dev/x"));
    let (new, old) = (Bytes(2048), Bytes(1024));
    let table: Vec<(Call, Vec<&str>)> = vec![
        (Init {}.into(), vec!["init"]),
        (GetVolumeName { options: o() }.into(), vec!["getvolumename", json]),
        (Attach { options: o(), node: text("n1") }.into(), vec!["attach", json, "n1"]),
        (IsAttached { options: o(), node: text("n1") }.into(), vec!["isattached", json, "n1"]),
        (WaitForAttach { device: Device::default(), options: o() }.into(), vec!["waitforattach", "", json]),
        (MountDevice { dir: dir(), device: device(), options: o() }.into(), vec!["mountdevice", "/d", "/dev/x", json]),
        (Mount { dir: dir(), options: o() }.into(), vec!["mount", "/d", json]),
        (Unmount { dir: dir() }.into(), vec!["unmount", "/d"]),
        (UnmountDevice { dir: dir() }.into(), vec!["unmountdevice", "/d"]),
        (Detach { name: text("pv1"), node: text("n1") }.into(), vec!["detach", "pv1", "n1"]),
        (ExpandVolume { options: o(), dir: dir(), new, old }.into(), vec!["expandvolume", json, "/d", "2048", "1024"]),
        (
            ExpandFs { options: o(), device: device(), dir: dir(), new, old }.into(),
            vec!["expandfs", json, "/dev/x", "/d", "2048", "1024"],
        ),
        (CreateVolume { options: o() }.into(), vec!["createvolume", json]),
        (DeleteVolume { options: o() }.into(), vec!["deletevolume", json]),
        (CreateSnapshot { options: o() }.into(), vec!["createsnapshot", json]),
        (DeleteSnapshot { options: o() }.into(), vec!["deletesnapshot", json]),
        (ListSnapshots { options: o() }.into(), vec!["listsnapshots", json]),
        (GetCapacity { options: o() }.into(), vec!["getcapacity", json]),
        (ListVolumes { options: o() }.into(), vec!["listvolumes", json]),
        (GetHealth { options: o() }.into(), vec!["gethealth", json]),
        (ModifyVolume { options: o() }.into(), vec!["modifyvolume", json]),
    ];
    assert_eq!(table.iter().map(|(call, _)| call.verb()).collect::<Vec<_>>(), VerbName::ALL);
    for (call, argv) in table {
        let wire = call.render(false);
        assert_eq!(wire.argv.iter().map(|argument| argument.as_str()).collect::<Vec<_>>(), argv);
        assert!(wire.stdin.is_none());
        let wire = call.render(true);
        let dashed: Vec<&str> =
            argv.into_iter().map(|argument| if argument == json { "-" } else { argument }).collect();
        assert_eq!(wire.argv.iter().map(|argument| argument.as_str()).collect::<Vec<_>>(), dashed);
        assert_eq!(wire.stdin.map(|text| text.to_string()), call.verb().has_options().then(|| json.to_owned()));
    }
}

#[test]
fn bad_arguments_say_which() {
    let table: &[(&[&str], &str)] = &[
        (&["mount"], "mount was called without its dir (argument 1); the call is `mount DIR OPTIONS`"),
        (&["mount", "/d"], "mount was called without its options (argument 2); the call is `mount DIR OPTIONS`"),
        (&["mount", "/d", "{}", "x"], "mount was called with 3 arguments; the call is `mount DIR OPTIONS`"),
        (&["init", "x"], "init was called with 1 arguments; the call is `init`"),
        (&["mount", "d", "{}"], "mount was called with a bad dir (argument 1): it must be an absolute path"),
        (&["unmount", ""], "unmount was called with a bad dir (argument 1): it must be an absolute path"),
        (
            &["expandfs", "{}", "", "/d", "+1", "0"],
            "expandfs was called with a bad new (argument 4): it is no decimal number of bytes",
        ),
        (
            &["expandfs", "{}", "", "/d", "1", "18446744073709551616"],
            "expandfs was called with a bad old (argument 5): it is no decimal number of bytes",
        ),
        (
            &["attach", "{", "n"],
            "attach was called with a bad options (argument 1): the options are no JSON: it breaks off after 1 bytes; they must be one flat object of strings",
        ),
        (
            &["attach", "-", "n"],
            "attach was called with a bad options (argument 1): the options are no JSON: it breaks off after 0 bytes; they must be one flat object of strings",
        ),
        (
            &["attach", "{\"a\":1}", "n"],
            "attach was called with a bad options (argument 1): the option \"a\" is a number; every value must be a string, write it in quotes",
        ),
    ];
    for (argv, wanted) in table {
        let error = Call::parse(argv[0], &mut Args::new(&argv[1..], "")).unwrap_err();
        assert_eq!(error.to_string(), *wanted);
    }
    for unknown in ["umount", "", "Mount", "mount ", "waitfordetach"] {
        assert_eq!(Call::parse(unknown, &mut Args::new(&["x"], "")), Ok(None), "{unknown:?}");
    }
}

#[test]
fn words_round_trip() {
    for verb in VerbName::ALL {
        assert_eq!(VerbName::parse(verb.as_str()), Some(*verb));
        let json = serde_json::to_string(verb).unwrap();
        assert_eq!(
            (json.as_str(), serde_json::from_str::<VerbName>(&json).unwrap()),
            (format!("\"{verb}\"").as_str(), *verb)
        );
    }
    for extension in Extension::ALL {
        assert_eq!(Extension::parse(extension.as_str()), Some(extension));
        assert_eq!(serde_json::to_string(&extension).unwrap(), format!("\"{extension}\""));
    }
    for condition in Condition::ALL {
        assert_eq!(Condition::parse(condition.as_str()), Some(condition));
        assert_eq!(serde_json::to_string(&condition).unwrap(), format!("\"{}\"", condition.as_str()));
    }
    for code in Code::ALL {
        assert_eq!(Code::parse(code.as_str()), Some(code));
        assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{}\"", code.as_str()));
    }
}

/// The calls of each extension; one without calls is a property.
#[test]
fn every_extension_is_served_by_its_calls() {
    let served = |extension: Extension| -> Vec<&str> {
        let verbs = VerbName::ALL.iter().filter(|verb| verb.extension() == Some(extension));
        verbs.map(|verb| verb.as_str()).collect()
    };
    let table: [(Extension, &[&str]); 12] = [
        (Extension::Staged, &[]),
        (Extension::Local, &[]),
        (Extension::Stdin, &[]),
        (Extension::Block, &[]),
        (Extension::Provision, &["createvolume", "deletevolume"]),
        (Extension::Expand, &["expandvolume"]),
        (Extension::Snapshot, &["createsnapshot", "deletesnapshot", "listsnapshots"]),
        (Extension::Clone, &[]),
        (Extension::Capacity, &["getcapacity"]),
        (Extension::List, &["listvolumes"]),
        (Extension::Health, &["gethealth"]),
        (Extension::Modify, &["modifyvolume"]),
    ];
    assert_eq!(table.map(|(extension, _)| extension), Extension::ALL);
    for (extension, verbs) in table {
        assert_eq!(served(extension), verbs, "{extension}");
    }
    let of_kubernetes = VerbName::ALL.iter().filter(|verb| verb.extension().is_none()).count();
    assert_eq!(of_kubernetes, 11, "the twelve of Kubernetes but expandvolume, which it never calls");
    for verb in VerbName::ALL.iter().filter(|verb| verb.extension().is_some()) {
        assert!(verb.has_options(), "{verb}: what an extension asks is in the options");
    }
}
