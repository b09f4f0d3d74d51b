//! The ledger against damage, other versions, a full disk and two users at once.

use std::path::Path;

use flexvolume_protocol::{DriverName, UserOptions, VolumeName};

use super::{open::Opened, *};
use crate::{
    ident::Ident,
    volume::record::{self, Spec},
};

fn record(name: &str) -> Record {
    let ident = Ident { boot: "b".into(), namespace: "m".into(), machine: None, node: "n".into() };
    let spec = Spec { fs_type: String::new(), options: UserOptions::default(), secret: None };
    let driver = DriverName::parse("v/d").unwrap();
    Record::new(driver, VolumeName::parse(name).unwrap(), record::Kind::Staged, "u", spec, &ident)
}

fn open(path: &Path) -> Opened {
    Ledger::open(path).unwrap()
}

fn put(ledger: &Ledger, name: &str) -> Record {
    let mut record = record(name);
    ledger.put(&mut record, Durability::Power, false).unwrap();
    record
}

#[test]
fn what_was_put_is_got_and_gone_when_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let opened = open(&path);
    assert!(opened.fresh);
    let first = put(&opened.ledger, "a");
    drop(opened);
    let opened = open(&path);
    assert!(opened.fresh, "nobody has said that what was there before is recorded");
    opened.ledger.set_complete().unwrap();
    drop(opened);
    let opened = open(&path);
    assert!(!opened.fresh);
    assert_eq!(opened.ledger.get(&first.key).unwrap(), Some(first.clone()));
    assert_eq!(opened.ledger.all().unwrap().len(), 1);
    opened.ledger.remove(&first.key).unwrap();
    assert_eq!(opened.ledger.get(&first.key).unwrap(), None);
}

/// A state with everything in it at once.
fn full_state() -> crate::volume::state::State {
    use crate::volume::state::{At, Level, Op, Rung, State, Trouble};
    let trouble = |last: &str| Trouble { last: last.into(), held: true };
    let mut state = State::unknown(Level::Absent, String::new());
    state.rung = Rung::Half("/dev/x".into());
    state.want.places.insert("u".into());
    state.places.insert("u".into(), At::Half);
    state.doing = Some(Op::Publish("u".into()));
    state.trouble = [(Op::Detach, trouble("a")), (Op::Unpublish("u".into()), trouble("b"))].into();
    state
}

#[test]
fn every_part_of_a_state_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&dir.path().join("ledger.db"));
    let mut record = record("a");
    record.state = full_state();
    opened.ledger.put(&mut record, Durability::Process, false).unwrap();
    assert_eq!(opened.ledger.get(&record.key).unwrap(), Some(record));
}

#[test]
fn a_row_changed_by_another_hand_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let opened = open(&path);
    let record = put(&opened.ledger, "a");
    put(&opened.ledger, "b");
    opened
        .ledger
        .db
        .lock()
        .unwrap()
        .execute("UPDATE volume SET record = replace(record, 'v/d', 'v/e') WHERE key = 'v/d/a'", [])
        .unwrap();
    let refused = opened.ledger.get(&record.key).unwrap_err();
    assert!(refused.to_string().contains("checksum"), "{refused}");
    assert_eq!(opened.ledger.all().unwrap().iter().filter(|row| row.is_ok()).count(), 1);
}

#[test]
fn a_damaged_file_is_set_aside_and_kept() {
    for garbage in [&b"this is no database at all, not even nearly, but long enough to look at......................................."[..], &[0xff; 5000]] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        std::fs::write(&path, garbage).unwrap();
        let opened = open(&path);
        let aside = opened.set_aside.unwrap();
        assert_eq!(std::fs::read(aside).unwrap(), garbage);
        assert!(opened.fresh);
        put(&opened.ledger, "a");
    }
}

#[test]
fn a_damaged_page_is_noticed_at_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let opened = open(&path);
    for n in 0..200 {
        put(&opened.ledger, &format!("v{n}"));
    }
    drop(opened);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    assert!(open(&path).set_aside.is_some());
}

#[test]
fn a_newer_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let opened = open(&path);
    opened.ledger.db.lock().unwrap().execute_batch("PRAGMA user_version = 9; UPDATE about SET value = 9").unwrap();
    drop(opened);
    let refused = Ledger::open(&path).unwrap_err();
    assert!(refused.to_string().contains("newer flexvol"), "{refused}");
    assert!(path.exists());
}

#[test]
fn two_may_have_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (one, two) = (open(&path), open(&path));
    let record = put(&one.ledger, "a");
    assert_eq!(two.ledger.get(&record.key).unwrap(), Some(record));
    put(&two.ledger, "b");
    assert_eq!(one.ledger.all().unwrap().len(), 2);
}

#[test]
fn old_values_do_not_stay_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let opened = open(&path);
    let mut record = record("a");
    record.spec.fs_type = "a-value-to-look-for".into();
    opened.ledger.put(&mut record, Durability::Process, false).unwrap();
    opened.ledger.remove(&record.key).unwrap();
    drop(opened);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(19).any(|w| w == b"a-value-to-look-for"), "{}", path.display());
    }
}
