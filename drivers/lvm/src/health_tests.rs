//! Findings of every kind, in what LVM 2.03.16 reported.

use super::*;
use crate::names::Uuid;

const ONE: &str = "4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-JdoK8j";

fn rows() -> Vec<Volume> {
    crate::report::read(include_bytes!("../tests/reports/snapshots.json")).unwrap()
}

/// All rows, one of them changed.
fn with(name: &str, change: impl Fn(&mut Volume)) -> Vec<Volume> {
    let mut rows = rows();
    change(rows.iter_mut().find(|one| one.name == name).unwrap());
    rows
}

fn row(name: &str) -> Volume {
    rows().into_iter().find(|one| one.name == name).unwrap()
}

fn seen(lv: Uuid) -> Seen {
    Seen { lv_uuid: lv, vg_uuid: row("vol1").group.uuid, pool: None, last: None }
}

fn of(lv: &str, rows: &[Volume], seen: Option<&Seen>, held: Option<&Held>) -> Result<Health> {
    let place = Place { vg: VgName::parse("vg").unwrap(), lv: LvName::parse(lv).unwrap(), vg_uuid: None };
    judge(&place, rows, seen, held, &Settings::default()).map(Finding::told)
}

#[track_caller]
fn is(health: &Health, condition: Condition, words: &[&str]) {
    assert_eq!(health.condition, condition, "{}", health.message);
    for word in words {
        assert!(health.message.contains(word), "no {word:?} in: {}", health.message);
    }
    assert_eq!(health.message.is_empty(), condition == Condition::Ok, "{}", health.message);
}

#[test]
fn a_volume_that_is_well() {
    is(&of("db", &rows(), Some(&seen(row("db").uuid)), None).unwrap(), Condition::Ok, &[]);
    is(&of("snap-good", &rows(), None, None).unwrap(), Condition::Ok, &[]);
}

#[test]
fn what_is_lost_and_what_never_was() {
    let lost = seen(Uuid::parse(ONE).unwrap());
    is(&of("none", &rows(), Some(&lost), None).unwrap(), Condition::DataLoss, &["vg/none", "is gone"]);
    is(&of("vol1", &rows(), Some(&lost), None).unwrap(), Condition::DataLoss, &["another one has its name"]);
    for lv in ["none", "clone", "gone"] {
        assert_eq!(of(lv, &rows(), None, None).unwrap_err().code(), Some(Code::NotFound), "{lv}");
    }
}

#[test]
fn a_missing_disk_a_device_that_stands_still_and_one_that_is_gone() {
    let rows = with("db", |row| (row.partial, row.group.missing_disks, row.health) = (true, 1, "partial".into()));
    is(
        &of("db", &rows, None, None).unwrap(),
        Condition::Inaccessible,
        &["a disk of vg/db is missing", "--restoremissing"],
    );
    let rows = with("db", |row| row.suspended = true);
    is(&of("db", &rows, None, None).unwrap(), Condition::Inaccessible, &["stands still", "lvchange --refresh vg/db"]);
    let rows = with("db", |row| row.active = false);
    let held = Held::of(&row("db"), "/dev/vg/db".into(), Vec::new());
    is(&of("db", &rows, None, Some(&held)).unwrap(), Condition::Inaccessible, &["attach it again"]);
    is(&of("db", &rows, None, None).unwrap(), Condition::Ok, &[]);
    let other = Held { lv_uuid: Uuid::parse(ONE).unwrap(), ..held };
    is(&of("db", &rows, None, Some(&other)).unwrap(), Condition::Ok, &[]);
    let rows = with("vol1", |row| row.health = "refresh needed".into());
    is(&of("vol1", &rows, None, None).unwrap(), Condition::Degraded, &["refresh needed"]);
}

#[test]
fn pools_that_fill_up_and_pools_that_are_full() {
    let rows = with("pool", |row| row.data_percent = Some(81.0));
    is(&of("db", &rows, None, None).unwrap(), Condition::Degraded, &["81.0 % of its data", "vg/pool"]);
    is(&of("vol1", &with("snap-full", |row| row.overflowed = false), None, None).unwrap(), Condition::Ok, &[]);
    let rows = with("pool", |row| row.metadata_percent = Some(99.0));
    is(&of("db", &rows, None, None).unwrap(), Condition::Degraded, &["metadata"]);
    for ill in ["out_of_data", "failed", "metadata_read_only"] {
        let rows = with("pool", |row| row.health = ill.into());
        is(&of("db", &rows, None, None).unwrap(), Condition::Inaccessible, &[ill]);
    }
    let rows = with("pool", |row| row.check_needed = true);
    is(&of("db", &rows, None, None).unwrap(), Condition::Degraded, &["lvconvert --repair vg/pool"]);
}

#[test]
fn an_overflowed_snapshot_is_told_of_it_and_of_its_volume() {
    is(&of("snap-full", &rows(), None, None).unwrap(), Condition::DataLoss, &["vg/snap-full is lost"]);
    is(&of("vol1", &rows(), None, None).unwrap(), Condition::Degraded, &["vg/snap-full is lost", "snapshotSize"]);
}

#[test]
fn the_storage_tells_of_all_that_is_ours() {
    let nobody = |_: &Volume| None;
    let survey = |rows: &[Volume]| {
        Finding::told(survey(rows, &nobody, &Settings::default()).into_iter().map(Finding::of_a_part).collect())
    };
    is(&survey(&rows()), Condition::Degraded, &["vg/snap-full is lost"]);
    let well = with("snap-full", |row| row.overflowed = false);
    is(&survey(&well), Condition::Ok, &[]);
    let mut lost: Vec<Volume> = well.clone();
    lost.iter_mut().for_each(|row| (row.group.missing_disks, row.partial, row.health) = (1, true, "partial".into()));
    let health = survey(&lost);
    is(&health, Condition::Degraded, &["disks of the volume group vg are missing (1)"]);
    assert_eq!(health.message.matches("missing").count(), 1, "once: {}", health.message);
    let theirs: Vec<Volume> = lost.into_iter().filter(|row| row.tags.ours().is_none()).collect();
    is(&survey(&theirs), Condition::Ok, &[]);
    let held = |row: &Volume| Some(Held::of(row, "/dev/x".into(), Vec::new()));
    let gone: Vec<Volume> = well.into_iter().map(|row| Volume { active: row.name != "db", ..row }).collect();
    let health = Finding::told(super::survey(&gone, &held, &Settings::default()));
    is(&health, Condition::Inaccessible, &["vg/db is attached, and its device is gone"]);
}
