//! Volumes modified through the bridge: what the driver is told and what becomes of its answers, when they are made and later.

use std::{collections::BTreeMap, fs};

use flexvolume_csi::wire::csi::{
    ControllerModifyVolumeRequest, CreateVolumeRequest, ValidateVolumeCapabilitiesRequest,
};
use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    bed::Bed,
    volume::{Volume, map, refused},
};

fn announces(extensions: &[&str]) -> Answer {
    Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}, "extensions": extensions}))
}

/// Makes what it is asked for.
fn script(extensions: &[&str]) -> Script {
    let made = json!({"status": "Success", "id": "v", "bytes": 1 << 24, "options": {}});
    Script::sh().on("init", announces(extensions)).on("createvolume", Answer::json(&made))
}

fn failure(code: &str) -> Answer {
    Answer::json(&json!({"status": "Failure", "message": "for a reason of its own", "code": code})).exit(1)
}

fn modify(bed: &Bed, id: &str, wanted: BTreeMap<String, String>) -> Result<(), Status> {
    let request = ControllerModifyVolumeRequest {
        volume_id: id.to_owned(),
        mutable_parameters: wanted,
        secrets: map([("password", "hunter22")]),
    };
    bed.client.controller_modify_volume(request).map(drop)
}

fn wish(bed: &Bed, mutable_parameters: BTreeMap<String, String>) -> CreateVolumeRequest {
    CreateVolumeRequest { parameters: map([("pool", "a"), ("speed", "slow")]), mutable_parameters, ..bed.wish("v") }
}

#[test]
fn the_driver_is_told_and_its_answers_have_codes() {
    let in_progress = || Answer::json(&json!({"status": "In progress"}));
    let answers = [
        in_progress(),
        in_progress(),
        Answer::success(),
        failure("invalid"),
        failure("unsupported"),
        failure("notFound"),
        failure("busy"),
        failure("exhausted"),
        Answer::failure("for no reason"),
        Answer::text("nonsense"),
        Answer::success().run("kill -9 $$"),
    ];
    let Some((mut bed, driver)) = Bed::script(|_| script(&["modify"]).on_each("modifyvolume", answers)) else { return };
    modify(&bed, "v", map([("speed", "fast"), ("tier", "gold"), ("csi.storage.k8s.io/pv/name", "pv")])).unwrap();
    let calls: Vec<_> = driver.calls().unwrap().into_iter().filter(|call| call.verb() == "modifyvolume").collect();
    assert_eq!(calls.len(), 3, "in progress is waited for");
    for call in &calls {
        let told: Value = serde_json::from_str(&call.argv[1]).unwrap();
        // Without `stdin` no secret is in an argument.
        assert_eq!(told, json!({"flexvol/id": "v", "speed": "fast", "tier": "gold"}));
    }
    let fast = || map([("speed", "fast")]);
    for (code, words) in [
        (Code::InvalidArgument, "for a reason of its own"),
        (Code::InvalidArgument, "for a reason of its own"),
        (Code::NotFound, "for a reason of its own"),
        (Code::FailedPrecondition, "for a reason of its own"),
        (Code::ResourceExhausted, "for a reason of its own"),
        (Code::Internal, "for no reason"),
        (Code::Unavailable, "nonsense"),
        (Code::Unavailable, "no answer"),
    ] {
        refused(modify(&bed, "v", fast()), code, &[words]);
    }
    // These come to no driver.
    let before = driver.calls().unwrap().len();
    for (id, wanted, code, words) in [
        ("", fast(), Code::InvalidArgument, "volume_id"),
        ("/v", fast(), Code::NotFound, "no such volume"),
        ("v", map([]), Code::InvalidArgument, "mutable_parameters"),
        ("v", map([("csi.storage.k8s.io/pv/name", "pv")]), Code::InvalidArgument, "mutable_parameters"),
        ("v", map([("flexvol/id", "w")]), Code::InvalidArgument, "flexvol/id"),
        ("v", map([("kubernetes.io/secret/x", "w")]), Code::InvalidArgument, "kubernetes.io/secret/x"),
        ("v", map([("a,b", "w")]), Code::InvalidArgument, "comma"),
        ("v", map([("speed", &"x".repeat(5000))]), Code::InvalidArgument, "4096"),
    ] {
        refused(modify(&bed, id, wanted), code, &[words]);
    }
    assert_eq!(driver.calls().unwrap().len(), before);
    bed.assert_clean();
}

