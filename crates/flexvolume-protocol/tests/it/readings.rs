//! The verdicts of both readings: the contract's table, and drivers as they really are.

use flexvolume_protocol::*;

fn said(text: &str, exit_ok: bool) -> Said<'_> {
    Said { stdout: text.as_bytes(), stderr: b"", exit_ok }
}

fn both(text: &str, exit_ok: bool) -> Result<Came<()>, Verdict> {
    let verdict = strict(VerbName::Mount, &said(text, exit_ok));
    assert_eq!(tolerant(VerbName::Mount, &said(text, exit_ok)).verdict, verdict, "one judge for both readings");
    verdict
}

fn read<R: Answer + std::fmt::Debug>(verb: VerbName, stdout: &str, stderr: &str) -> Reading<R> {
    tolerant(verb, &Said { stdout: stdout.as_bytes(), stderr: stderr.as_bytes(), exit_ok: true })
}

fn noise(stream: Stream, text: &str) -> Forgiven {
    Forgiven::Noise { stream, text: text.to_owned() }
}

fn device(device: &str) -> Result<Came<Device>, Verdict> {
    Ok(Came::Done(Device(device.to_owned())))
}

#[test]
fn the_decision_table() {
    let failed = |message: &str| Err(Verdict::Failed(Failed::new(message)));
    let odd = |status: &str, message: &str| {
        Err(Verdict::OddStatus { verb: VerbName::Mount, status: status.to_owned(), failed: Failed::new(message) })
    };
    assert_eq!(both(r#"{"status":"Success"}"#, true), Ok(Came::Done(())));
    assert_eq!(both(r#"{"status":"Not supported"}"#, true), Ok(Came::NotSupported));
    assert_eq!(both(r#"{"status":"Failure","message":"m"}"#, true), failed("m"));
    assert_eq!(both(r#"{"status":"Failed","message":"m"}"#, true), odd("Failed", "m"));
    assert_eq!(both("{}", true), odd("", ""));
    assert_eq!(both("null", true), odd("", ""));
    let status = "Success".to_owned();
    assert_eq!(both(r#"{"status":"Success"}"#, false), Err(Verdict::SuccessButExit { verb: VerbName::Mount, status }));
    assert_eq!(both(r#"{"status":"Not supported"}"#, false), Ok(Came::NotSupported));
    assert_eq!(both(r#"{"status":"Failure","message":"m"}"#, false), failed("m"));
    for exit_ok in [true, false] {
        for blank in ["", " \n"] {
            assert_eq!(both(blank, exit_ok), Err(Verdict::NoAnswer { verb: VerbName::Mount }));
        }
        for no_json in ["x", "Usage: mount", r#"{"status":"Success""#, "{'status':'Success'}"] {
            assert!(matches!(strict::<()>(VerbName::Mount, &said(no_json, exit_ok)), Err(Verdict::NotJson { .. })));
            assert!(matches!(
                tolerant::<()>(VerbName::Mount, &said(no_json, exit_ok)).verdict,
                Err(Verdict::NotJson { .. })
            ));
        }
    }
}

#[test]
fn h_30_only_the_exact_words_count() {
    for status in [
        "success",
        "SUCCESS",
        "Success ",
        "Not Supported",
        "not supported",
        "mount not supported",
        "Error",
        "Failed",
        "",
        "In progress",
    ] {
        let text = serde_json::json!({ "status": status }).to_string();
        assert!(matches!(both(&text, true), Err(Verdict::OddStatus { .. })), "{status:?}");
    }
    let hint = both(r#"{"status":"Not Supported"}"#, true).unwrap_err().hint().unwrap();
    assert!(hint.contains("\"Not supported\""), "{hint}");
}

#[test]
fn h_31_keys_in_other_letter_case_are_understood() {
    for text in [r#"{"STATUS":"Success","Device":"d"}"#, r#"{"Status":"Success","dEVICE":"d"}"#] {
        assert_eq!(strict(VerbName::Attach, &said(text, true)), device("d"), "{text}");
        assert_eq!(read::<Device>(VerbName::Attach, text, "").verdict, device("d"), "{text}");
    }
    let init = r#"{"sTatus":"Success","CAPABILITIES":{"Attach":false,"RequiresFsResize":false}}"#;
    let Came::Done(reply) = strict::<InitReply>(VerbName::Init, &said(init, true)).unwrap() else { panic!() };
    assert_eq!((reply.capabilities.attach, reply.capabilities.requires_fs_resize), (false, false));
    // Of a key in two spellings the last counts, as of any key that comes twice.
    assert_eq!(both(r#"{"status":"Failure","STATUS":"Success"}"#, true), Ok(Came::Done(())));
}

#[test]
fn h_32_unknown_keys_are_passed_over_whatever_they_hold() {
    for more in
        [r#""took":1.5e3"#, r#""log":[{"status":"Failure"},null]"#, r#""inner":{"status":"Failure"}"#, r#""":"""#]
    {
        let text = format!(r#"{{{more},"status":"Success",{more}}}"#);
        assert_eq!(both(&text, true), Ok(Came::Done(())), "{text}");
    }
}

#[test]
fn h_33_a_known_key_of_the_wrong_type_fails_the_call() {
    for (more, words) in [
        (r#""attached":"true""#, "`attached` must be true or false"),
        (r#""message":[]"#, "`message` must be a string"),
        (r#""device":5"#, "`device` must be a string"),
        (r#""capabilities":true"#, "`capabilities` must be an object"),
        (r#""capabilities":{"attach":"false"}"#, "`capabilities.attach` must be true or false"),
        (r#""volumeNewSize":"5""#, "`volumenewsize` must be a whole number"),
    ] {
        let error = both(&format!(r#"{{"status":"Success",{more}}}"#), true).unwrap_err().to_string();
        assert!(error.contains(words), "{more}: {error}");
    }
    for status in ["1", "true", "[]", "{}"] {
        let error = both(&format!(r#"{{"status":{status}}}"#), true).unwrap_err().to_string();
        assert!(error.contains("`status` must be a string"), "{status}: {error}");
    }
}

#[test]
fn in_progress_counts_for_extension_calls_that_change_something() {
    let text = r#"{"status":"In progress"}"#;
    let lasting = ["expandvolume", "createvolume", "deletevolume", "createsnapshot", "deletesnapshot", "modifyvolume"];
    for verb in VerbName::ALL {
        let verdict = strict::<()>(*verb, &said(text, true));
        assert_eq!(verdict == Ok(Came::InProgress), lasting.contains(&verb.as_str()), "{verb}");
        assert!(strict::<()>(*verb, &said(text, false)).is_err(), "{verb}");
    }
}

#[test]
fn the_answer_may_be_on_stderr_alone() {
    let reading = read::<Device>(VerbName::Attach, "", r#"{"status":"Success","device":"d"}"#);
    assert_eq!((reading.verdict, reading.forgiven), (device("d"), vec![]));
}

#[test]
fn noise_is_forgiven_and_told() {
    let answer = r#"{"Status":"Success","DEVICE":"d"}"#;
    let table = [
        (format!("/dev/sdb\n{answer}\n"), "", noise(Stream::Stdout, "/dev/sdb")),
        (format!("-ne {answer}"), "", noise(Stream::Stdout, "-ne")),
        (
            format!("sh: 1: [: unexpected operator {{ \n{answer}"),
            "",
            noise(Stream::Stdout, "sh: 1: [: unexpected operator {"),
        ),
        (format!("{{\"level\":\"info\"}}\n{answer}"), "", noise(Stream::Stdout, "{\"level\":\"info\"}")),
        (format!("\u{feff}{answer}"), "", noise(Stream::Stdout, "\u{feff}")),
        (answer.to_owned(), "WARNING: lvm", noise(Stream::Stderr, "WARNING: lvm")),
        (format!("{answer}\nbye"), "", noise(Stream::Stdout, "bye")),
    ];
    for (stdout, stderr, forgiven) in table {
        let both = Said { stdout: stdout.as_bytes(), stderr: stderr.as_bytes(), exit_ok: true };
        assert!(strict::<Device>(VerbName::Attach, &both).is_err(), "Kubernetes fails {stdout}");
        let reading = read::<Device>(VerbName::Attach, &stdout, stderr);
        assert_eq!((reading.verdict, reading.forgiven), (device("d"), vec![forgiven]), "{stdout}");
        assert!(is_complete(stdout.as_bytes(), stderr.as_bytes()), "{stdout}");
    }
}

#[test]
fn of_several_answers_a_failure_wins() {
    let (success, failure, unsupported) =
        (r#"{"status":"Success"}"#, r#"{"status":"Failure","message":"m"}"#, r#"{"status":"Not supported"}"#);
    let failed: Result<Came<()>, _> = Err(Verdict::Failed(Failed::new("m")));
    for (stdout, stderr) in [
        (format!("{failure}\n{unsupported}"), ""),
        (format!("{failure}{success}"), ""),
        (format!("{success}{failure}{success}"), ""),
        (success.to_owned(), failure),
        (unsupported.to_owned(), failure),
    ] {
        let reading = read::<()>(VerbName::Mount, &stdout, stderr);
        assert_eq!(reading.verdict, failed, "{stdout}");
        assert!(reading.forgiven.iter().any(|f| matches!(f, Forgiven::SeveralAnswers { count: 2 | 3 })), "{stdout}");
    }
    let twice = read::<()>(VerbName::Mount, &format!("{success}{unsupported}"), "");
    assert_eq!((twice.verdict, twice.remember_not_supported), (Ok(Came::NotSupported), false));
    let last = read::<()>(VerbName::Mount, &format!("{unsupported}{success}"), "");
    assert_eq!((last.verdict, last.remember_not_supported), (Ok(Came::Done(())), false));
    let wrong = read::<()>(VerbName::Mount, &format!("{{\"status\":7}}{success}"), "");
    assert!(matches!(wrong.verdict, Err(Verdict::WrongShape { .. })));
}

#[test]
fn not_supported_alone_is_remembered() {
    for text in [r#"{"status":"Not supported"}"#, "Usage: x\n{\"status\":\"Not supported\"}"] {
        let reading = read::<()>(VerbName::Mount, text, "");
        assert_eq!((reading.verdict, reading.remember_not_supported), (Ok(Came::NotSupported), true));
    }
}

#[test]
fn what_breaks_off_might_have_been_a_failure() {
    for text in [
        "{\"status\":\"Success\"}\n{\"status\":\"Fail",
        "noise {\"status\":\"Failure\",\"detail\":{\"status\":\"Success\"}",
        "{\"status\":\"Success\"} {\"a\"",
    ] {
        let reading = read::<()>(VerbName::Mount, text, "");
        assert!(matches!(reading.verdict, Err(Verdict::NotJson { .. })), "{text}: {reading:?}");
        assert!(!is_complete(text.as_bytes(), b""), "{text}");
        assert!(!is_complete(b"", text.as_bytes()), "{text}");
    }
}

#[test]
fn an_answer_inside_other_data_is_none() {
    let text = r#"log: {"level":"info","result":{"status":"Success"}}"#;
    assert!(matches!(read::<()>(VerbName::Mount, text, "").verdict, Err(Verdict::NotJson { .. })));
    assert!(!is_complete(text.as_bytes(), b""));
    assert!(!is_complete(br#"{"level":"info"}"#, b""));
    assert!(is_complete(br#"{"status":"Failure"}"#, b""));
    assert!(!is_complete(b"", b""));
}

#[test]
fn init_brings_capabilities_and_extensions() {
    let text = r#"{"status":"Success","capabilities":{"attach":false,"FSGroup":false},"extensions":["staged","later","local"],"device":"x"}"#;
    let Came::Done(reply) = strict::<InitReply>(VerbName::Init, &said(text, true)).unwrap() else { panic!() };
    assert_eq!(reply.capabilities, Capabilities { attach: false, fs_group: false, ..Capabilities::default() });
    assert_eq!(reply.extensions, [Extension::Staged, Extension::Local].into());
    assert_eq!(reply.unknown, ["later"]);
    for text in [r#"{"status":"Success"}"#, r#"{"status":"Success","capabilities":null,"extensions":{"staged":true}}"#]
    {
        assert_eq!(strict(VerbName::Init, &said(text, true)), Ok(Came::Done(InitReply::default())));
    }
    // Go lays an object over what is there; after a null nothing is.
    let text = r#"{"status":"Success","capabilities":null,"capabilities":{"fsGroup":true}}"#;
    let Came::Done(reply) = strict::<InitReply>(VerbName::Init, &said(text, true)).unwrap() else { panic!() };
    assert!(reply.capabilities.fs_group && !reply.capabilities.attach && !reply.capabilities.selinux_relabel);
}

#[test]
fn verdicts_speak_to_people() {
    let text = "bash: jq: command not found\u{1b}[0m";
    let verdict = strict::<()>(VerbName::Mount, &said(text, true)).unwrap_err();
    assert_eq!(
        verdict.to_string(),
        "what the driver printed for mount is no JSON answer: byte 0 of 31 cannot stand there; it printed: bash: jq: command not found\\u{1b}[0m"
    );
    assert!(verdict.hint().is_some());
    let busy = Verdict::Failed(Failed::new("").with_code(Code::Busy));
    assert_eq!(busy.to_string(), "the driver says that it failed: busy");
    assert_eq!((busy.code(), busy.hint().is_some()), (Some(Code::Busy), true));
    assert_eq!(
        strict::<()>(VerbName::Mount, &said(r#"{"status":1}"#, true)).unwrap_err().to_string(),
        "the driver's answer to mount is malformed: `status` must be a string, and this one is a number"
    );
}
