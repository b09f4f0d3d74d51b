//! The whole table of attach: every kind of volume, every state, every wish.

use super::*;
use crate::{
    names::{LvName, Uuid, VgName},
    report::Vg,
    tags::Wipe,
};

const ONE: &str = "4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-JdoK8j";
const TWO: &str = "8au2SC-Xce1-AWR1-S8Nc-txox-CP2s-DrnVmR";
const MARK: &str = "/state/seen/vg/vol1.json";

fn uuid(text: &str) -> Uuid {
    Uuid::parse(text).unwrap()
}

fn place() -> Place {
    Place { vg: VgName::parse("vg").unwrap(), lv: LvName::parse("vol1").unwrap(), vg_uuid: None }
}

/// A volume with these tags, in nobody's use.
fn volume(tags: &str) -> Volume {
    Volume {
        name: "vol1".to_owned(),
        uuid: uuid(ONE),
        group: Vg {
            name: place().vg,
            uuid: uuid(TWO),
            bytes: 1 << 40,
            free: 1 << 39,
            extent: 4 << 20,
            missing_disks: 0,
        },
        bytes: 1 << 20,
        tags: Tags::parse(tags),
        kind: Kind::Thick,
        thick_origin: false,
        external_origin: false,
        origin: None,
        active: false,
        open: false,
        suspended: false,
        partial: false,
        health: String::new(),
        data_percent: None,
        metadata_percent: None,
        overflowed: false,
        check_needed: false,
        path: None,
        dm_path: None,
        zeroes: false,
    }
}

/// The group without one of its disks.
fn one_missing() -> Vg {
    Vg { missing_disks: 1, ..volume("").group }
}

fn ours(state: Option<State>, called: &str) -> String {
    Ours { name: "n".into(), id: format!("vg/{called}"), state, wipe: Wipe::Zero }.tags().join(",")
}

/// The wishes of one call: `create`, `adopt`, and whether it only reads.
type Wishes = (bool, bool, bool);

fn decided(volume: Option<&Volume>, seen: Option<&str>, attached: bool, wishes: Wishes) -> Result<Step> {
    let place = place();
    let seen = seen.map(|lv| Seen { lv_uuid: uuid(lv), vg_uuid: uuid(TWO), pool: None, last: None });
    let (create, adopt, reads_only) = wishes;
    decide(&Facts {
        place: &place,
        volume,
        seen: seen.as_ref().map(|seen| (seen, Path::new(MARK))),
        attached,
        create,
        adopt,
        reads_only,
    })
}

fn every_wish() -> impl Iterator<Item = Wishes> {
    (0..8).map(|bits| (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0))
}

const NOT_FOUND: std::result::Result<Step, Option<Code>> = Err(Some(Code::NotFound));

#[track_caller]
fn told(got: Result<Step>) -> std::result::Result<Step, Option<Code>> {
    got.map_err(|failure| failure.code())
}

/// What is not there is made only if it never was, is wished, and somebody will write to it.
#[test]
fn what_is_not_there() {
    for wishes @ (create, _, reads_only) in every_wish() {
        let wanted = if create && !reads_only { Ok(Step::Create) } else { NOT_FOUND };
        assert_eq!(told(decided(None, None, false, wishes)), wanted, "{wishes:?}");
        let lost = decided(None, Some(ONE), false, wishes).unwrap_err();
        assert_eq!(lost.code(), Some(Code::NotFound));
        assert!(lost.to_string().contains(MARK) && lost.to_string().contains("backup"), "{lost}");
    }
}