#[test]
fn what_can_be_changed_goes_before_and_is_told_by_name_when_a_volume_is_made() {
    let Some((mut bed, driver)) = Bed::script(|_| script(&["provision", "modify"])) else { return };
    let told = || -> Value {
        let calls = driver.calls().unwrap();
        serde_json::from_str(&calls.iter().rfind(|call| call.verb() == "createvolume").unwrap().argv[1]).unwrap()
    };
    bed.client.create_volume(wish(&bed, map([("speed", "fast"), ("tier", "gold")]))).unwrap();
    let size = json!((16 << 20).to_string());
    assert_eq!(
        told(),
        json!({"flexvol/name": "v", "flexvol/requiredBytes": size, "flexvol/mutable": "speed,tier", "kubernetes.io/fsType": "ext4", "pool": "a", "speed": "fast", "tier": "gold"})
    );
    bed.client.create_volume(wish(&bed, map([]))).unwrap();
    assert_eq!(
        told(),
        json!({"flexvol/name": "v", "flexvol/requiredBytes": size, "kubernetes.io/fsType": "ext4", "pool": "a", "speed": "slow"})
    );
    let fs_type = wish(&bed, map([("csi.storage.k8s.io/fstype", "xfs")]));
    refused(bed.client.create_volume(fs_type), Code::InvalidArgument, &["file system"]);
    bed.assert_clean();
}

#[test]
fn nothing_can_be_changed_where_the_driver_does_not_say_so() {
    let Some((mut bed, driver)) = Bed::script(|_| script(&["provision"])) else { return };
    refused(modify(&bed, "v", map([("speed", "fast")])), Code::Unimplemented, &["modify"]);
    let made = bed.client.create_volume(wish(&bed, map([("speed", "fast")])));
    refused(made, Code::InvalidArgument, &["does not announce modify"]);
    assert_eq!(driver.verbs().unwrap(), ["init"]);
    bed.assert_clean();
}

/// The volume is mounted all along.
#[test]
fn a_volume_in_use_is_modified_and_stays_so() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let volume = bed.create("v");
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    let file = bed.target("one").join("file");
    fs::write(&file, "data").unwrap();
    let mark = bed.command.sandbox.path().join("images/.v.flexvol.json");
    let is_buffered = || serde_json::from_slice::<Value>(&fs::read(&mark).unwrap()).unwrap()["buffered"] == true;
    for through in [true, false, true] {
        let wanted = map([("directIO", if through { "false" } else { "true" })]);
        modify(&bed, &volume.id, wanted.clone()).unwrap();
        bed.restart();
        modify(&bed, &volume.id, wanted).unwrap();
        assert_eq!((is_buffered(), fs::read_to_string(&file).unwrap()), (through, "data".to_owned()));
    }
    let both = map([("directIO", "true"), ("XXX", "YYY")]);
    refused(modify(&bed, &volume.id, both), Code::InvalidArgument, &["XXX"]);
    assert!(is_buffered(), "nothing of it is done");
    let other = format!("{}-other", volume.id);
    refused(modify(&bed, &other, map([("directIO", "true")])), Code::NotFound, &["v-other"]);
    // What a volume could have its driver alone knows: nothing is confirmed in its name.
    let validate = |mutable_parameters| {
        let request = ValidateVolumeCapabilitiesRequest {
            volume_id: volume.id.clone(),
            volume_context: volume.context.clone(),
            volume_capabilities: vec![volume.capability.clone()],
            mutable_parameters,
            ..ValidateVolumeCapabilitiesRequest::default()
        };
        bed.client.validate_volume_capabilities(request)
    };
    let confirmed = validate(map([("directIO", "true")])).unwrap().confirmed.unwrap();
    assert!(confirmed.mutable_parameters.is_empty() && !confirmed.volume_capabilities.is_empty());
    refused(validate(map([("flexvol/id", "w")])), Code::InvalidArgument, &["mutable_parameters"]);
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "data");
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    bed.delete(&volume).unwrap();
    bed.assert_clean();
}

/// Where a volume is made larger: what goes on is waited for, and what broke off may have been done.
#[test]
fn growing_is_waited_for_and_may_have_been_done() {
    let expand = [
        Answer::json(&json!({"status": "In progress"})),
        Answer::json(&json!({"status": "In progress"})),
        Answer::json(&json!({"status": "Success", "bytes": 1 << 25})),
        Answer::success().run("kill -9 $$"),
        Answer::text("nonsense"),
        failure("invalid"),
        Answer::failure("for no reason"),
    ];
    let Some((mut bed, driver)) = Bed::script(|_| {
        crate::scripts::staged()
            .on("init", announces(&["staged", "expand"]))
            .on("expandfs", Answer::success())
            .on_each("expandvolume", expand)
    }) else {
        return;
    };
    let volume = Volume::named("v").of_any_type();
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    let grow = |mib: i64| {
        let request = flexvolume_csi::wire::csi::NodeExpandVolumeRequest {
            volume_id: volume.id.clone(),
            volume_path: bed.target("one").display().to_string(),
            capacity_range: Some(flexvolume_csi::wire::csi::CapacityRange {
                required_bytes: mib << 20,
                limit_bytes: 0,
            }),
            ..Default::default()
        };
        bed.client.node_expand_volume(request)
    };
    assert_eq!(grow(32).unwrap().capacity_bytes, 1 << 25);
    assert_eq!(driver.verbs().unwrap().iter().filter(|verb| *verb == "expandvolume").count(), 3);
    for code in [Code::Unavailable, Code::Unavailable, Code::OutOfRange, Code::Internal] {
        refused(grow(64), code, &[]);
    }
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
}
