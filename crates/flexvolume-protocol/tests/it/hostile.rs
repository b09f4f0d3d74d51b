//! Whatever bytes come from outside: no panic, no hang, no Success that is not there.

use std::time::{Duration, Instant};

use flexvolume_protocol::*;
use flexvolume_testkit::hostile;
use proptest::collection::vec;
use proptest::prelude::*;

/// A bound that only an answer in quadratic time can miss, on any machine.
const QUICK: Duration = Duration::from_secs(20);

fn read_all(verb: VerbName, stdout: &[u8], stderr: &[u8]) -> [bool; 4] {
    let said = Said { stdout, stderr, exit_ok: true };
    let (strictly, tolerantly) = read::<Created>(verb, &said);
    [strictly, tolerantly, tolerant::<InitReply>(verb, &said).verdict.is_ok(), is_complete(stdout, stderr)]
}

/// The other replies: what is read is the same, what is made of it differs.
fn read_others(verb: VerbName, stdout: &[u8], stderr: &[u8]) {
    let said = Said { stdout, stderr, exit_ok: true };
    read::<Expanded>(verb, &said);
    read::<Snapshot>(verb, &said);
    read::<SnapshotList>(verb, &said);
    read::<VolumeList>(verb, &said);
    read::<Capacity>(verb, &said);
    read::<Health>(verb, &said);
}

/// Whether it is a Success to the strict and to the tolerant reader. What was read can be written and read again.
fn read<R: Answer>(verb: VerbName, said: &Said<'_>) -> (bool, bool) {
    let tolerantly = tolerant::<R>(verb, said).verdict;
    let is_success = tolerantly.is_ok();
    match tolerantly {
        Err(verdict) => {
            assert!(verdict.to_string().len() < 16_000, "bounded when shown");
            let _ = verdict.hint();
        }
        Ok(Came::Done(reply)) => {
            let line = render_reply(Ok(Came::Done(reply)));
            assert!(strict::<R>(verb, &Said { stdout: line.as_bytes(), stderr: b"", exit_ok: true }).is_ok(), "{line}");
        }
        Ok(Came::NotSupported | Came::InProgress) => {}
    }
    (strict::<R>(verb, said).is_ok(), is_success)
}

/// Pieces that look like an answer, so that random text gets deep into the parsers.
const PIECES: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"\\",
    b"\\u",
    b"d800",
    b"\"status\"",
    b"\"Success\"",
    b"{\"status\":\"Success\"}",
    b"\"capabilities\":{",
    b"\"options\":{\"a\":\"b\"}",
    b"\"extensions\":[\"staged\"]",
    b"null",
    b"-1e",
    b" \n",
    b"\xff",
    b"{\"status\":\"Failure\",",
    b"{\"status\":\"Success\",",
    b"\"volumes\":[",
    b"\"snapshots\":[",
    b"{\"id\":\"a\"}",
    b"{\"snapshot\":\"s\",\"created\":\"2026-03-01T12:00:00Z\",\"ready\":true}",
    b"\"id\":",
    b"\"snapshot\":",
    b"\"created\":",
    b"\"2026-03-01T12:00:00.5+01:00\"",
    b"\"ready\":true",
    b"\"next\":\"t\"",
    b"\"available\":",
    b"\"maximum\":9",
    b"\"condition\":",
    b"\"ok\"",
];

