//! The ledger against damage, other versions, a full disk and two users at once.

use std::path::Path;

use flexvolume_linux::process;
use flexvolume_protocol::{DriverName, UserOptions, VolumeName};
use rusqlite::{
    StatementStatus,
    ffi::{SQLITE_BUSY, SQLITE_CORRUPT},
};

use super::{
    open::{Opened, Trouble},
    peek::again,
    *,
};
use crate::{
    ident::Ident,
    volume::record::{self, Spec},
};

fn record(name: &str) -> Record {
    let ident = Ident { boot: "b".into(), namespace: "m".into(), machine: None, node: "n".into() };
    let spec = Spec {
        fs_type: String::new(),
        options: UserOptions::default(),
        secret: None,
        block: false,
        mount_options: Vec::new(),
    };
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

#[test]
fn volumes_are_counted_where_they_lie_as_they_would_be_by_their_records() {
    use crate::volume::state::{At, Level, Rung, State};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let ledger = open(&path).ledger;
    let teller = Teller::of(&path);
    assert_eq!(teller.tell().unwrap(), [].into());
    let told = |teller: &Teller| teller.tell().unwrap().remove("v/d").unwrap();
    let mut states = vec![full_state()];
    for (floor, rung) in [
        (Level::Absent, Rung::Unsure),
        (Level::Absent, Rung::Staged(String::new())),
        (Level::Absent, Rung::Staged("/dev/x".into())),
        (Level::Attached, Rung::Staged("/dev/x".into())),
        (Level::Staged, Rung::Staged(String::new())),
        (Level::Absent, Rung::Attached("/dev/x".into())),
    ] {
        let mut state = State { rung, ..State::unknown(floor, String::new()) };
        for (place, at) in [("a", At::Ready), ("b", At::Growing), ("c", At::Half), ("d", At::Mounted)] {
            state.places.insert(place.into(), at);
        }
        states.push(state);
    }
    let mut by_records = Tally::default();
    for (nth, state) in states.into_iter().enumerate() {
        let mut record = record(&format!("n{nth}"));
        record.state = state;
        ledger.put(&mut record, Durability::Process, false).unwrap();
        let state = &record.state;
        by_records.known += 1;
        by_records.held += i64::from(state.floor == Level::Absent && state.is_staged());
        by_records.published += state.places.values().filter(|at| matches!(at, At::Ready | At::Growing)).count() as i64;
        by_records.failing += i64::from(!state.trouble.is_empty());
        assert_eq!(told(&teller), by_records, "after {state:?}");
        assert_eq!(told(&teller), by_records, "nothing was written since");
    }
    assert!(by_records.held == 2 && by_records.published == 12 && by_records.failing == 1, "{by_records:?}");
    // What is damaged keeps nobody from counting the rest.
    let db = Connection::open(&path).unwrap();
    db.execute("UPDATE volume SET record = 'no JSON' WHERE key = 'v/d/n6'", []).unwrap();
    assert_eq!(told(&teller).known, by_records.known - 1);
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

fn entry(verdict: &str) -> Entry {
    use crate::{volume::state::Op, wall::Wall};
    Entry {
        at: Wall::now(),
        op: Op::Attach,
        verb: None,
        micros: Some(7),
        verdict: verdict.into(),
        pid: Some(1),
        call: "c".into(),
    }
}

fn verdicts(ledger: &Ledger, key: &str) -> Vec<String> {
    ledger.history(key).unwrap().into_iter().map(|entry| entry.verdict).collect()
}

#[test]
fn the_last_calls_are_kept_in_order_and_go_with_the_volume() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("ledger.db")).ledger;
    let (mut record, mut other) = (record("a"), record("b"));
    for n in 0..30 {
        let calls = [entry(&format!("{n}, one")), entry(&format!("{n}, two"))];
        ledger.put_with(&mut record, &calls, Durability::Process, false).unwrap();
    }
    ledger.put_with(&mut other, &[entry("other")], Durability::Process, false).unwrap();
    let kept: Vec<_> = (5..30).flat_map(|n| [format!("{n}, one"), format!("{n}, two")]).collect();
    assert_eq!(verdicts(&ledger, &record.key), kept);
    ledger.remove(&record.key).unwrap();
    assert_eq!(verdicts(&ledger, &record.key), Vec::<String>::new());
    assert_eq!(verdicts(&ledger, &other.key), ["other"]);
    // An older program knows nothing of the history: the file itself sees to it.
    ledger.db.lock().unwrap().execute("DELETE FROM volume", []).unwrap();
    assert_eq!(verdicts(&ledger, &other.key), Vec::<String>::new());
}

