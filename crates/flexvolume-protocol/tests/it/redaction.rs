//! Secrets are found in whatever spelling a driver prints them, and show in no text of ours.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flexvolume_protocol::*;
use flexvolume_testkit::needles::{Needles, Spelling, spellings};
use proptest::prelude::*;

fn secrets(values: &[&[u8]]) -> Secrets {
    values.iter().enumerate().map(|(index, value)| (index.to_string(), Secret::new(value.to_vec()))).collect()
}

fn redact(secret: &[u8], text: &str) -> String {
    Redactor::new(&secrets(&[secret])).text(text)
}

/// Text, quotes, control characters, marks, line breaks, bytes that are no text, more than any line holds.
fn six() -> [Vec<u8>; 6] {
    [
        b"hunter22".to_vec(),
        br#"p'a"s$s w\o/r&d <b> %41%42"#.to_vec(),
        b"first line of a key\nsecond line of a key\r\nthird line\n".to_vec(),
        "zwölf\u{1f600}Boxkämpfer\u{2028}".into(),
        (0..4096_u32).map(|n| b'!' + (n * n % 89) as u8).collect(),
        b"\x00\xff\xfebinary\x80 key\x01 of\xc3 bytes\x00".to_vec(),
    ]
}

#[test]
fn every_spelling_is_found() {
    for secret in six() {
        let (redactor, needles) = (Redactor::new(&secrets(&[&secret])), Needles::of(&secret));
        for Spelling { name, printed, .. } in spellings(&secret) {
            let text = [b"before <", &printed[..], b"> after"].concat();
            assert!(needles.find(&text).is_some(), "{name} of {secret:?} is nothing to be found");
            // As bytes, and as whoever reads only text has it.
            let lossy = redactor.text(&String::from_utf8_lossy(&text));
            for shown in [redactor.bytes(&text), lossy.into_bytes()] {
                assert_eq!(needles.find(&shown), None, "{name} of {secret:?}");
                let shown = String::from_utf8_lossy(&shown).into_owned();
                let rest = shown.strip_prefix("before <").and_then(|rest| rest.strip_suffix("> after"));
                let rest = rest.unwrap_or_else(|| panic!("{name}: {shown}")).replace("[redacted]", "");
                // Quotes, padding, and what stood beside it in the same base64.
                assert!(rest.trim().len() <= 12, "{name}: {shown}");
            }
        }
    }
}

#[test]
fn a_secret_that_was_cut_off_by_the_end_of_the_text_is_found() {
    // Of the shortest a third is less than can be told from other text.
    for secret in six().into_iter().filter(|secret| secret.len() > 12) {
        let (redactor, needles) = (Redactor::new(&secrets(&[&secret])), Needles::of(&secret));
        for Spelling { name, printed, .. } in spellings(&secret) {
            for part in [printed.len() / 3, printed.len() / 2, printed.len() - 1] {
                let text = [b"it said: ", &printed[..part]].concat();
                let shown = redactor.bytes(&text);
                assert_eq!(needles.find(&shown), None, "{name} of {secret:?}");
                assert!(shown.starts_with(b"it said: "), "{name}: {shown:?}");
            }
        }
    }
    assert_eq!(redact(b"hunter22", "got hunt"), "got [redacted]");
    assert_eq!(redact(b"hunter22", "got hunt, and more"), "got hunt, and more");
}

#[test]
fn a_blind_redactor_lets_nothing_through() {
    let blind = Redactor::blind();
    assert!(blind.withhold());
    assert!(blind.text("whatever").starts_with("[withheld: the volume's secret is not at hand"));
    assert_eq!(blind.text(""), "");
}

#[test]
fn base64_is_found_inside_of_a_longer_text() {
    let secret = b"hunter22-hunter22";
    for before in ["", "u", "us", "user:", "user::"] {
        for after in ["", "x", "xy", "xyz"] {
            let whole = [before.as_bytes(), secret, after.as_bytes()].concat();
            for text in [STANDARD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                let shown = redact(secret, &format!("Authorization: Basic {text}"));
                assert!(shown.contains("[redacted]"), "{before:?} {after:?}: {shown}");
                let left = shown.replace("Authorization: Basic ", "").replace("[redacted]", "");
                assert!(left.len() <= (before.len() + after.len()) * 2 + 6, "{before:?} {after:?}: {shown}");
            }
        }
    }
}

#[test]
fn broken_into_lines() {
    let key: String = (0..40).map(|n| format!("line {n} of the key {}\n", n * 7919)).collect();
    let encoded = STANDARD.encode(&key);
    for width in [64, 76] {
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
        // What is left of the last line may be no more than a few bytes.
        for line in lines.into_iter().filter(|line| line.trim_end_matches('=').len() >= 8) {
            assert_eq!(redact(key.as_bytes(), line).trim_end_matches('='), "[redacted]", "{width}");
        }
    }
    assert_eq!(redact(key.as_bytes(), "at line 7 of the key 55433!"), "at [redacted]!");
    assert_eq!(redact(b"password1\n", "got password1"), "got [redacted]");
}

