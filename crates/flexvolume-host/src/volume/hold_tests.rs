//! What a hold meets, by the state of what is there.

use flexvolume_protocol::{PodUid, UserOptions};

use super::{
    super::{
        admit::{Request, admit},
        record::{SecretRef, User},
        state::{At, Rung},
    },
    *,
};

fn spec() -> Spec {
    Spec {
        fs_type: "ext4".into(),
        options: UserOptions::default(),
        secret: None,
        block: false,
        mount_options: Vec::new(),
    }
}

fn hold() -> Hold {
    let (driver, name) = (DriverName::parse("v/d").unwrap(), VolumeName::parse("data").unwrap());
    Hold { driver, name, spec: spec(), read_only: false, shared: false, attached: None }
}

fn record(hold: &Hold, rung: Rung) -> Record {
    let mut record = hold.record(Kind::Staged, &Ident::read(None).unwrap());
    record.state.rung = rung;
    record
}

fn staged(hold: &Hold) -> Record {
    record(hold, Rung::Staged("d".into()))
}

/// What that hold meets, as words.
fn met(hold: &Hold, record: &Record, current: bool) -> &'static str {
    match hold.meets(record, Kind::Staged, current) {
        Ok(Met::Same) => "same",
        Ok(Met::Stale) => "stale",
        Err(error) if error.kind() == ErrorKind::Refused => "refused",
        Err(_) => "another error",
    }
}

#[test]
fn the_table() {
    let writes = hold();
    let reads = Hold { read_only: true, ..hold() };
    let other = Hold { spec: Spec { fs_type: "xfs".into(), ..spec() }, ..hold() };
    let raw = Hold { spec: Spec { block: true, ..spec() }, ..hold() };
    let given = Hold { attached: Some("d".into()), ..hold() };
    let elsewhere = Hold { attached: Some("e".into()), ..hold() };
    let brings = Hold { spec: Spec { secret: Some(SecretRef::callers()), ..spec() }, ..hold() };
    let named =
        Hold { spec: Spec { secret: Some(SecretRef { namespace: "a".into(), name: "b".into() }), ..spec() }, ..hold() };
    for (there, wanted, up, down) in [
        (&writes, &writes, "same", "same"),
        (&writes, &reads, "same", "stale"),
        (&reads, &writes, "refused", "stale"),
        (&reads, &reads, "same", "same"),
        (&writes, &other, "refused", "stale"),
        (&writes, &raw, "refused", "stale"),
        (&raw, &writes, "refused", "stale"),
        (&writes, &given, "refused", "stale"),
        (&given, &writes, "refused", "stale"),
        (&given, &given, "same", "same"),
        (&given, &elsewhere, "refused", "stale"),
        (&writes, &brings, "same", "same"),
        (&brings, &writes, "same", "same"),
        (&writes, &named, "refused", "stale"),
        (&brings, &named, "refused", "stale"),
    ] {
        let about = format!("{there:?} and then {wanted:?}");
        assert_eq!(met(wanted, &staged(there), true), up, "{about}");
        assert_eq!(met(wanted, &staged(there), false), down, "after a reboot: {about}");
        assert_eq!(met(wanted, &record(there, Rung::Attached("d".into())), true), down, "{about}");
        assert_eq!(met(wanted, &record(there, Rung::Half("d".into())), true), down, "{about}");
        assert_eq!(met(&Hold::of(&staged(there)), &staged(there), true), "same", "{about}");
    }
}

#[test]
fn what_pods_want_is_never_stale() {
    let other = Hold { spec: Spec { fs_type: "xfs".into(), ..spec() }, ..hold() };
    let mut wanted = record(&hold(), Rung::Unsure);
    wanted.state.want.places.insert("a".into());
    assert_eq!(met(&other, &wanted, false), "refused");
    let mut left = record(&hold(), Rung::Attached("d".into()));
    left.state.places.insert("a".into(), At::Half);
    assert_eq!(met(&other, &left, true), "refused");
    assert_eq!(met(&other, &left, false), "stale");
    let rebuilt = Record { rebuilt: true, ..staged(&hold()) };
    assert_eq!(met(&hold(), &rebuilt, true), "refused");
    assert!(hold().meets(&staged(&hold()), Kind::Attachable, true).is_err());
}

/// A pod's wish for that volume.
fn request(spec: Spec, read_only: bool) -> Request {
    let user = User {
        pod: "web".into(),
        namespace: "default".into(),
        uid: "not-the-place".into(),
        service_account: String::new(),
        fs_group: None,
        fs_group_on_mismatch: false,
        read_only,
        volume: "data".into(),
        mounts: Vec::new(),
    };
    let (driver, name, uid) = (hold().driver, hold().name, PodUid::parse("place").unwrap());
    Request { driver, name, persistent: true, exclusive: false, capacity: None, uid, spec, user }
}