/// States of ours, seen never, seen as this very one, and seen as another one.
#[test]
fn what_is_ours() {
    for wishes @ (create, _, reads_only) in every_wish() {
        let remade = if create && !reads_only { Ok(Step::Remake) } else { NOT_FOUND };
        let rows = [
            (None, Ok(Step::Use { adopt: false })),
            (Some(State::Creating), remade),
            (Some(State::Deleting), NOT_FOUND),
            (Some(State::Unknown), Err(Some(Code::Unsupported))),
        ];
        for (state, wanted) in rows {
            let volume = volume(&ours(state, "vol1"));
            for seen in [None, Some(ONE)] {
                assert_eq!(told(decided(Some(&volume), seen, false, wishes)), wanted, "{state:?} {seen:?} {wishes:?}");
            }
            let lost = decided(Some(&volume), Some(TWO), false, wishes).unwrap_err();
            assert!(lost.code() == Some(Code::NotFound) && lost.to_string().contains(MARK), "{lost}");
        }
        // A copy is never begun anew by attach.
        let copy = volume(&format!("{},flexvol.from=vg/other", ours(Some(State::Creating), "vol1")));
        assert_eq!(told(decided(Some(&copy), None, false, wishes)), NOT_FOUND, "{wishes:?}");
    }
}

#[test]
fn what_is_ours_and_was_renamed_is_another() {
    for wishes in every_wish() {
        let renamed = decided(Some(&volume(&ours(None, "vol7"))), None, false, wishes).unwrap_err();
        assert!(renamed.code() == Some(Code::Conflict) && renamed.to_string().contains("vg/vol7"), "{renamed}");
    }
}

/// Somebody else's is used if nobody is at it, or if those are ours; it becomes ours only if that is wished.
#[test]
fn what_is_somebody_else_s() {
    for wishes @ (_, adopt, reads_only) in every_wish() {
        for (open, attached) in [(false, false), (false, true), (true, false), (true, true)] {
            let theirs = Volume { open, active: open, ..volume("theirs,@x") };
            let wanted =
                if open && !attached { Err(Some(Code::Busy)) } else { Ok(Step::Use { adopt: adopt && !reads_only }) };
            assert_eq!(told(decided(Some(&theirs), None, attached, wishes)), wanted, "{open} {attached} {wishes:?}");
        }
        let lost = decided(Some(&volume("")), Some(TWO), false, wishes);
        assert_eq!(told(lost), NOT_FOUND, "another one has its name");
    }
}

/// What is in use by others and ours may be used by more.
#[test]
fn what_is_ours_may_be_open() {
    let open = Volume { open: true, active: true, ..volume(&ours(None, "vol1")) };
    assert_eq!(told(decided(Some(&open), None, false, (false, false, false))), Ok(Step::Use { adopt: false }));
}

#[test]
fn what_misses_a_disk_is_not_used() {
    for tags in [String::new(), ours(None, "vol1")] {
        let partial = Volume { partial: true, group: one_missing(), ..volume(&tags) };
        for wishes in every_wish() {
            let failure = decided(Some(&partial), Some(ONE), false, wishes).unwrap_err();
            assert!(failure.code().is_none() && failure.to_string().contains("missing"), "{failure}");
        }
    }
    // It is its own disks that count.
    let whole = Volume { group: one_missing(), ..volume("") };
    assert!(decided(Some(&whole), None, false, (false, false, false)).is_ok());
}

#[test]
fn what_is_no_volume_is_not_used() {
    let snapshot = format!("{},flexvol.snapshot=s", ours(None, "vol1"));
    let rows = [
        (Kind::ThinPool, ""),
        (Kind::Inner, ""),
        (Kind::ThickSnapshot, snapshot.as_str()),
        (Kind::Thin { pool: "p".into() }, &snapshot),
    ];
    for (kind, tags) in rows {
        let volume = Volume { kind: kind.clone(), ..volume(tags) };
        for wishes in every_wish() {
            assert_eq!(told(decided(Some(&volume), None, false, wishes)), Err(Some(Code::Invalid)), "{kind:?}");
        }
    }
    for kind in [Kind::Thin { pool: "p".into() }, Kind::ThickSnapshot, Kind::Thick] {
        let volume = Volume { kind: kind.clone(), ..volume("") };
        assert!(decided(Some(&volume), None, false, (false, false, false)).is_ok(), "{kind:?}");
    }
}