#[test]
fn overlapping_secrets_leave_nothing() {
    let redactor = Redactor::new(&secrets(&[b"abcdef", b"defghi", b"abcd"]));
    assert_eq!(redactor.text("xabcdefghiy abcd abcdabcd"), "x[redacted]y [redacted] [redacted]");
    assert_eq!(redactor.text("abcdef"), "[redacted]");
    assert_eq!(redactor.bytes(b"\xffabcdef\xfe"), b"\xff[redacted]\xfe");
    // Found escaped and plain, in either order, and one inside of the other.
    assert_eq!(redactor.text(r"\x61bcdef - abcdef - %61bcdef"), "[redacted] - [redacted] - [redacted]");
    let nested = Redactor::new(&secrets(&[br"1\x61bcdef2", b"abcdef"]));
    assert_eq!(nested.text(r"<1\x61bcdef2>"), "<[redacted]>");
}

#[test]
fn short_secrets_withhold_the_text() {
    for short in [&b"a"[..], b"abc", b"abc\n", b" a   ", b"a\0\0\0\0", b"\xff"] {
        let redactor = Redactor::new(&secrets(&[b"longer one", short]));
        assert!(redactor.withhold());
        assert_eq!(redactor.text("whatever"), "[withheld: a secret is too short to redact]");
        assert_eq!(redactor.text(""), "");
    }
    for long in [&b""[..], b"abcd"] {
        assert!(!Redactor::new(&secrets(&[long])).withhold());
    }
    assert_eq!(Redactor::default().text("as it \\is %41"), "as it \\is %41");
    assert_eq!(redact(b"", "text"), "text");
}

#[test]
fn verdicts_and_debug_show_no_secret() {
    let secret = "s3cr3t-value";
    let redactor = Redactor::new(&secrets(&[secret.as_bytes()]));
    let texts = [
        format!("+ mount -o pass={secret}"),
        format!(r#"{{"status":"Failure","message":"bad {secret}"}}"#),
        format!(r#"{{"status":"{secret}","message":"{secret}"}}"#),
        format!(r#"{{"status":"Success","capabilities":{{"attach":"x"}},"message":"{secret}"}}"#),
        format!(r#"{{"status":"Success","capabilities":{{"{secret}":1,"attach":1}}}}"#),
    ];
    for text in texts {
        let said = Said { stdout: text.as_bytes(), stderr: b"", exit_ok: true };
        let verdict = strict::<()>(VerbName::Mount, &said).unwrap_err().redacted(&redactor);
        assert!(!format!("{verdict:?} {verdict}").contains(secret), "{verdict:?}");
    }
    let noisy = format!("{secret} {{\"status\":\"Success\"}}");
    let said = Said { stdout: noisy.as_bytes(), stderr: b"", exit_ok: true };
    for forgiven in tolerant::<()>(VerbName::Mount, &said).forgiven {
        let forgiven = forgiven.redacted(&redactor);
        assert!(!format!("{forgiven:?} {forgiven}").contains(secret));
    }

    let mut options = Options::default();
    options.insert("a", "b");
    options.insert(format!("{}password", keys::SECRET_PREFIX), secret);
    assert_eq!(format!("{options:?}"), r#"Options { plain: {"a": "b"}, secrets: 1 }"#);
    let call = Call::from(Mount { dir: Dir::parse("/d").unwrap(), options });
    assert!(!format!("{call:?}").contains(&STANDARD.encode(secret)));
    let broken = [
        r#"{"kubernetes.io/secret/k":"s3cr3t!"}"#,
        r#"{"kubernetes.io/secret/k":["s3cr3t!"]}"#,
        r#"{"kubernetes.io/secret/k":"s3cr3t!"#,
    ];
    for text in broken {
        let error = Options::parse(text).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("s3cr3t"), "{error:?}");
    }
}

#[test]
fn a_call_whose_arguments_were_mistaken_shows_none_of_them() {
    let options = r#"{"kubernetes.io/secret/password":"aHVudGVyMjItaHVudGVyMjI="}"#;
    let needles = Needles::of(b"hunter22-hunter22");
    for verb in VerbName::ALL.iter().filter(|verb| verb.has_options()) {
        for place in 0..=verb.arguments().len() {
            let mut argv = vec!["/d"; verb.arguments().len()];
            argv.insert(place, options);
            for argv in [&argv[..], &argv[..argv.len() - 1]] {
                if let Err(error) = Call::parse(verb.as_str(), &mut Args::new(argv, "")) {
                    let told = format!("{error} {error:?}");
                    assert_eq!(needles.find(told.as_bytes()), None, "{argv:?}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_secret_survives(secret in "[ -~]{4,24}", before in "[ -$&-\\[\\]-~]{0,20}", after in "[ -~]{0,20}") {
        let trimmed = secret.trim();
        prop_assume!(trimmed.len() >= 4 && !"[redacted]".contains(trimmed));
        for spelling in spellings(secret.as_bytes()) {
            let text = String::from_utf8_lossy(&spelling.printed);
            let shown = redact(secret.as_bytes(), &format!("{before}{text}{after}"));
            prop_assert!(shown.contains("[redacted]"), "{}: {shown}", spelling.name);
            prop_assert!(!shown.contains(secret.as_str()), "{}: {shown}", spelling.name);
        }
    }

    #[test]
    fn other_text_is_left_alone(text in "[a-m \\\\%0-9{}\"]{0,200}") {
        prop_assert_eq!(redact(b"xyzzy-xyzzy", &text), text);
    }
}