#[test]
fn pods_share_what_is_held_and_change_nothing_of_it() {
    let held = |hold: &Hold, rung| {
        let mut record = record(hold, rung);
        record.state.want.hold = Level::Staged;
        record
    };
    let other = Spec { fs_type: "xfs".into(), ..spec() };
    // Also while it is not up: whoever holds it will bring it up again.
    for rung in [Rung::Staged("d".into()), Rung::Attached("d".into()), Rung::Unsure] {
        let mut record = held(&hold(), rung.clone());
        assert!(!request(other.clone(), false).supersedes(&record));
        assert!(admit(&mut record, &request(other.clone(), false)).is_err() && record.spec == spec());
        admit(&mut record, &request(spec(), false)).unwrap();
        assert!(record.users.contains_key("place") && record.state.is_held());
        // Whom else it is shown to nobody here knows.
        let mut pod = request(spec(), false);
        pod.user.uid = "place".into();
        let alone = Request { exclusive: true, ..pod.clone() };
        assert!(admit(&mut record, &alone).unwrap_err().to_string().contains("held for clients of flexvol csi"));
        record.alone = true;
        let refused = admit(&mut record, &pod).unwrap_err();
        assert!(refused.to_string().contains("one user alone") && record.alone, "{refused}");

        let mut reads = held(&Hold { read_only: true, ..hold() }, rung);
        let refused = admit(&mut reads, &request(spec(), false)).unwrap_err();
        assert!(refused.to_string().ends_with("for whoever holds it"), "{refused}");
        admit(&mut reads, &request(spec(), true)).unwrap();
        assert!(reads.read_only);
    }
    // Nobody holds this one.
    let mut free = record(&hold(), Rung::Absent);
    admit(&mut free, &request(other.clone(), false)).unwrap();
    assert_eq!(free.spec, other);
}

/// Of one node alone it stays where it lies on a device.
#[test]
fn several_nodes_that_write_meet_what_is_mounted_from_a_device() {
    let shared = Hold { shared: true, ..hold() };
    let part = |dev: (u32, u32), fs_type: &str| {
        Trace::Part(serde_json::from_value(serde_json::json!({"dev": dev, "fs_type": fs_type, "shown": "/"})).unwrap())
    };
    for (trace, is_refused) in
        [(part((7, 1), "ext4"), true), (part((0, 40), "btrfs"), true), (part((0, 41), "nfs4"), false)]
    {
        let mut up = staged(&hold());
        up.remember(None, trace);
        let met = shared.meets(&up, Kind::Staged, true);
        assert_eq!(met.is_err_and(|error| error.is_otherwise()), is_refused);
        up.shared = true;
        assert_eq!(shared.meets(&up, Kind::Staged, true).unwrap(), Met::Same);
        assert_eq!(hold().meets(&up, Kind::Staged, true).unwrap(), Met::Same);
    }
}

#[test]
fn who_may_hold() {
    let raw = Hold { spec: Spec { block: true, ..spec() }, ..hold() };
    let with_block = BTreeSet::from([Extension::Block]);
    assert!(
        hold().check(Kind::Staged, &BTreeSet::new()).is_ok() && hold().check(Kind::Attachable, &with_block).is_ok()
    );
    assert!(raw.check(Kind::Staged, &with_block).is_ok());
    for error in [raw.check(Kind::Staged, &BTreeSet::new()), hold().check(Kind::Direct, &with_block)] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn what_callers_bring_is_no_part_of_a_volume_and_older_records_stay_what_they_were() {
    let brings = Spec { secret: Some(SecretRef::callers()), ..spec() };
    let storage = |spec: &Spec| staged(&Hold { spec: spec.clone(), ..hold() }).storage().unwrap();
    assert_eq!(storage(&brings), storage(&spec()));
    assert_ne!(storage(&Spec { block: true, ..spec() }), storage(&spec()));
    // As it was digested before there were raw volumes.
    assert_eq!(serde_json::to_string(&spec()).unwrap(), r#"{"fsType":"ext4","options":{},"secret":null}"#);
    assert!(crate::volume::admit::differences(&brings, &spec()).is_empty());
    let mut kept = spec();
    kept.remember_callers(&brings);
    kept.remember_callers(&spec());
    assert_eq!(kept, brings);
}

#[test]
fn a_device_that_was_given_keeps_its_name_after_a_reboot() {
    let given = Hold { attached: Some("lun 5".into()), ..hold() };
    let ident = Ident::read(None).unwrap();
    let mut record = staged(&given);
    record.state.rung = Rung::Staged("/dev/sdb".into());
    record.boot = "another".into();
    assert!(super::super::act::boot_changed(&mut record, &ident));
    assert_eq!((record.state.rung, record.attached.as_str()), (Rung::Attached("lun 5".into()), "lun 5"));
}