#[test]
fn nothing_is_planned_anew_for_what_is_bound() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("ledger.db")).ledger;
    for name in ["a", "b", "c"] {
        ledger.put_with(&mut record(name), &[entry("one")], Durability::Process, false).unwrap();
    }
    let db = ledger.db.lock().unwrap();
    let forget = db.prepare_cached(history::FORGET).unwrap();
    assert!(forget.get_status(StatementStatus::Run) >= 3, "it is the one that was used");
    assert_eq!(forget.get_status(StatementStatus::RePrepare), 0);
}

/// A file as version 1 made it, with one volume, and one row that is no JSON.
fn of_version_1(path: &Path) -> Record {
    let mut record = record("a");
    record.generation = 1;
    let text = serde_json::to_string(&record).unwrap();
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE volume (key TEXT PRIMARY KEY, generation INTEGER NOT NULL, record TEXT NOT NULL, sum TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE about (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
         INSERT INTO about VALUES ('oldest_writer', 1), ('complete', 1);
         INSERT INTO volume VALUES ('v/d/bad', 1, 'no JSON', '');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    let sum = sum(&record.key, 1, &text);
    db.execute("INSERT INTO volume VALUES (?1, 1, ?2, ?3)", params![record.key, text, sum]).unwrap();
    record
}

#[test]
fn a_file_of_an_older_version_is_made_ours_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let mut record = of_version_1(&path);
    let opened = open(&path);
    assert!(!opened.fresh && opened.set_aside.is_none());
    assert_eq!(opened.ledger.get(&record.key).unwrap(), Some(record.clone()));
    assert!(opened.ledger.get("v/d/bad").is_err(), "nonsense is believed");
    opened.ledger.put_with(&mut record, &[entry("new")], Durability::Process, false).unwrap();
    assert_eq!(verdicts(&opened.ledger, &record.key), ["new"]);
    let version: i64 = opened.ledger.db.lock().unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 3);
    drop(opened);
    assert_eq!(verdicts(&open(&path).ledger, &record.key), ["new"]);
}

#[test]
fn a_record_that_an_older_version_wrote_is_read() {
    let mut value = serde_json::to_value(record("a")).unwrap();
    value["call"] = serde_json::json!({"id": "x", "session": null, "process": null, "verb": null});
    let record: Record = serde_json::from_value(value).unwrap();
    assert_eq!(record.call.unwrap().by, None);
}

