//! One line of JSON on every path: defaults, bad arguments, panics, standard input.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use flexvolume::{
    Answered, Attach, Attached, Capabilities, CreateVolume, Created, Detach, Device, Dispatcher, Driver, ExpandVolume,
    Expanded, Extension, Failure, Init, IsAttached, Mount, OptionsExt, Result, Unmount, VerbName, World, keys,
};
use flexvolume_protocol::{Answer, Came, Code, Failed, InitReply, Said, Verdict, strict};

struct Idle;
impl Driver for Idle {}

/// Provisions, and answers by the volume's name.
struct Talker;
impl Driver for Talker {
    const EXTENSIONS: &'static [Extension] = &[Extension::Provision];

    fn capabilities(&self) -> Capabilities {
        Capabilities { attach: false, supports_metrics: true, ..Capabilities::default() }
    }

    fn init(&self, _: &Init, world: &World) -> Result<()> {
        world.log("init");
        Ok(())
    }

    fn attach(&self, call: &Attach, _: &World) -> Result<Device> {
        Ok(Device(format!("/dev/{}@{}", call.options.volume_name(), call.node)))
    }

    fn isattached(&self, _: &IsAttached, _: &World) -> Result<Attached> {
        Ok(Attached(true))
    }

    fn mount(&self, call: &Mount, world: &World) -> Result<()> {
        let secret = String::from_utf8_lossy(call.options.secrets().get("password").unwrap().expose()).into_owned();
        world.log(format_args!("the password is {secret}"));
        Err(Failure::new(Code::Permission, format!("{secret} is wrong for {}", call.dir)))
    }

    fn unmount(&self, call: &Unmount, _: &World) -> Result<()> {
        panic!("no idea about {}", call.dir)
    }

    fn detach(&self, _: &Detach, _: &World) -> Result<()> {
        Err(Failure::in_progress())
    }

    fn createvolume(&self, call: &CreateVolume, _: &World) -> Result<Created> {
        Ok(Created { id: call.options.required(keys::NAME)?, bytes: None, options: [].into() })
    }

    fn expandvolume(&self, _: &ExpandVolume, _: &World) -> Result<Expanded> {
        Err(Failure::in_progress())
    }
}

/// Read as Kubernetes reads it.
fn read<R: Answer>(verb: VerbName, answered: &Answered) -> std::result::Result<Came<R>, Verdict> {
    let said = Said { stdout: answered.text.as_bytes(), stderr: b"", exit_ok: answered.success };
    strict(verb, &said)
}

fn failed(verb: VerbName, answered: &Answered) -> Failed {
    assert!(!answered.success, "{answered:?}");
    match read::<()>(verb, answered) {
        Err(Verdict::Failed(failed)) => failed,
        other => panic!("{other:?} is no plain failure: {}", answered.text),
    }
}

fn call(argv: &[&str]) -> Dispatcher {
    Dispatcher::new(["/exec/v~talker/talker"].iter().chain(argv))
}

/// Arguments that fit each verb.
fn fitting(verb: VerbName) -> Vec<&'static str> {
    let of = |name: &&str| match *name {
        "options" => "{}",
        "dir" => "/d",
        "new" => "2",
        "old" => "1",
        _ => "x",
    };
    std::iter::once(verb.as_str()).chain(verb.arguments().iter().map(of)).collect()
}