fn almost_answers() -> impl Strategy<Value = Vec<u8>> {
    vec(proptest::sample::select(PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

/// Any JSON with the members of extensions as its keys, at whatever place.
fn values() -> impl Strategy<Value = String> {
    const KEYS: [&str; 13] = [
        "id",
        "bytes",
        "options",
        "snapshot",
        "created",
        "ready",
        "volumes",
        "snapshots",
        "next",
        "available",
        "maximum",
        "condition",
        "ID",
    ];
    const PLAIN: [&str; 16] = [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.5",
        "1e3",
        "18446744073709551616",
        "\"\"",
        "\"a\"",
        "\"/a\"",
        "\"ok\"",
        "\"2026-03-01T12:00:00Z\"",
        "\"\\ud800\"",
        "[]",
        "{}",
    ];
    proptest::sample::select(&PLAIN[..]).prop_map(str::to_owned).prop_recursive(4, 40, 6, |inner| {
        let member = (proptest::sample::select(&KEYS[..]), inner.clone());
        let member = member.prop_map(|(key, value)| format!("\"{key}\":{value}"));
        prop_oneof![
            vec(inner, 0..6).prop_map(|elements| format!("[{}]", elements.join(","))),
            vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn readers_never_panic(stdout in vec(any::<u8>(), 0..200), stderr in vec(any::<u8>(), 0..50)) {
        read_all(VerbName::CreateVolume, &stdout, &stderr);
        read_others(VerbName::ListVolumes, &stdout, &stderr);
    }

    #[test]
    fn readers_never_panic_on_almost_answers(stdout in almost_answers(), stderr in almost_answers()) {
        read_others(VerbName::CreateSnapshot, &stdout, &stderr);
        let [strictly, tolerantly, ..] = read_all(VerbName::Init, &stdout, &stderr);
        let said = Said { stdout: &stdout, stderr: &stderr, exit_ok: true };
        if strictly {
            prop_assert!(tolerantly, "tolerant is never stricter");
        }
        // A process that failed never succeeded.
        let failed = Said { exit_ok: false, ..said };
        prop_assert!(!matches!(tolerant::<()>(VerbName::Init, &failed).verdict, Ok(Came::Done(()))));
    }

    #[test]
    fn whatever_members_hold_only_extensions_mind(value in values()) {
        let members = value.strip_prefix('{').filter(|rest| *rest != "}").map_or("}".to_owned(), |rest| format!(",{rest}"));
        let text = format!("{{\"status\":\"Success\"{members}");
        read_all(VerbName::CreateVolume, text.as_bytes(), b"");
        read_others(VerbName::CreateVolume, text.as_bytes(), b"");
        let said = Said { stdout: text.as_bytes(), stderr: b"", exit_ok: true };
        prop_assert_eq!(strict(VerbName::Mount, &said), Ok(Came::Done(())), "unknown to Kubernetes: {}", text);
    }

    #[test]
    fn options_never_panic(text in prop_oneof![any::<String>(), almost_answers().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())]) {
        if let Ok(options) = Options::parse(&text) {
            prop_assert!(Options::parse(&options.render()).unwrap() == options);
        }
    }

    #[test]
    fn redactor_never_panics(secret in vec(any::<u8>(), 0..40), text in vec(any::<u8>(), 0..200), escapes in "[\\\\%u{}x0-9a-f'\"]{0,60}") {
        let secrets: Secrets = [("k".to_owned(), Secret::new(secret))].into_iter().collect();
        let redactor = Redactor::new(&secrets);
        redactor.bytes(&text);
        redactor.text(&escapes);
    }
}

#[test]
fn a_mebibyte_of_anything_is_answered_quickly() {
    let mebibyte = |piece: &str| piece.repeat((1 << 20) / piece.len());
    let hostile = [
        mebibyte("{"),
        mebibyte("{\"a\":"),
        mebibyte("["),
        mebibyte("{\"a\":["),
        mebibyte("\""),
        mebibyte("{}"),
        mebibyte("{ "),
        mebibyte("{\"status\":\"\"}"),
        mebibyte("{\"status\":"),
        mebibyte("\\"),
        mebibyte("{\"\\"),
        mebibyte(" "),
        format!("{{{}", mebibyte(" ")),
        format!("{{\"{}", mebibyte("a")),
        format!("{{\"a\":{}", mebibyte("1")),
        // Each brace begins something that only goes wrong at the very end.
        mebibyte("{\"a\":[1],\"b\":") + "!",
        mebibyte("{\"a\":{},\"b\":{\"c\":\"") + "\n",
        format!("{}!", mebibyte("{\"a\":").split_at(45_000).0),
        format!("{}{}", mebibyte("{\"a\":{\"b\":1},\"c\":2 "), "x"),
        format!("{{\"a\":{}!", "{\"a\":0},\"a\":".repeat(80_000)),
        format!("{{\"status\":\"Success\",\"volumes\":[{}", mebibyte("{\"id\":\"a\"},")),
        mebibyte("{\"status\":\"Success\",\"snapshots\":[{\"snapshot\":"),
    ];
    for text in hostile {
        let begin = Instant::now();
        let results = read_all(VerbName::Attach, text.as_bytes(), text.as_bytes());
        assert_eq!(&results[..3], [false; 3], "{}", &text[..20.min(text.len())]);
        assert!(Options::parse(&text).is_err());
        assert!(begin.elapsed() < QUICK, "{} took {:?}", &text[..20.min(text.len())], begin.elapsed());
    }
}

#[test]
fn a_mebibyte_of_lists_is_read_quickly() {
    let list = |key: &str, piece: &str| {
        let pieces = piece.repeat((1 << 20) / piece.len());
        format!("{{\"status\":\"Success\",\"{key}\":[{}]}}", pieces.trim_end_matches(','))
    };
    let deep = |key: &str| format!("{}{}", format!("{{\"{key}\":[").repeat(4_000), "]}".repeat(4_000));
    let volumes = list("volumes", "{\"id\":\"a\"},");
    for (text, is_list) in [
        (volumes.clone(), true),
        (list("volumes", "{\"id\":\"a\",\"options\":{\"a\":\"b\",\"c\":\"d\"},\"bytes\":1},"), true),
        (list("volumes", &format!("{{\"id\":\"a\",\"x\":{}}},", deep("volumes"))), true),
        (list("volumes", "{\"id\":\"a\"},{},"), false),
        (list("volumes", "{},"), false),
        (list("volumes", &format!("{},", deep("volumes"))), false),
        (list("volumes", "5,"), false),
        (format!("{{\"status\":\"Success\",\"volumes\":[]{}}}", ",\"volumes\":[{\"id\":\"a\"}]".repeat(40_000)), true),
        (list("snapshots", "{\"snapshot\":\"s\"},"), false),
    ] {
        let begin = Instant::now();
        let said = Said { stdout: text.as_bytes(), stderr: b"noise", exit_ok: true };
        let list = tolerant::<VolumeList>(VerbName::ListVolumes, &said);
        assert_eq!(list.verdict.is_ok(), is_list, "{}", &text[..60]);
        assert!(tolerant::<SnapshotList>(VerbName::ListVolumes, &said).verdict.is_err());
        assert!(begin.elapsed() < QUICK, "{} took {:?}", &text[..60], begin.elapsed());
    }
    let said = Said { stdout: volumes.as_bytes(), stderr: b"", exit_ok: true };
    let Ok(Came::Done(list)) = strict::<VolumeList>(VerbName::ListVolumes, &said) else { panic!() };
    assert_eq!(list.volumes.len(), (1 << 20) / 11);
}

#[test]
fn a_mebibyte_of_noise_does_not_hide_the_answer() {
    let noise = "{\"level\":\"info\",\"msg\":\"{ not it }\"}\n+ set -x {a: b} ".repeat(18_000);
    let text = format!("{noise}\n{{\"status\":\"Success\",\"device\":\"d\"}}\n");
    let said = Said { stdout: text.as_bytes(), stderr: b"", exit_ok: true };
    let reading = tolerant::<Device>(VerbName::Attach, &said);
    assert_eq!(reading.verdict, Ok(Came::Done(Device("d".to_owned()))));
}

#[test]
fn depth_is_that_of_go() {
    for (depth, readable) in [(9_999, true), (10_000, false)] {
        let text = format!("{{\"status\":\"Success\",\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let said = Said { stdout: text.as_bytes(), stderr: b"", exit_ok: true };
        assert_eq!(strict::<()>(VerbName::Mount, &said).is_ok(), readable, "{depth}");
        assert_eq!(tolerant::<()>(VerbName::Mount, &said).verdict.is_ok(), readable, "{depth}");
    }
}

#[test]
fn a_mebibyte_is_redacted_quickly() {
    let secret = "aaaaaaaaaaaaaaaa".repeat(64);
    let secrets: Secrets = [("k".to_owned(), Secret::new(secret.clone().into_bytes()))].into_iter().collect();
    let redactor = Redactor::new(&secrets);
    let begin = Instant::now();
    assert_eq!(redactor.text(&secret.repeat(1024)), "[redacted]");
    assert!(redactor.text(&"\\%4".repeat(300_000)).starts_with("\\%4"));
    assert!(begin.elapsed() < QUICK);
}

/// Every string of up to four hostile symbols as every name: accepted is only what is one component and nothing else.
#[test]
fn no_name_of_hostile_symbols_is_a_path() {
    let plain = |text: &str| text.bytes().all(|b| matches!(b, b'a' | b'.' | b'-'));
    for text in hostile::texts(4) {
        let component = text.starts_with('a') && plain(&text) && !text.contains("..");
        let named = [
            VolumeName::parse(&text).is_ok(),
            PodUid::parse(&text).is_ok(),
            PodName::parse(&text).is_ok(),
            Namespace::parse(&text).is_ok(),
            serde_json::from_value::<VolumeName>(text.clone().into()).is_ok(),
        ];
        assert_eq!(named, [component; 5], "{text:?}");
        for driver in [DriverName::parse(&text), DriverName::from_dir(&text)].into_iter().flatten() {
            for part in [driver.dir().replace('~', ""), driver.executable().to_owned()] {
                assert!(part.starts_with('a') && part.ends_with('a') && plain(&part), "{text:?} gives {part:?}");
            }
            assert_eq!(DriverName::from_dir(&driver.dir()).unwrap(), driver);
        }
        // A host's word; still no driver is led above its directory, or to the root.
        for dir in [text.clone(), format!("/{text}"), format!("/a/{text}"), format!("{text}/a")] {
            if let Ok(dir) = Dir::parse(&dir) {
                let mut parts = dir.as_path().components();
                assert_eq!(parts.next(), Some(std::path::Component::RootDir), "{dir}");
                assert!(parts.clone().next().is_some(), "{dir}");
                assert!(parts.all(|part| matches!(part, std::path::Component::Normal(_))), "{dir}");
                assert!(!dir.as_str().contains('\0'), "{dir}");
            }
        }
        // Slashes within are the driver's own; those at an end, and NUL, are nobody's.
        let is_id = !text.is_empty() && !text.starts_with('/') && !text.ends_with('/') && !text.contains('\0');
        assert_eq!(Id::parse(&text).is_ok(), is_id, "{text:?}");
        assert_eq!((Extension::parse(&text), VerbName::parse(&text)), (None, None), "{text:?}");
        assert!(Timestamp::parse(&text).is_err() && Condition::parse(&text).is_none(), "{text:?}");
    }
}