#[test]
fn calls_under_way_are_found_without_reading_what_is_at_rest() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("ledger.db")).ledger;
    let under_way = |name: &str, driver: &str| {
        let mut record = Record { driver: DriverName::parse(driver).unwrap(), ..record(name) };
        record.call = Some(OpenCall::new(name.to_owned()));
        ledger.put(&mut record, Durability::Process, false).unwrap();
        record
    };
    put(&ledger, "rest");
    let mut a = under_way("a", "v/d");
    let b = under_way("b", "v/e");
    let keys = |driver: Option<&DriverName>| -> Vec<String> {
        ledger.open_calls(driver).unwrap().into_iter().map(|open| open.key).collect()
    };
    assert_eq!(keys(None), [a.key.clone(), b.key.clone()]);
    assert_eq!(keys(Some(&b.driver)), std::slice::from_ref(&b.key));
    assert_eq!(ledger.open_calls(Some(&b.driver)).unwrap()[0].call, b.call.clone().unwrap());
    a.call = None;
    ledger.put(&mut a, Durability::Process, false).unwrap();
    assert_eq!(keys(None), [b.key]);
    for whose in ["", schema::OF_DRIVER] {
        let sql = format!("EXPLAIN QUERY PLAN SELECT {} FROM volume WHERE {} {whose}", schema::CALL, schema::HAS_CALL);
        let db = ledger.db.lock().unwrap();
        let parameters = if whose.is_empty() { vec![] } else { vec!["v/e"] };
        let plan: String = db.query_row(&sql, rusqlite::params_from_iter(parameters), |row| row.get(3)).unwrap();
        assert!(plan.contains("under_way"), "{plan}");
    }
}

#[test]
fn users_of_a_volume_and_drivers_are_found_without_reading_all() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("ledger.db")).ledger;
    let ident = Ident { boot: "b".into(), namespace: "m".into(), machine: None, node: "n".into() };
    let put = |driver: &str, name: &str, kind: record::Kind, uid: &str| {
        let (driver, name) = (DriverName::parse(driver).unwrap(), VolumeName::parse(name).unwrap());
        let mut record = Record::new(driver, name, kind, uid, super::tests::record("x").spec, &ident);
        ledger.put(&mut record, Durability::Process, false).unwrap();
        record.key
    };
    use record::Kind::{Direct, Staged};
    let [one, two] = ["u1", "u2"].map(|uid| put("v/d", "a", Direct, uid));
    put("v/d", "b", Direct, "u1");
    put("v/d.e", "a", Direct, "u1");
    put("v/d-e", "a", Staged, "");
    put("v/d", "a", Staged, "");
    let (driver, name) = (DriverName::parse("v/d").unwrap(), VolumeName::parse("a").unwrap());
    let keys: Vec<_> = ledger.of_users(&driver, &name).unwrap().into_iter().map(|it| it.unwrap().key).collect();
    assert_eq!(keys, [one, two]);
    let drivers: Vec<_> = ledger.drivers().unwrap().into_iter().map(|driver| driver.to_string()).collect();
    assert_eq!(drivers, ["v/d", "v/d-e", "v/d.e"]);
    let db = ledger.db.lock().unwrap();
    let sql = format!("EXPLAIN QUERY PLAN {}", of_name());
    let plan: String = db.query_row(&sql, ["a", "v/d/", "v/d0"], |row| row.get(3)).unwrap();
    assert!(plan.contains("named"), "{plan}");
}

fn retry(uid: &str, process: process::ProcessId, boot: &str) -> Retry {
    Retry {
        driver: "v/d".into(),
        volume: "data".into(),
        namespace: "default".into(),
        pod: "web".into(),
        uid: uid.into(),
        process,
        boot: boot.into(),
        tries: 1,
        next: crate::wall::Wall::now(),
        operation: "attach".into(),
        last: "no".into(),
    }
}

#[test]
fn what_is_to_be_tried_again_is_believed_of_the_living_and_swept_of_the_dead() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("ledger.db")).ledger;
    let own = process::own().unwrap();
    let dead = retry("dead", process::ProcessId { started: own.started + 1, ..own }, "b");
    let rebooted = retry("rebooted", own, "another");
    let living = retry("living", own, "b");
    assert_eq!([&dead, &rebooted, &living].map(|r| r.is_living("b")), [false, false, true]);
    ledger.set_retry(&dead).unwrap();
    ledger.set_retry(&living).unwrap();
    ledger.set_retry(&Retry { tries: 2, ..living.clone() }).unwrap();
    assert_eq!(ledger.retries().unwrap(), [Retry { tries: 2, ..living.clone() }]);
    ledger.clear_retry(&living).unwrap();
    assert_eq!(ledger.retries().unwrap(), []);
}

