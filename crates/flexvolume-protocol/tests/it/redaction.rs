//! Secrets are found in whatever spelling a driver prints them, and show in no text of ours.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use flexvolume_protocol::*;
use proptest::prelude::*;

fn secrets(values: &[&[u8]]) -> Secrets {
    values.iter().enumerate().map(|(index, value)| (index.to_string(), Secret::new(value.to_vec()))).collect()
}

fn redact(secret: &[u8], text: &str) -> String {
    Redactor::new(&secrets(&[secret])).text(text)
}

fn hex(secret: &[u8]) -> String {
    secret.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn percent(secret: &[u8], spared: fn(u8) -> bool) -> String {
    let one = |b: &u8| if spared(*b) { char::from(*b).to_string() } else { format!("%{b:02X}") };
    secret.iter().map(one).collect()
}

/// Every spelling of a secret that must be found.
fn spellings(secret: &str) -> Vec<(&'static str, String)> {
    let raw = secret.as_bytes();
    let quoted = serde_json::to_string(secret).unwrap();
    let json = &quoted[1..quoted.len() - 1];
    vec![
        ("raw", secret.to_owned()),
        ("base64", STANDARD.encode(raw)),
        ("base64 without padding", STANDARD_NO_PAD.encode(raw)),
        ("base64url", URL_SAFE.encode(raw)),
        ("base64url without padding", URL_SAFE_NO_PAD.encode(raw)),
        ("hex", hex(raw)),
        ("HEX", hex(raw).to_uppercase()),
        ("percent", percent(raw, |b| b.is_ascii_alphanumeric())),
        ("percent, sparing", percent(raw, |b| b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@/".contains(&b))),
        ("percent, every byte", percent(raw, |_| false)),
        ("percent, lower", percent(raw, |_| false).to_lowercase()),
        ("form", secret.replace(' ', "+")),
        ("JSON", json.to_owned()),
        ("JSON in JSON", serde_json::to_string(&quoted).unwrap()),
        ("JSON, all escaped", secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()),
        ("JSON with slashes", json.replace('/', "\\/")),
        ("Rust", format!("{secret:?}")),
        ("Rust, unicode", secret.chars().map(|c| format!("\\u{{{:x}}}", u32::from(c))).collect()),
        ("C", raw.iter().map(|byte| format!("\\x{byte:02x}")).collect()),
        ("octal", raw.iter().map(|byte| format!("\\{byte:03o}")).collect()),
        ("shell", format!("'{}'", secret.replace('\'', "'\\''"))),
        ("shell, other", format!("'{}'", secret.replace('\'', "'\"'\"'"))),
        (
            "shell, backslashes",
            secret.chars().flat_map(|c| [(!c.is_alphanumeric()).then_some('\\'), Some(c)]).flatten().collect(),
        ),
    ]
}

#[test]
fn every_spelling_is_found() {
    for secret in ["hunter22", "p'a\"s$s w\\o/r&d", "zwölf\u{1f600}Boxkämpfer", "a+b/c==", "%41%42%43%44"] {
        for (spelling, text) in spellings(secret) {
            let shown = redact(secret.as_bytes(), &format!("before <{text}> after"));
            assert!(shown.contains("before <") && shown.contains("> after"), "{spelling} of {secret}: {shown}");
            let rest = shown.replace("before <", "").replace("> after", "").replace("[redacted]", "");
            // Quotes and padding may be left, nothing that the secret is made of.
            assert!(rest.chars().all(|c| "'\"=\\".contains(c)), "{spelling} of {secret}: {shown}");
        }
    }
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
        for line in &lines[..lines.len() - 1] {
            assert_eq!(redact(key.as_bytes(), line), "[redacted]", "{width}");
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
    for short in [&b"a"[..], b"abc", b"abc\n", b" a   "] {
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

proptest! {
    #[test]
    fn no_secret_survives(secret in "[ -~]{4,24}", before in "[ -$&-\\[\\]-~]{0,20}", after in "[ -~]{0,20}") {
        let trimmed = secret.trim();
        prop_assume!(trimmed.len() >= 4 && !"[redacted]".contains(trimmed));
        for (spelling, text) in spellings(&secret) {
            let shown = redact(secret.as_bytes(), &format!("{before}{text}{after}"));
            prop_assert!(shown.contains("[redacted]"), "{spelling}: {shown}");
            prop_assert!(!shown.contains(secret.as_str()), "{spelling}: {shown}");
        }
    }

    #[test]
    fn other_text_is_left_alone(text in "[a-m \\\\%0-9{}\"]{0,200}") {
        prop_assert_eq!(redact(b"xyzzy-xyzzy", &text), text);
    }
}
