//! What createvolume with a source makes of what is there already, as LVM 2.03.16 reported it.

use super::*;

fn rows() -> Vec<Volume> {
    crate::report::read(include_bytes!("../tests/reports/snapshots.json")).unwrap()
}

fn row(name: &str) -> Volume {
    rows().into_iter().find(|one| one.name == name).unwrap()
}

fn place(lv: &str) -> Place {
    Place { vg: VgName::parse("vg").unwrap(), lv: LvName::parse(lv).unwrap(), vg_uuid: None }
}

fn options(pairs: &[(&str, &str)]) -> Options {
    let mut options = Options::default();
    for (key, value) in pairs {
        options.insert(*key, *value);
    }
    options
}

/// A clone of `of` as its tags would say it.
fn clone(lv: &str, of: &Volume, state: Option<State>) -> Volume {
    let origin = Origin { uuid: of.uuid.clone(), id: format!("vg/{}", of.name) };
    let ours = crate::tags::Ours { name: lv.into(), id: format!("vg/{lv}"), state, wipe: Wipe::Zero };
    let tags = [ours.tags(), origin.tags().to_vec()].concat().join(",");
    Volume { name: lv.into(), tags: crate::tags::Tags::parse(&tags), ..row("clone") }
}

#[test]
fn a_clone_is_the_same_by_its_name_and_its_source() {
    let rows = rows();
    let step = |target: Option<&Volume>, of: &str| {
        step(&place("c"), "c", target, &place(of), &rows).map_err(|failure| failure.code())
    };
    let conflict = Err(Some(Code::Conflict));
    assert_eq!(step(None, "vol1"), Ok(Step::Make));
    assert_eq!(step(Some(&clone("c", &row("vol1"), None)), "vol1"), Ok(Step::Done));
    assert_eq!(step(Some(&clone("c", &row("vol1"), None)), "db"), conflict);
    assert_eq!(step(Some(&clone("c", &row("vol1"), Some(State::Creating))), "vol1"), Ok(Step::GoOn));
    assert_eq!(step(Some(&clone("c", &row("vol1"), Some(State::Creating))), "snap-good"), Ok(Step::End));
    assert_eq!(step(Some(&clone("c", &row("db"), Some(State::Creating))), "db"), Ok(Step::End), "thin: begun anew");
    assert_eq!(step(Some(&clone("c", &row("vol1"), Some(State::Deleting))), "vol1"), Ok(Step::End));
    assert_eq!(step(Some(&clone("c", &row("vol1"), Some(State::Unknown))), "vol1"), conflict);
    assert_eq!(step(Some(&clone("other-name", &row("vol1"), None)), "vol1"), conflict);
    assert_eq!(step(Some(&row("vol1")), "vol1"), conflict, "its name is another's");
    assert_eq!(step(Some(&row("other")), "vol1"), conflict);
}

#[test]
fn a_clone_stays_the_same_when_its_source_is_gone() {
    let rows: Vec<Volume> = rows().into_iter().filter(|one| one.name != "vol1").collect();
    let done = clone("c", &row("vol1"), None);
    assert_eq!(step(&place("c"), "c", Some(&done), &place("vol1"), &rows), Ok(Step::Done));
    let half = clone("c", &row("vol1"), Some(State::Creating));
    assert_eq!(step(&place("c"), "c", Some(&half), &place("vol1"), &rows), Ok(Step::End));
}

#[test]
fn sources_are_whole_and_of_their_kind() {
    let rows = rows();
    let found = |lv: &str, is_snapshot: bool| {
        source_of(place(lv), is_snapshot, &rows).map(|from| from.bytes >> 20).map_err(|failure| failure.code())
    };
    assert_eq!((found("vol1", false), found("db", false)), (Ok(64), Ok(100)));
    assert_eq!((found("snap-good", true), found("snap-thin", true)), (Ok(64), Ok(100)), "not the size of its room");
    let none = Err(Some(Code::NotFound));
    for lv in ["none", "vol1", "copy-clone"] {
        assert_eq!(found(lv, true), none, "{lv} is no snapshot to clone");
    }
    assert_eq!((found("none", false), found("clone", false), found("gone", false)), (none, none, none));
    assert_eq!(found("snap-good", false), Err(Some(Code::Invalid)));
    let full = source_of(place("snap-full"), true, &rows).err().unwrap();
    assert!(full.to_string().contains("snapshotSize"), "{full}");
}

#[test]
fn a_clone_is_never_smaller_than_its_source() {
    let of = |pairs: &[(&str, &str)]| fits(&place("c"), 100, &options(pairs)).map_err(|failure| failure.code());
    assert_eq!(of(&[]), Ok(100), "and as large, if nobody wishes more");
    assert_eq!(of(&[(keys::REQUIRED_BYTES, "50")]), Ok(100));
    assert_eq!(of(&[(keys::REQUIRED_BYTES, "150")]), Ok(150));
    assert_eq!(of(&[("size", "1k")]), Ok(1024));
    assert_eq!(of(&[(keys::LIMIT_BYTES, "100")]), Ok(100));
    assert_eq!(of(&[(keys::LIMIT_BYTES, "99")]), Err(Some(Code::Invalid)));
    assert_eq!(of(&[(keys::REQUIRED_BYTES, "150"), (keys::LIMIT_BYTES, "120")]), Err(Some(Code::Invalid)));
}

#[test]
fn a_clone_lies_where_its_source_lies() {
    let rows = rows();
    let lies = |lv: &str, pool: Option<&str>| {
        let pool = pool.map(|pool| LvName::parse(pool).unwrap());
        in_the_same_pool(&source_of(place(lv), false, &rows).unwrap(), pool.as_ref()).is_ok()
    };
    assert!(lies("db", None) && lies("db", Some("pool")) && lies("vol1", None));
    assert!(!lies("db", Some("another")) && !lies("vol1", Some("pool")));
}

#[test]
fn what_grows_says_so_and_every_clone_is_renewed() {
    let rows = rows();
    let from = source_of(place("vol1"), false, &rows).unwrap();
    let pending = |bytes: u64, from: &From<'_>| {
        let wish = Wish::of(&place("c"), "c", bytes, None, &options(&[])).unwrap();
        Pending::read(&crate::tags::Tags::parse(&says(&wish, from).unwrap().join(",")))
    };
    assert!(!pending(64 << 20, &from).grow && pending(65 << 20, &from).grow);
    assert!(pending(64 << 20, &from).renew.is_some());
    assert_ne!(pending(64 << 20, &from).renew, pending(64 << 20, &from).renew);
    let grows = Volume { tags: crate::tags::Tags::parse("flexvol.grow=true"), ..row("vol1") };
    assert!(pending(64 << 20, &From { volume: &grows, ..from }).grow, "its source has not grown yet either");
}

#[test]
fn a_clone_that_is_there_has_the_size_that_is_asked_for_or_is_another() {
    let same = |pairs: &[(&str, &str)]| same_size(&place("c"), 100, &options(pairs)).map_err(|failure| failure.code());
    let conflict = Err(Some(Code::Conflict));
    assert_eq!((same(&[]), same(&[(keys::REQUIRED_BYTES, "100")])), (Ok(()), Ok(())));
    assert_eq!(same(&[(keys::REQUIRED_BYTES, "50")]), Ok(()), "its source is larger");
    assert_eq!((same(&[(keys::REQUIRED_BYTES, "101")]), same(&[("size", "1k")])), (conflict, conflict));
    assert_eq!((same(&[(keys::LIMIT_BYTES, "100")]), same(&[(keys::LIMIT_BYTES, "99")])), (Ok(()), conflict));
}
