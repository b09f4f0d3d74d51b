//! Byte for byte against Go's encoding/json, by tables that `record.go` beside this file wrote (with Go 1.26).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flexvolume_protocol::{
    Attached, Came, Capabilities, Device, InitReply, Options, Said, UserOptions, VerbName, Verdict, VolumeNameReply,
    strict, tolerant,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Written {
    pairs: Vec<(String, String)>,
    written: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    #[serde(rename = "in")]
    text: String,
    refused: bool,
    status: String,
    message: String,
    device: String,
    volume_name: String,
    attached: bool,
    caps: Option<Capabilities>,
}

fn decoded(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

fn rows<T: for<'a> Deserialize<'a>>(table: &'static str) -> impl Iterator<Item = T> {
    table.lines().map(|line| serde_json::from_str(line).unwrap())
}

#[test]
fn options_are_written_as_go_writes_them() {
    let mut count = 0;
    for row in rows::<Written>(include_str!("go_writes.jsonl")) {
        let text = |text: &str| String::from_utf8(decoded(text)).unwrap();
        let pairs: BTreeMap<_, _> = row.pairs.iter().map(|(key, value)| (text(key), text(value))).collect();
        let mut options = Options::default();
        for (key, value) in &pairs {
            options.insert(key, value);
        }
        assert_eq!(*options.render(), text(&row.written));
        assert_eq!(Options::parse(&text(&row.written)).unwrap(), options);
        assert!(UserOptions::parse(pairs).is_ok());
        count += 1;
    }
    assert!(count > 290, "the table has {count} rows");
}

#[test]
fn answers_are_read_as_go_reads_them() {
    let mut count = 0;
    for row in rows::<Read>(include_str!("go_reads.jsonl")) {
        let text = decoded(&row.text);
        let shown = String::from_utf8_lossy(&text);
        // Wherever the text is cut in two, Kubernetes sees the same.
        for cut in [0, text.len() / 2, text.len()] {
            let said = Said { stdout: &text[..cut], stderr: &text[cut..], exit_ok: true };
            let attach = strict::<Device>(VerbName::Attach, &said);
            match row.status.as_str() {
                _ if row.refused => {
                    let error = attach.unwrap_err();
                    let refused = matches!(
                        error,
                        Verdict::NoAnswer { .. } | Verdict::NotJson { .. } | Verdict::WrongShape { .. }
                    );
                    assert!(refused, "{shown}: {error:?}");
                    continue;
                }
                "Success" => {
                    assert_eq!(attach.unwrap(), Came::Done(Device(row.device.clone())), "{shown}");
                    let attached = strict(VerbName::IsAttached, &said).unwrap();
                    assert_eq!(attached, Came::Done(Attached(row.attached)), "{shown}");
                    let name = strict(VerbName::GetVolumeName, &said).unwrap();
                    assert_eq!(name, Came::Done(VolumeNameReply(row.volume_name.clone())), "{shown}");
                    let Came::Done(init) = strict::<InitReply>(VerbName::Init, &said).unwrap() else {
                        panic!("{shown}")
                    };
                    assert_eq!(Some(init.capabilities), row.caps, "{shown}");
                }
                "Not supported" => assert_eq!(attach, Ok(Came::NotSupported), "{shown}"),
                status => {
                    let error = attach.unwrap_err();
                    let (odd, failed) = match &error {
                        Verdict::Failed(failed) => ("Failure", failed),
                        Verdict::OddStatus { status, failed, .. } => (status.as_str(), failed),
                        Verdict::NoAnswer { .. }
                        | Verdict::NotJson { .. }
                        | Verdict::WrongShape { .. }
                        | Verdict::SuccessButExit { .. } => panic!("{shown}: {error:?}"),
                    };
                    assert_eq!((odd, failed.message.as_str()), (status, row.message.as_str()), "{shown}");
                }
            }
            // What Kubernetes can read is read the same way tolerantly, and nothing had to be forgiven.
            let reading = tolerant::<Device>(VerbName::Attach, &said);
            assert_eq!(reading.verdict, strict(VerbName::Attach, &said), "{shown}");
            assert_eq!(reading.forgiven, [], "{shown}");
        }
        count += 1;
    }
    assert!(count > 200, "only {count} rows can be read");
}