/// Notes of a thousand volumes are written one by one while their command has other things to do.
#[test]
fn a_note_costs_no_look_at_every_other_note() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("ledger.db")).ledger;
    let own = process::own().unwrap();
    let stat = std::fs::read_to_string("/proc/1/stat").unwrap();
    let started = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    let another = process::ProcessId { pid: 1, started };
    let start = std::time::Instant::now();
    for n in 0..1000 {
        ledger.set_retry(&retry(&n.to_string(), if n % 2 == 0 { own } else { another }, "b")).unwrap();
    }
    // A look at every note each time takes ten seconds, one at each command a fifth of a second.
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(ledger.retries().unwrap().len(), 1000, "the living were swept out");
}

/// Every file of a folder, with its bytes and the time of its last change.
fn files(dir: &Path) -> Vec<(std::ffi::OsString, Vec<u8>, std::time::SystemTime)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            (entry.file_name(), std::fs::read(entry.path()).unwrap(), modified)
        })
        .collect();
    files.sort();
    files
}

/// The keys that a look finds; it must leave every file as it was.
fn peeked(path: &Path) -> Result<Option<Vec<String>>> {
    let before = files(path.parent().unwrap());
    let seen = Ledger::peek(path);
    assert!(files(path.parent().unwrap()) == before, "looking at {} changed something", path.display());
    Ok(seen?.map(|records| records.into_iter().map(|record| record.unwrap().key).collect()))
}

#[test]
fn a_look_sees_all_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    assert_eq!(peeked(&path).unwrap(), None, "none is made");
    let opened = open(&path);
    let first = put(&opened.ledger, "a").key;
    // The log of a running command, whose locks a look must respect and not break (these files belong to this process, so
    // they are looked at as copies: those that a killed command would have left).
    let killed = tempfile::tempdir().unwrap();
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        std::fs::copy(dir.path().join(file), killed.path().join(file)).unwrap();
    }
    assert!(std::fs::metadata(killed.path().join("ledger.db-wal")).unwrap().len() > 0);
    assert_eq!(peeked(&killed.path().join("ledger.db")).unwrap(), Some(vec![first.clone()]));
    drop(opened);
    assert_eq!(peeked(&path).unwrap(), Some(vec![first]));

    std::fs::write(&path, b"no database at all, but long enough to be one".repeat(100)).unwrap();
    let error = peeked(&path).unwrap_err();
    assert!(error.next().unwrap().contains("flexvol ls"), "{error:?}");
    std::fs::write(&path, b"").unwrap();
    assert_eq!(peeked(&path).unwrap(), None);
}

fn failure(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
}

#[test]
fn a_look_that_met_a_checkpoint_is_taken_again() {
    let torn = || Err(Error::new(Kind::Ledger, "does not match its checksum"));
    let mut reads =
        [Err(Trouble::Damaged(failure(SQLITE_CORRUPT))), Ok(Some(vec![Ok(record("a")), torn()]))].into_iter();
    let seen = again(|| reads.next().unwrap_or_else(|| Ok(Some(vec![Ok(record("a"))]))));
    assert_eq!(seen.ok().unwrap().unwrap().len(), 1);
    // What stays damaged is told as it is.
    let mut reads = 0;
    let seen = again(|| {
        reads += 1;
        Ok(Some(vec![torn()]))
    });
    assert!(seen.ok().unwrap().unwrap()[0].is_err() && reads > 1, "{reads} reads");
}

#[test]
fn another_command_that_writes_is_told_as_that() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let ledger = open(&path).ledger;
    for error in [ledger.fail("write", failure(SQLITE_BUSY)), Trouble::Other(failure(SQLITE_BUSY)).told(&path)] {
        assert_eq!(error.next(), Some(BUSY), "{error:?}");
    }
    drop(ledger);
    assert_eq!(Ledger::peek(dir.path()).unwrap_err().next(), Some("it and its folder must be readable by you"));
}
