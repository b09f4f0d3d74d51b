//! Answers of drivers, the original's verdict on each, and ours.

use std::{fs, path::Path};

use flexvolume_protocol::{
    Answer, Attached, Came, Capabilities, Device, Expanded, InitReply, Said, VerbName, Verdict, VolumeNameReply,
    excerpt, strict,
};
use flexvolume_testkit::scripted::{self, Script};
use serde_json::{Map, Value, json};

use super::{Known, Reply, Witness, assert_written, install};
use crate::bed::Bed;

/// One answer of the table.
struct Row {
    json: Value,
    verb: VerbName,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// One line for each answer: what the driver says, what the original made of it when that was last recorded, and the name of the
/// difference if ours is another.
const TABLE: &str = include_str!("../../witness/answers.jsonl");

const KNOWN: &[Known] = &[
    Known { name: "capabilities null", line: "**`capabilities: null` means the defaults.**" },
    Known { name: "in progress", line: "**`In progress` is an answer to `expandvolume`**" },
    Known { name: "streams", line: "**The streams are kept apart and bounded.**" },
];

fn rows() -> impl Iterator<Item = Row> {
    TABLE.lines().map(|line| {
        let json: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let verb = VerbName::parse(json["verb"].as_str().unwrap()).unwrap();
        Row { verb, stdout: bytes(&json["stdout"]), stderr: bytes(&json["stderr"]), json }
    })
}

/// Text, or a list of numbers where it is no UTF-8, or nothing.
fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Array(list) => list.iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect(),
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => panic!("no bytes: {value}"),
    }
}

/// Our verdict, in the words of the table.
fn ours(row: &Row) -> Value {
    let said = Said { stdout: &row.stdout, stderr: &row.stderr, exit_ok: row.json["exit"].is_null() };
    fn judged<R: Answer>(verb: VerbName, said: &Said<'_>, tell: impl Fn(R) -> Value) -> Value {
        match strict::<R>(verb, said) {
            Ok(Came::Done(reply)) => with(json!({"verdict": "success"}), tell(reply)),
            Ok(Came::NotSupported) => json!({"verdict": "notSupported"}),
            Ok(Came::InProgress) => json!({"verdict": "in progress"}),
            Err(Verdict::NoAnswer { .. } | Verdict::NotJson { .. } | Verdict::WrongShape { .. }) => {
                json!({"verdict": "unreadable"})
            }
            Err(Verdict::SuccessButExit { .. }) => json!({"verdict": "exit"}),
            Err(Verdict::Failed(failed)) => told(verb, "Failure", &failed.message),
            Err(Verdict::OddStatus { status, failed, .. }) => told(verb, &status, &failed.message),
        }
    }
    match row.verb {
        VerbName::Init => judged(row.verb, &said, |reply: InitReply| json!({"capabilities": reply.capabilities})),
        VerbName::GetVolumeName => judged(row.verb, &said, |reply: VolumeNameReply| json!({"volumeName": reply.0})),
        VerbName::Attach | VerbName::WaitForAttach => {
            judged(row.verb, &said, |reply: Device| json!({"device": reply.0}))
        }
        VerbName::IsAttached => judged(row.verb, &said, |reply: Attached| json!({"attached": reply.0})),
        VerbName::ExpandVolume => judged(row.verb, &said, |_: Expanded| json!({})),
        VerbName::MountDevice
        | VerbName::Mount
        | VerbName::Unmount
        | VerbName::UnmountDevice
        | VerbName::Detach
        | VerbName::ExpandFs => judged(row.verb, &said, |()| json!({})),
        VerbName::CreateVolume
        | VerbName::DeleteVolume
        | VerbName::CreateSnapshot
        | VerbName::DeleteSnapshot
        | VerbName::ListSnapshots
        | VerbName::GetCapacity
        | VerbName::ListVolumes
        | VerbName::GetHealth
        | VerbName::ModifyVolume => panic!("Kubernetes has no {}", row.verb),
    }
}

/// A failure in Kubernetes' own words.
fn told(verb: VerbName, status: &str, message: &str) -> Value {
    json!({"verdict": "failed", "text": format!("{verb} command failed, status: {status}, reason: {message}")})
}

fn with(mut value: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more}") };
    value.as_object_mut().unwrap().extend(more);
    value
}

