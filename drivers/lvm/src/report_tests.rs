//! Reports as LVM 2.03.16 wrote them; `lv_attr` and the group's figures were put to its volumes from another report of it.

use proptest::prelude::*;

use super::*;

fn volumes() -> Vec<Volume> {
    read(include_bytes!("../tests/reports/lvs.json")).unwrap()
}

fn volume(name: &str) -> Volume {
    volumes().into_iter().find(|one| one.name == name).unwrap()
}

#[test]
fn every_kind_of_volume_is_told() {
    let kinds: Vec<(String, Kind, bool)> =
        volumes().into_iter().map(|one| (one.name, one.kind, one.thick_origin)).collect();
    let thin = || Kind::Thin { pool: "pool".into() };
    let wanted = [
        ("base", Kind::Thick, true),
        ("pool", Kind::ThinPool, false),
        ("snap", Kind::ThickSnapshot, false),
        ("thin", thin(), false),
        ("tsnap", thin(), false),
        ("vol1", Kind::Thick, false),
    ];
    assert_eq!(kinds, wanted.map(|(name, kind, origin)| (name.to_owned(), kind, origin)));
    assert_eq!(volume("tsnap").origin.as_deref(), Some("thin"));
    assert_eq!(volume("snap").origin.as_deref(), Some("base"));
    assert_eq!(volume("thin").pool(), Some("pool"));
    let zeroed = |one: &Volume| matches!(one.kind, Kind::Thin { .. } | Kind::ThinPool);
    assert!(volumes().iter().all(|one| one.zeroes == zeroed(one)));
    let careless = include_str!("../tests/reports/lvs.json").replace("tz--", "t---");
    assert!(read::<Volume>(careless.as_bytes()).unwrap().iter().all(|one| !one.zeroes));
}

#[test]
fn states_of_devices_are_told() {
    let base = volume("base");
    assert!(base.active && base.suspended && !base.open);
    let tsnap = volume("tsnap");
    assert!(!tsnap.active && !tsnap.suspended && !tsnap.open, "unknown is not yes");
    assert!(volume("pool").open);
    assert_eq!(volume("pool").metadata_percent, Some(10.94));
    let vol1 = volume("vol1");
    assert!(vol1.partial && vol1.group.missing_disks == 1);
    assert_eq!(vol1.bytes, 419_430_400);
    assert_eq!(vol1.path.as_deref(), Some(std::path::Path::new("/dev/vg/vol1")));
    assert_eq!(vol1.tags.ours().unwrap().name, "vol1");
}

#[test]
fn disks_and_their_groups_are_told() {
    let disks: Vec<Pv> =
        read::<Option<Pv>>(include_bytes!("../tests/reports/pvs.json")).unwrap().into_iter().flatten().collect();
    let told: Vec<_> =
        disks.iter().map(|pv| (pv.device.as_deref(), pv.vg.as_str(), pv.missing, pv.duplicate)).collect();
    assert_eq!(
        told,
        [
            (Some("/dev/loop0"), "vg", false, false),
            (None, "vg", true, false),
            (Some("/dev/loop4"), "vg", false, true),
            (Some("/dev/loop2"), "theirs", false, false),
        ]
    );
    assert!(disks[3].exported && disks[3].shared && disks[3].system == "other");
}

#[test]
fn groups_are_told() {
    let groups: Vec<Vg> = read(include_bytes!("../tests/reports/vgs.json")).unwrap();
    assert_eq!(groups.len(), 1);
    let one = &groups[0];
    assert_eq!((one.bytes, one.free, one.extent, one.missing_disks), (624_951_296, 301_989_888, 4_194_304, 0));
}

#[test]
fn none_is_none_and_rubbish_is_a_failure() {
    assert_eq!(read::<Volume>(br#"{"report":[{"lv":[]}]}"#).unwrap(), []);
    assert_eq!(read::<Volume>(br#"{"report":[],"log":[]}"#).unwrap(), []);
    for bad in ["", "{", "[]", r#"{"report":[{"lv":[{}]}]}"#, r#"{"report":[{"lv":[1]}]}"#, r#"{"report":{}}"#] {
        assert!(read::<Volume>(bad.as_bytes()).is_err(), "{bad}");
    }
    let text = include_str!("../tests/reports/lvs.json");
    for (from, to) in [("\"54525952\"", "\"x\""), ("\"54525952\"", "1"), ("lv_tags", "tags"), ("VpWZa2-", "../")] {
        assert!(text.contains(from));
        assert!(read::<Volume>(text.replace(from, to).as_bytes()).is_err(), "{from}");
    }
}

#[test]
fn every_field_that_is_read_is_asked_for() {
    for (fields, text) in [
        (Volume::FIELDS, include_str!("../tests/reports/lvs.json")),
        (Vg::FIELDS, include_str!("../tests/reports/vgs.json")),
        (<Option<Pv>>::FIELDS, include_str!("../tests/reports/pvs.json")),
    ] {
        let report: Report = serde_json::from_str(text).unwrap();
        let row = report.report[0].values().next().unwrap()[0].as_object().unwrap().clone();
        let mut asked: Vec<&str> = fields.split(',').collect();
        asked.sort_unstable();
        assert_eq!(row.keys().map(String::as_str).collect::<Vec<_>>(), asked);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0_u8.., 0..100), cut in 0_usize..4000) {
        let _ = read::<Volume>(&bytes);
        let text = include_bytes!("../tests/reports/lvs.json");
        let _ = read::<Volume>(&text[..cut.min(text.len())]);
    }
}
