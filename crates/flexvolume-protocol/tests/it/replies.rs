//! The typed replies: written and read back, and every way in which a member of an extension can be wrong.

use std::fmt::Debug;

use flexvolume_protocol::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

fn said(text: &str) -> Said<'_> {
    Said { stdout: text.as_bytes(), stderr: b"", exit_ok: true }
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// Each answer is refused by the reply that needs the member, in these words, and by nobody else: to Kubernetes all of
/// them are unknown.
fn refused<R: Answer + Debug>(verb: VerbName, table: &[(&str, &str)]) {
    for (members, wanted) in table {
        let text = format!(r#"{{"status":"Success"{members}}}"#);
        let error = strict::<R>(verb, &said(&text)).unwrap_err();
        assert!(matches!(&error, Verdict::WrongShape { verb: of, .. } if *of == verb), "{error:?}");
        assert!(error.to_string().contains(wanted), "{members}: {error}");
        assert_eq!(tolerant::<R>(verb, &said(&text)).verdict.unwrap_err(), error, "one judge for both readings");
        assert_eq!(strict(VerbName::Mount, &said(&text)), Ok(Came::Done(())), "unknown to Kubernetes: {text}");
        assert!(strict::<InitReply>(VerbName::Init, &said(&text)).is_ok(), "{text}");
    }
}

#[test]
fn a_volume_must_have_an_id() {
    let table = [
        ("", "`id` must be a string, and there is none"),
        (r#","id":null"#, "`id` must be a string, and there is none"),
        (r#","id":"""#, "`id` is no id: it must have 1 to 128 bytes"),
        (r#","id":"/a""#, "`id` is no id: it must have 1 to 128 bytes"),
        (r#","id":5"#, "`id` must be a string, and this one is a number"),
        (r#","id":"a","bytes":"5""#, "`bytes` must be a whole number of bytes, and this one is a string"),
        (r#","id":"a","bytes":-5"#, "`bytes` must be a whole number of bytes"),
        (r#","id":"a","bytes":1e3"#, "`bytes` must be a whole number of bytes"),
        (r#","id":"a","bytes":18446744073709551616"#, "`bytes` must be a whole number of bytes"),
        (r#","id":"a","options":{"a":1}"#, "`options` must be an object of strings"),
        (r#","id":"a","options":["a"]"#, "`options` must be an object of strings, and this one is an array"),
    ];
    refused::<Created>(VerbName::CreateVolume, &table);
    refused::<Expanded>(VerbName::ExpandVolume, &table[5..9]);
    // What it does not need it does not look at.
    let text = r#"{"status":"Success","id":5,"options":7,"snapshot":[],"volumes":"x","ready":0,"next":{}}"#;
    assert_eq!(strict(VerbName::ExpandVolume, &said(text)), Ok(Came::Done(Expanded::default())));
}

#[test]
fn volumes_and_snapshots_have_ids_of_one_rule() {
    let long = "a".repeat(129);
    for (text, is_id) in [
        ("a", true),
        ("vg/lv", true),
        (" ", true),
        ("ä{}\"\n", true),
        (&long[..128], true),
        ("", false),
        ("/", false),
        ("/vg/lv", false),
        ("vg/", false),
        ("a\0b", false),
        (&long, false),
        (&"ä".repeat(65), false),
    ] {
        assert_eq!(Id::parse(text).is_ok(), is_id, "{text:?}");
        assert_eq!(serde_json::from_value::<Id>(text.into()).is_ok(), is_id, "{text:?}");
        let volume = serde_json::json!({"status": "Success", "id": text}).to_string();
        assert_eq!(strict::<Created>(VerbName::CreateVolume, &said(&volume)).is_ok(), is_id, "{text:?}");
        let ready = |key: &str, other: &str| {
            let mut answer = serde_json::json!({"status": "Success", "created": "2026-03-01T12:00:00Z", "ready": true});
            answer[key] = text.into();
            answer[other] = "other".into();
            strict::<Snapshot>(VerbName::CreateSnapshot, &said(&answer.to_string())).is_ok()
        };
        assert_eq!((ready("snapshot", "id"), ready("id", "snapshot")), (is_id, is_id), "{text:?}");
    }
    let error = Id::parse("/a\u{1b}").unwrap_err().to_string();
    assert!(error.contains("is not a volume's or snapshot's id: it must have 1 to 128 bytes"), "{error}");
    assert!(!error.contains('\u{1b}'));
}

#[test]
fn a_snapshot_says_what_it_is_and_since_when() {
    let created = r#","snapshot":"s","created":"2026-03-01T12:00:00Z""#;
    refused::<Snapshot>(
        VerbName::CreateSnapshot,
        &[
            ("", "`created` must be a time of RFC 3339, such as 2026-03-01T12:00:00Z, and there is none"),
            (r#","created":"2026-03-01T12:00:00Z","ready":true"#, "`snapshot` must be a string, and there is none"),
            (r#","snapshot":["s"]"#, "`snapshot` must be a string, and this one is an array"),
            (r#","snapshot":"s","created":1772366400,"ready":true"#, "`created` must be a string"),
            (r#","snapshot":"s","created":"now","ready":true"#, "`created` must be a time of RFC 3339"),
            (r#","snapshot":"s","created":"2026-02-30T12:00:00Z","ready":true"#, "`created` must be a time"),
            (created, "`ready` must be true or false, and there is none"),
            (&format!(r#"{created},"ready":"true""#), "`ready` must be true or false, and this one is a string"),
            (&format!(r#"{created},"ready":true,"bytes":"1g""#), "`bytes` must be a whole number of bytes"),
            (&format!(r#"{created},"ready":true,"id":"a/""#), "`id` is no id"),
        ],
    );
    let text = r#"{"status":"Success","Snapshot":"s","CREATED":"2026-03-01 13:00:00+01:00","ready":false,"log":[{}]}"#;
    let snapshot =
        Snapshot { snapshot: id("s"), id: None, bytes: None, created: time("2026-03-01T12:00:00Z"), ready: false };
    assert_eq!(strict(VerbName::CreateSnapshot, &said(text)), Ok(Came::Done(snapshot)));
}

#[test]
fn lists_are_objects_that_are_each_in_order() {
    refused::<VolumeList>(
        VerbName::ListVolumes,
        &[
            ("", "`volumes` must be an array of objects, and there is none"),
            (r#","volumes":null"#, "`volumes` must be an array of objects, and there is none"),
            (r#","volumes":{}"#, "`volumes` must be an array of objects, and this one is an object"),
            (r#","volumes":["a"]"#, "`volumes[0]` must be an object, and this one is a string"),
            (r#","volumes":[{"id":"a"},null]"#, "`volumes[1]` must be an object, and this one is null"),
            (r#","volumes":[[]]"#, "`volumes[0]` must be an object, and this one is an array"),
            (r#","volumes":[{"id":"a"},{}]"#, "in `volumes[1]` `id` must be a string, and there is none"),
            (r#","volumes":[{"id":"a","bytes":true}]"#, "in `volumes[0]` `bytes` must be a whole number of bytes"),
            (r#","volumes":[{"id":"a/"}]"#, "in `volumes[0]` `id` is no id"),
            (r#","volumes":[],"next":5"#, "`next` must be a string, and this one is a number"),
        ],
    );
    refused::<SnapshotList>(
        VerbName::ListSnapshots,
        &[
            (r#","volumes":[]"#, "`snapshots` must be an array of objects, and there is none"),
            (r#","snapshots":"none""#, "`snapshots` must be an array of objects, and this one is a string"),
            (
                r#","snapshots":[{"snapshot":"s","created":"yesterday","ready":true}]"#,
                "in `snapshots[0]` `created` must be a time of RFC 3339",
            ),
            (
                r#","snapshots":[{"snapshot":"s","created":"2026-03-01T12:00:00Z"}]"#,
                "in `snapshots[0]` `ready` must be true or false, and there is none",
            ),
        ],
    );
}

#[test]
fn what_a_list_holds_beside_is_passed_over_and_the_last_of_equal_keys_counts() {
    let volumes = |text: &str| match strict::<VolumeList>(VerbName::ListVolumes, &said(text)).unwrap() {
        Came::Done(list) => list,
        Came::NotSupported | Came::InProgress => panic!("{text}"),
    };
    let one = |name: &str| Created { id: id(name), bytes: None, options: [].into() };
    let text = r#"{"status":"Success","volumes":[
        {"ID":"a","node":{"deep":[1,{"id":7}]},"snapshot":9,"volumes":[{"id":5}],"status":"Failure","bytes":null},
        {"id":"x","id":"b"} ], "more":[], "next":""}"#;
    assert_eq!(volumes(text), VolumeList { volumes: vec![one("a"), one("b")], next: None });
    let text = r#"{"status":"Success","volumes":[{"id":"a"}],"volumes":[5],"VOLUMES":[{"id":"c"}],"next":"t"}"#;
    assert_eq!(volumes(text), VolumeList { volumes: vec![one("c")], next: Some("t".to_owned()) });
    assert!(
        strict::<VolumeList>(VerbName::ListVolumes, &said(r#"{"status":"Success","volumes":[],"volumes":5}"#)).is_err()
    );
}

#[test]
fn room_and_health_are_said_and_not_guessed() {
    refused::<Capacity>(
        VerbName::GetCapacity,
        &[
            ("", "`available` must be a whole number of bytes, and there is none"),
            (r#","available":"10g""#, "`available` must be a whole number of bytes, and this one is a string"),
            (r#","available":-1"#, "`available` must be a whole number of bytes"),
            (r#","available":1,"maximum":1.5"#, "`maximum` must be a whole number of bytes, and this one is a number"),
        ],
    );
    refused::<Health>(
        VerbName::GetHealth,
        &[
            ("", "`condition` must be one of ok, degraded, inaccessible, dataLoss, and there is none"),
            (r#","condition":true"#, "`condition` must be a string, and this one is true or false"),
            (r#","condition":"OK""#, "`condition` must be one of ok, degraded, inaccessible, dataLoss"),
            (r#","condition":"dataloss""#, "`condition` must be one of"),
        ],
    );
    // A message of the wrong type is a fault to Kubernetes as well.
    let text = r#"{"status":"Success","condition":"ok","message":5}"#;
    let error = strict::<Health>(VerbName::GetHealth, &said(text)).unwrap_err();
    assert!(error.to_string().contains("`message` must be a string"), "{error}");
}

#[test]
fn whose_fault_a_malformed_answer_is_depends_on_who_calls() {
    let hint = |verb| Verdict::WrongShape { verb, why: String::new() }.hint().unwrap();
    assert!(hint(VerbName::Mount).contains("Kubernetes refuses such an answer too"));
    for verb in [VerbName::CreateVolume, VerbName::ListSnapshots, VerbName::GetHealth] {
        assert!(!hint(verb).contains("Kubernetes") && hint(verb).contains("mended"), "{verb}");
    }
}

fn back<R: Answer + Clone + PartialEq + Debug>(verb: VerbName, reply: R, wanted: &str) {
    let line = render_reply(Ok(Came::Done(reply.clone())));
    assert_eq!(line, wanted);
    assert_eq!(strict(verb, &said(&line)), Ok(Came::Done(reply)));
}

#[test]
fn replies_come_back() {
    back(VerbName::Mount, (), r#"{"status":"Success"}"#);
    back(VerbName::Attach, Device(String::new()), r#"{"status":"Success","device":""}"#);
    back(VerbName::IsAttached, Attached(false), r#"{"status":"Success","attached":false}"#);
    back(VerbName::GetVolumeName, VolumeNameReply("v\n".to_owned()), r#"{"status":"Success","volumeName":"v\n"}"#);
    let init = InitReply {
        capabilities: Capabilities { attach: false, ..Capabilities::default() },
        extensions: [Extension::Stdin, Extension::Staged].into(),
        unknown: vec!["later".to_owned()],
    };
    back(
        VerbName::Init,
        init,
        r#"{"status":"Success","capabilities":{"attach":false,"selinuxRelabel":true,"fsGroup":true,"supportsMetrics":false,"requiresFSResize":true},"extensions":["staged","stdin","later"]}"#,
    );
    let words = || Some("by force".to_owned());
    let line = render_reply_with(Ok(Came::Done(())), words());
    assert_eq!(line, r#"{"status":"Success","message":"by force"}"#);
    let line = render_reply_with::<()>(Err(Failed::new("why")), words());
    assert_eq!(line, r#"{"status":"Failure","message":"why"}"#);
    assert_eq!(render_reply::<()>(Ok(Came::NotSupported)), r#"{"status":"Not supported"}"#);
    assert_eq!(render_reply::<()>(Ok(Came::InProgress)), r#"{"status":"In progress"}"#);
    let failed = Failed::new("a \"b\"\nc").with_code(Code::NotFound);
    let line = render_reply::<()>(Err(failed.clone()));
    assert_eq!(line, r#"{"status":"Failure","message":"a \"b\"\nc","code":"notFound"}"#);
    assert_eq!(strict::<()>(VerbName::Mount, &said(&line)), Err(Verdict::Failed(failed)));
}

#[test]
fn replies_of_extensions_come_back() {
    back(VerbName::ExpandVolume, Expanded { bytes: None }, r#"{"status":"Success"}"#);
    back(
        VerbName::ExpandVolume,
        Expanded { bytes: Some(u64::MAX) },
        r#"{"status":"Success","bytes":18446744073709551615}"#,
    );
    let options = [("volumeID".to_owned(), "v".to_owned())].into();
    let created = Created { id: id("v"), bytes: Some(9), options };
    back(
        VerbName::CreateVolume,
        created.clone(),
        r#"{"status":"Success","id":"v","bytes":9,"options":{"volumeID":"v"}}"#,
    );
    let bare = Created { id: id("vg/w"), bytes: None, options: [].into() };
    back(
        VerbName::ListVolumes,
        VolumeList { volumes: vec![created, bare], next: Some("vg/w".to_owned()) },
        r#"{"status":"Success","volumes":[{"id":"v","bytes":9,"options":{"volumeID":"v"}},{"id":"vg/w"}],"next":"vg/w"}"#,
    );
    back(VerbName::ListVolumes, VolumeList::default(), r#"{"status":"Success","volumes":[]}"#);
    let snapshot = Snapshot {
        snapshot: id("vg/s"),
        id: Some(id("vg/v")),
        bytes: Some(4096),
        created: time("2026-03-01T12:00:00.5Z"),
        ready: true,
    };
    let bare = Snapshot { bytes: None, ready: false, ..snapshot.clone() };
    let members = r#""snapshot":"vg/s","id":"vg/v","bytes":4096,"created":"2026-03-01T12:00:00.5Z","ready":true"#;
    back(VerbName::CreateSnapshot, snapshot.clone(), &format!(r#"{{"status":"Success",{members}}}"#));
    back(
        VerbName::ListSnapshots,
        SnapshotList { snapshots: vec![snapshot, bare], next: None },
        &format!(
            r#"{{"status":"Success","snapshots":[{{{members}}},{{"snapshot":"vg/s","id":"vg/v","created":"2026-03-01T12:00:00.5Z","ready":false}}]}}"#
        ),
    );
    back(
        VerbName::GetCapacity,
        Capacity { available: 0, maximum: Some(7) },
        r#"{"status":"Success","available":0,"maximum":7}"#,
    );
    back(
        VerbName::GetCapacity,
        Capacity { available: 1 << 60, maximum: None },
        r#"{"status":"Success","available":1152921504606846976}"#,
    );
    let health = |condition, message: &str| Health { condition, message: message.to_owned() };
    back(VerbName::GetHealth, health(Condition::Ok, ""), r#"{"status":"Success","condition":"ok"}"#);
    back(
        VerbName::GetHealth,
        health(Condition::DataLoss, "a disk is gone"),
        r#"{"status":"Success","message":"a disk is gone","condition":"dataLoss"}"#,
    );
}

fn ids() -> impl Strategy<Value = Id> {
    any::<String>().prop_filter_map("an id", |text| Id::parse(&text).ok())
}

fn volumes() -> impl Strategy<Value = Created> {
    let options = btree_map(any::<String>(), any::<String>(), 0..3);
    (ids(), any::<Option<u64>>(), options).prop_map(|(id, bytes, options)| Created { id, bytes, options })
}

fn times() -> impl Strategy<Value = Timestamp> {
    (-62_135_596_800..253_402_300_800_i64, 0..1_000_000_000_u32)
        .prop_map(|(seconds, nanos)| Timestamp::from_unix(seconds, nanos).unwrap())
}

fn snapshots() -> impl Strategy<Value = Snapshot> {
    let parts = (ids(), ids().prop_map(Some), any::<Option<u64>>(), times(), any::<bool>());
    parts.prop_map(|(snapshot, id, bytes, created, ready)| Snapshot { snapshot, id, bytes, created, ready })
}

fn returns<R: Answer + Clone + PartialEq + Debug>(verb: VerbName, reply: R) {
    let line = render_reply(Ok(Came::Done(reply.clone())));
    assert!(!line.contains('\n'), "one line: {line}");
    assert_eq!(strict(verb, &said(&line)), Ok(Came::Done(reply.clone())), "{line}");
    assert_eq!(tolerant(verb, &said(&format!("noise\n{line}"))).verdict, Ok(Came::Done(reply)), "{line}");
}

proptest! {
    #[test]
    fn whatever_a_driver_lists_comes_back(volumes in vec(volumes(), 0..5), snapshots in vec(snapshots(), 0..5), next in option::of("[^a]{1,9}")) {
        for volume in &volumes {
            returns(VerbName::CreateVolume, volume.clone());
        }
        for snapshot in &snapshots {
            returns(VerbName::CreateSnapshot, snapshot.clone());
        }
        returns(VerbName::ListVolumes, VolumeList { volumes, next: next.clone() });
        returns(VerbName::ListSnapshots, SnapshotList { snapshots, next });
    }

    #[test]
    fn room_and_health_come_back(available: u64, maximum: Option<u64>, condition in proptest::sample::select(&Condition::ALL[..]), message: String) {
        returns(VerbName::GetCapacity, Capacity { available, maximum });
        returns(VerbName::GetHealth, Health { condition, message });
    }
}