#[test]
fn what_is_not_implemented_is_not_supported_with_exit_code_0() {
    for verb in VerbName::ALL.iter().copied().filter(|verb| *verb != VerbName::Init) {
        let answered = call(&fitting(verb)).dispatch(&Idle);
        assert_eq!(read::<()>(verb, &answered), Ok(Came::NotSupported), "{verb}");
        assert_eq!(answered.text, r#"{"status":"Not supported"}"#);
    }
    for unknown in ["umount", "INIT", "", "modifyvolumes"] {
        let answered = call(&[unknown, "{", "?"]).dispatch(&Idle);
        assert!(answered.success && answered.text.contains("Not supported"), "{unknown}");
    }
}

#[test]
fn init_tells_capabilities_and_extensions() {
    let Ok(Came::Done(reply)) = read::<InitReply>(VerbName::Init, &call(&["init"]).dispatch(&Talker)) else { panic!() };
    assert!(!reply.capabilities.attach && reply.capabilities.supports_metrics && reply.capabilities.fs_group);
    assert_eq!(reply.extensions.into_iter().collect::<Vec<_>>(), [Extension::Stdin, Extension::Provision]);
    let Ok(Came::Done(reply)) = read::<InitReply>(VerbName::Init, &call(&["init"]).dispatch(&Idle)) else { panic!() };
    assert_eq!(reply, InitReply { extensions: [Extension::Stdin].into(), ..InitReply::default() });
}

#[test]
fn replies_carry_what_they_should() {
    let answered = call(&["attach", r#"{"kubernetes.io/pvOrVolumeName":"pv"}"#, "n1"]).dispatch(&Talker);
    assert_eq!(read(VerbName::Attach, &answered), Ok(Came::Done(Device("/dev/pv@n1".into()))));
    let answered = call(&["isattached", "{}", "n1"]).dispatch(&Talker);
    assert_eq!(read(VerbName::IsAttached, &answered), Ok(Came::Done(Attached(true))));
    let answered = call(&["createvolume", r#"{"flexvol/name":"v7"}"#]).dispatch(&Talker);
    let Ok(Came::Done(made)) = read::<Created>(VerbName::CreateVolume, &answered) else { panic!("{answered:?}") };
    assert_eq!(made.id.as_str(), "v7");
    let no_id = call(&["createvolume", r#"{"flexvol/name":"/v7"}"#]).dispatch(&Talker);
    let failed = failed(VerbName::CreateVolume, &no_id);
    assert!(failed.code == Some(Code::Invalid) && failed.message.contains("1 to 128 bytes"), "{failed:?}");
}

#[test]
fn wrong_arguments_are_a_failure_that_names_them() {
    for verb in VerbName::ALL.iter().copied() {
        let mut argv = fitting(verb);
        if argv.len() > 1 {
            let failed = failed(verb, &call(&argv[..argv.len() - 1]).dispatch(&Talker));
            assert_eq!(failed.code, Some(Code::Invalid), "{verb}");
            assert!(failed.message.contains(verb.as_str()), "{}", failed.message);
        }
        argv.push("more");
        assert_eq!(failed(verb, &call(&argv).dispatch(&Talker)).code, Some(Code::Invalid), "{verb}");
    }
    let rows: [(&[&str], &str); 5] = [
        (&[], "verb"),
        (&["mount", "relative", "{}"], "dir"),
        (&["mount", "/d", "{\"a\":1}"], "\"a\""),
        (&["mount", "/d", "nonsense"], "no JSON"),
        (&["expandvolume", "{}", "/d", "-1", "0"], "new"),
    ];
    for (argv, word) in rows {
        let failed = failed(VerbName::Mount, &call(argv).dispatch(&Talker));
        assert!(failed.message.contains(word), "{argv:?}: {}", failed.message);
    }
    assert_eq!(failed(VerbName::Init, &Dispatcher::new::<OsString>([]).dispatch(&Talker)).code, Some(Code::Invalid));
}

#[test]
fn arguments_that_are_not_utf_8_are_counted_out() {
    let bad = OsString::from_vec(vec![b'/', 0xff]);
    let mut call = call(&["mount"]);
    call.argv.extend([bad.clone(), "{}".into()]);
    assert_eq!(failed(VerbName::Mount, &call.dispatch(&Talker)).message, "argument 1 of mount is not UTF-8");
    let odd = Dispatcher::new(["/x".into(), bad.clone()]).dispatch(&Talker);
    assert!(odd.success && odd.text.contains("Not supported"), "a verb nobody knows");
    assert!(Dispatcher::new([bad, "init".into()]).dispatch(&Talker).success);
}

#[test]
fn a_panic_is_a_failure_and_its_words_go_to_the_log() {
    let tmp = tempfile::tempdir().unwrap();
    let log = tmp.path().join("log");
    let settings = tmp.path().join("settings.json");
    std::fs::write(&settings, format!("{{\"log\":{log:?}}}")).unwrap();
    let answered = call(&["unmount", "/d"]).with_env("FLEXVOL_SETTINGS", &settings).dispatch(&Talker);
    let failed = failed(VerbName::Unmount, &answered);
    assert!(failed.message.contains("log") && !failed.message.contains("no idea"), "{}", failed.message);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("no idea about /d") && log.contains("unmount -> "), "{log}");
}

#[test]
fn no_secret_leaves_by_answer_or_log() {
    let tmp = tempfile::tempdir().unwrap();
    let log = tmp.path().join("log");
    let settings = tmp.path().join("v~talker.json");
    std::fs::write(settings, format!("{{\"log\":{log:?}}}")).unwrap();
    let json = r#"{"kubernetes.io/secret/password":"aHVudGVyMjI="}"#;
    let answered = call(&["mount", "/d", json]).with_env("FLEXVOL_SETTINGS", tmp.path()).dispatch(&Talker);
    let failed = failed(VerbName::Mount, &answered);
    assert_eq!((failed.message.as_str(), failed.code), ("[redacted] is wrong for /d", Some(Code::Permission)));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("the password is [redacted]") && !log.contains("hunter22"), "{log}");
}

#[test]
fn options_come_by_standard_input_when_asked_for() {
    let json = r#"{"kubernetes.io/pvOrVolumeName":"pv"}"#;
    let attached = |answered: &Answered| read::<Device>(VerbName::Attach, answered);
    let device = Ok(Came::Done(Device("/dev/pv@n".into())));
    assert_eq!(attached(&call(&["attach", "-", "n"]).with_stdin(json.as_bytes()).dispatch(&Talker)), device);
    // A stranger knows nothing of it: what is on standard input is not touched.
    assert_eq!(attached(&call(&["attach", json, "n"]).with_stdin(Untouchable).dispatch(&Talker)), device);
    // A node called "-" is not the options.
    let Ok(Came::Done(dash)) = attached(&call(&["attach", json, "-"]).with_stdin(Untouchable).dispatch(&Talker)) else {
        panic!()
    };
    assert_eq!(dash.0, "/dev/pv@-");
    failed(VerbName::Attach, &call(&["attach", "-", "n"]).with_stdin(&b"{\xff}"[..]).dispatch(&Talker));
    failed(VerbName::Attach, &call(&["attach", "-", "n"]).dispatch(&Talker));
    // The kit reads them there, whatever the driver knows of it.
    assert_eq!(
        attached(&call(&["attach", "-", "n"]).with_stdin(json.as_bytes()).dispatch(&Idle)),
        Ok(Came::NotSupported)
    );
    let endless = std::io::repeat(b' ');
    let failed = failed(VerbName::Attach, &call(&["attach", "-", "n"]).with_stdin(endless).dispatch(&Talker));
    assert!(failed.message.contains("16 MiB"), "{}", failed.message);
}

struct Untouchable;
impl std::io::Read for Untouchable {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        panic!("standard input was read")
    }
}

#[test]
fn in_progress_is_for_the_verbs_of_extensions_only() {
    let answered = call(&["expandvolume", "{}", "/d", "2", "1"]).dispatch(&Talker);
    assert_eq!(read::<Expanded>(VerbName::ExpandVolume, &answered), Ok(Came::InProgress));
    let failed = failed(VerbName::Detach, &call(&["detach", "pv", "n"]).dispatch(&Talker));
    assert_eq!(failed.code, Some(Code::Busy));
}