/// The original's verdict, in the words of the table. For `init` it is what loading the driver comes to.
fn original(witness: &mut Witness, bed: &Bed, row: &Row) -> Value {
    let answer = bed.sandbox.dir("answer").unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(answer.join(name), bytes).unwrap();
    put("stdout", &row.stdout);
    put("stderr", &row.stderr);
    let exit = &row.json["exit"];
    put(
        "exit",
        format!("{}\n", exit.as_str().map_or_else(|| exit.as_i64().unwrap_or(0).to_string(), str::to_owned)).as_bytes(),
    );
    put("order", if row.json["stderrFirst"] == true { b"stderr\n" } else { b"stdout\n" });
    let driver = json!({"driver": "v/d"});
    let mut loaded = None;
    if row.verb == VerbName::Init {
        match witness.ask("load", driver.clone()) {
            Reply::Panic(text) => return json!({"verdict": "panic", "text": text}),
            Reply::Error { .. } => {}
            Reply::Done(value) => loaded = Some(value),
        }
    }
    // The driver is loaded afresh for each call, and then it says that it is well.
    put("loading", b"");
    let reply = witness.ask("call", with(driver, json!({"verb": row.verb, "args": []})));
    if row.verb == VerbName::Init {
        assert_eq!(loaded.is_some(), matches!(reply, Reply::Done(_)), "{}: {loaded:?} {reply:?}", row.json);
    }
    match reply {
        Reply::Panic(text) => json!({"verdict": "panic", "text": text}),
        Reply::Error { kind, text } if kind == "failed" => json!({"verdict": kind, "text": text}),
        Reply::Error { kind, .. } => json!({"verdict": kind}),
        Reply::Done(status) => {
            // Go leaves out what is empty.
            let or = |key: &str, empty: Value| json!({key: status.get(key).cloned().unwrap_or(empty)});
            let fields = match row.verb {
                VerbName::Init => {
                    let capabilities: Capabilities = serde_json::from_value(status["Capabilities"].clone()).unwrap();
                    let loaded = loaded.unwrap();
                    assert_eq!(loaded["attachable"], capabilities.attach, "{}", row.json);
                    assert_eq!(loaded["requiresFSResize"], capabilities.requires_fs_resize, "{}", row.json);
                    json!({"capabilities": capabilities})
                }
                VerbName::GetVolumeName => or("volumeName", json!("")),
                VerbName::Attach | VerbName::WaitForAttach => or("device", json!("")),
                VerbName::IsAttached => or("attached", json!(false)),
                VerbName::MountDevice
                | VerbName::Mount
                | VerbName::Unmount
                | VerbName::UnmountDevice
                | VerbName::Detach
                | VerbName::ExpandVolume
                | VerbName::ExpandFs
                | VerbName::CreateVolume
                | VerbName::DeleteVolume
                | VerbName::CreateSnapshot
                | VerbName::DeleteSnapshot
                | VerbName::ListSnapshots
                | VerbName::GetCapacity
                | VerbName::ListVolumes
                | VerbName::GetHealth
                | VerbName::ModifyVolume => json!({}),
            };
            with(json!({"verdict": "success"}), fields)
        }
    }
}

/// Says what the files of [`original`] hold, byte for byte.
fn parrot(bed: &Bed) -> Script {
    let answer = bed.sandbox.dir("answer").unwrap();
    Script::sh().otherwise(scripted::Answer::shell(format!(
        r#"cd {} || exit 99
if [ "$1" = init ] && rm loading 2>/dev/null; then echo '{{"status":"Success"}}'; exit 0; fi
read -r order <order
if [ "$order" = stderr ]; then cat stderr >&2; cat stdout; else cat stdout; cat stderr >&2; fi
read -r exit <exit
case $exit in KILL) kill -KILL $$;; *) exit "$exit";; esac"#,
        answer.display()
    )))
}

/// Without Go: ours against the record of the original.
#[test]
fn our_strict_reading_is_that_of_the_original() {
    assert_written(KNOWN);
    let (mut agreed, mut differing) = (0, Vec::new());
    for row in rows() {
        let (ours, original) = (ours(&row), &row.json["original"]);
        match row.json["known"].as_str() {
            None => {
                assert_eq!(
                    &ours,
                    original,
                    "ours, and the original's verdict on {}",
                    excerpt(&row.json.to_string(), 300)
                );
                agreed += 1;
            }
            Some(name) => {
                assert!(KNOWN.iter().any(|known| known.name == name), "{name:?} is no known difference");
                assert_ne!(&ours, original, "no difference any more: {}", row.json);
                differing.push(name.to_owned());
            }
        }
    }
    assert!(agreed >= 120, "only {agreed} answers");
    for Known { name, .. } in KNOWN {
        assert!(differing.iter().any(|other| other == name), "no answer shows {name:?}");
    }
}

/// With Go: the record is what the original says today.
#[test]
fn the_record_is_what_the_original_says() {
    let Some(bed) = Bed::new() else { return };
    let Some(mut witness) = Witness::start(&bed) else { return };
    install(&bed, "v/d", parrot(&bed));
    let mut fresh = String::new();
    let mut stale = Vec::new();
    for mut row in rows() {
        let verdict = original(&mut witness, &bed, &row);
        if row.json["original"] != verdict {
            stale.push(format!("{} is now {verdict}", excerpt(&row.json.to_string(), 300)));
        }
        row.json["original"] = verdict;
        fresh.push_str(&format!("{}\n", line(&row.json)));
    }
    if !stale.is_empty() {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("answers.jsonl");
        fs::write(&file, fresh).unwrap();
        panic!(
            "{} verdicts are not as recorded; a fresh record is {}:\n{}",
            stale.len(),
            file.display(),
            stale.join("\n")
        );
    }
}

/// A row as the table has it: what is said first, the verdicts last.
fn line(row: &Value) -> String {
    let row: &Map<_, _> = row.as_object().unwrap();
    let keys = ["verb", "stdout", "stderr", "stderrFirst", "exit", "original", "known"];
    assert!(row.keys().all(|key| keys.contains(&key.as_str())), "an unknown key in {row:?}");
    let members = keys.iter().filter_map(|key| Some(format!("{}:{}", json!(key), row.get(*key)?)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
