//! What createsnapshot and deletesnapshot make of what is there already, as LVM 2.03.16 reported it.

use super::*;
use crate::names::VgName;

fn rows() -> Vec<Volume> {
    crate::report::read(include_bytes!("../tests/reports/snapshots.json")).unwrap()
}

fn row(name: &str) -> Volume {
    rows().into_iter().find(|one| one.name == name).unwrap()
}

fn place(lv: &str) -> Place {
    Place { vg: VgName::parse("vg").unwrap(), lv: LvName::parse(lv).unwrap(), vg_uuid: None }
}

#[test]
fn snapshots_are_taken_of_whole_volumes_of_ours() {
    let code = |lv: &str| usable(&place(lv), &rows()).map(|one| one.name.clone()).map_err(|failure| failure.code());
    assert_eq!(code("vol1"), Ok("vol1".to_owned()));
    assert_eq!(code("db"), Ok("db".to_owned()));
    for (lv, wanted) in [
        ("none", Code::NotFound),
        ("clone", Code::NotFound),
        ("gone", Code::NotFound),
        ("other", Code::Permission),
        ("pool", Code::Permission),
        ("snap-good", Code::Invalid),
        ("copy-clone", Code::Invalid),
    ] {
        assert_eq!(code(lv), Err(Some(wanted)), "{lv}");
    }
    let partial = [Volume { partial: true, ..row("vol1") }];
    assert!(usable(&place("vol1"), &partial).unwrap_err().to_string().contains("missing"));
}

#[test]
fn the_same_name_is_the_same_snapshot_of_the_same_volume() {
    let rows = rows();
    let known = |there: &Volume, name: &str, of: &str| {
        let place = place(&there.name);
        match known(&place, there, name, (&self::place(of), &rows)) {
            Ok(Known::Same(snapshot)) => Ok(Some(snapshot.snapshot.as_str().to_owned())),
            Ok(Known::End(_)) => Ok(None),
            Err(failure) => Err(failure.code()),
        }
    };
    assert_eq!(known(&row("snap-good"), "good", "vol1"), Ok(Some("vg/snap-good".to_owned())));
    let conflict = Err(Some(Code::Conflict));
    assert_eq!(known(&row("snap-good"), "good", "db"), conflict, "of another volume");
    assert_eq!(known(&row("snap-good"), "better", "vol1"), conflict, "two names that meet");
    assert_eq!(known(&row("vol1"), "vol1", "vol1"), conflict, "a volume");
    assert_eq!(known(&row("other"), "other", "vol1"), conflict, "another's");
    assert_eq!(known(&row("copy-clone"), "copy-clone", "vol1"), conflict, "one that nobody asked for");
    for state in [State::Creating, State::Deleting] {
        let tags = row("snap-good").tags;
        let mut taken = Taken::read(&row("snap-good")).unwrap();
        taken.ours.state = Some(state);
        let there = Volume { tags: crate::tags::Tags::parse(&taken.tags().join(",")), ..row("snap-good") };
        assert_ne!(there.tags, tags);
        assert_eq!(known(&there, "good", "vol1"), Ok(None), "{state:?} comes to its end first");
    }
}

#[test]
fn a_snapshot_outlives_its_volume() {
    let rows: Vec<Volume> = rows().into_iter().filter(|one| one.name != "db").collect();
    let there = row("snap-thin");
    let found = known(&place("snap-thin"), &there, "thin", (&place("db"), &rows)).unwrap();
    assert!(matches!(found, Known::Same(snapshot) if snapshot.id.as_ref().unwrap().as_str() == "vg/db"));
}

#[test]
fn only_snapshots_are_deleted_and_none_that_a_clone_still_needs() {
    let code = |lv: &str, rows: &[Volume]| {
        let volume = rows.iter().find(|one| one.name == lv).unwrap();
        deletable(&place(lv), volume, rows).map(|_| ()).map_err(|failure| failure.code())
    };
    assert_eq!(code("snap-good", &rows()), Ok(()));
    assert_eq!(code("snap-full", &rows()), Ok(()));
    assert_eq!(code("other", &rows()), Err(Some(Code::Permission)));
    assert_eq!(code("vol1", &rows()), Err(Some(Code::Invalid)));
    let mut rows = rows();
    let uuid = row("snap-good").uuid;
    let clone = rows.iter_mut().find(|one| one.name == "clone").unwrap();
    let origin = Origin { uuid, id: "vg/snap-good".into() };
    let creating = [clone.tags.ours().unwrap().tags(), origin.tags().to_vec()].concat().join(",");
    clone.tags = crate::tags::Tags::parse(&creating);
    assert_eq!(code("snap-good", &rows), Err(Some(Code::Busy)));
    assert_eq!(code("snap-full", &rows), Ok(()));
}
