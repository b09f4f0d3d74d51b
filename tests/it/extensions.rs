//! Calls of extensions by hand, of a driver in shell that announces them: what `flexvol call` and `flexvol drivers` make of
//! them, and what the doctor says of a script that announces more than it serves.

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::{Value, json};

use crate::bed::Bed;

const ALL: [&str; 12] = [
    "staged",
    "local",
    "stdin",
    "block",
    "provision",
    "expand",
    "snapshot",
    "clone",
    "capacity",
    "list",
    "health",
    "modify",
];

fn announces(extensions: &[&str]) -> Answer {
    Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}, "extensions": extensions}))
}

fn success(mut members: Value) -> Answer {
    members["status"] = "Success".into();
    Answer::json(&members)
}

const TIME: &str = "2026-03-01T12:00:00Z";

#[test]
fn every_call_of_an_extension_is_read_as_what_it_is() {
    let Some(bed) = Bed::new() else { return };
    let snapshot =
        json!({"snapshot": "vg/s", "id": "vg/v", "bytes": 9, "created": "2026-03-01 13:00:00+01:00", "ready": true});
    let volume = json!({"id": "vg/v", "bytes": 9, "options": {"a": "b"}, "node": 7});
    let script = Script::sh()
        .on("init", announces(&ALL))
        .on("createsnapshot", success(snapshot.clone()))
        .on("deletesnapshot", Answer::json(&json!({"status": "In progress"})))
        .on("modifyvolume", Answer::json(&json!({"status": "In progress"})))
        .on("listsnapshots", success(json!({"snapshots": [snapshot], "next": "vg/s"})))
        .on("getcapacity", success(json!({"available": 1_u64 << 40, "maximum": null})))
        .on("listvolumes", success(json!({"volumes": [volume]})))
        .on("gethealth", success(json!({"condition": "degraded", "message": "a disk is slow"})));
    bed.script("v/d", script);
    let read = format!(r#""snapshot":"vg/s","id":"vg/v","bytes":9,"created":"{TIME}","ready":true"#);
    for (verb, members) in [
        ("createsnapshot", read.clone()),
        ("listsnapshots", format!(r#""snapshots":[{{{read}}}],"next":"vg/s""#)),
        ("getcapacity", r#""available":1099511627776"#.to_owned()),
        ("listvolumes", r#""volumes":[{"id":"vg/v","bytes":9,"options":{"a":"b"}}]"#.to_owned()),
        ("gethealth", r#""message":"a disk is slow","condition":"degraded""#.to_owned()),
    ] {
        let expected = format!(r#"Success, read as {{"status":"Success",{members}}}"#);
        let seen = bed.json(["call", "v/d", verb, r#"{"flexvol/id":"vg/v"}"#]);
        assert_eq!((&seen["flexvol"], &seen["kubernetes"]), (&json!(expected), &json!(expected)), "{verb}");
        let text = bed.ok(["call", "v/d", verb, "{}"]);
        assert!(text.contains(&format!("flexvol says: {expected}\n")), "{text}");
    }
    for verb in ["deletesnapshot", "modifyvolume"] {
        assert_eq!(bed.json(["call", "v/d", verb, "{}"])["flexvol"], "In progress", "{verb}");
    }
    assert_eq!(bed.json(["drivers"])[0]["extensions"], json!(ALL));
}

#[test]
fn what_is_wrong_in_an_answer_of_an_extension_is_told_with_its_place() {
    let Some(bed) = Bed::new() else { return };
    let snapshots = json!([{"snapshot": "a", "id": "v", "created": TIME, "ready": true}, {"snapshot": "b", "id": "v", "created": "today", "ready": true}]);
    let script = Script::sh()
        .on("init", announces(&["snapshot", "capacity", "list", "health"]))
        .on("createsnapshot", success(json!({"snapshot": "/a", "created": TIME, "ready": true})))
        .on("listsnapshots", success(json!({"snapshots": snapshots})))
        .on("getcapacity", Answer::success())
        .on("listvolumes", success(json!({"volumes": [{"id": 5}]})))
        .on("gethealth", success(json!({"condition": "fine"})));
    bed.script("v/d", script);
    for (verb, words) in [
        ("createsnapshot", "`snapshot` is no id: it must have 1 to 128 bytes"),
        ("listsnapshots", "in `snapshots[1]` `created` must be a time of RFC 3339"),
        ("getcapacity", "`available` must be a whole number of bytes, and there is none"),
        ("listvolumes", "in `volumes[0]` `id` must be a string, and this one is a number"),
        ("gethealth", "`condition` must be one of ok, degraded, inaccessible, dataLoss"),
    ] {
        let seen = bed.json(["call", "v/d", verb, "{}"]);
        let said = seen["flexvol"].as_str().unwrap();
        assert!(said.starts_with(&format!("failed: the driver's answer to {verb} is malformed: ")), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

/// All of it for programs; a person is shown the beginning.
#[test]
fn a_long_list_is_shown_to_people_in_part() {
    let Some(bed) = Bed::new() else { return };
    let volumes: Vec<_> = (0..1000).map(|n| json!({"id": format!("volume-{n}")})).collect();
    bed.script(
        "v/d",
        Script::sh().on("init", announces(&["list"])).on("listvolumes", success(json!({"volumes": volumes}))),
    );
    let seen = bed.json(["call", "v/d", "listvolumes", "{}"]);
    assert!(seen["flexvol"].as_str().unwrap().contains("volume-999"));
    let text = bed.ok(["call", "v/d", "listvolumes", "{}"]);
    assert!(text.contains("volume-9") && !text.contains("volume-999") && text.contains("more characters"), "{text}");
}

#[test]
fn the_doctor_finds_what_is_announced_and_not_served() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/d", Script::sh().on("init", announces(&["snapshot", "list"])).on("listvolumes", Answer::success()));
    let report = bed.run(["-o", "json", "doctor"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let text = report.to_string();
    assert!(
        text.contains("announces snapshot, and its script has no createsnapshot, deletesnapshot, listsnapshots"),
        "{text}"
    );
    assert!(!text.contains("announces list"), "{text}");
}
