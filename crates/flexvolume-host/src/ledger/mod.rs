//! The ledger: one SQLite file, one row a volume, each row with a checksum; what it says survives a kill, and where
//! attachments are concerned a power cut.
//!
//! Beside the volumes lie two tables for people: the last calls of each volume, which go with its row, and what commands
//! that wait will try again. Nothing is decided by those.
//!
//! Guarantees: a write that returned is there after `kill -9`; one made with [`Durability::Power`] also after a power
//! cut. A row that was changed by anything but us is an error, never believed. Old values do not stay in the file. The file is
//! opened through SQLite only, since closing any other descriptor of it would drop SQLite's locks.

mod ballast;
mod cause;
mod history;
mod open;
mod peek;
mod power;
mod retry;
mod schema;
mod tally;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Mutex,
};

use flexvolume_protocol::{DriverName, VolumeName};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::{
    digest,
    error::{Error, Kind, Result},
    volume::record::{OpenCall, Record},
};
pub use history::Entry;
pub use retry::Retry;
pub use tally::{Tally, Teller};

/// What a write must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of this process: enough for mounts, which die with the machine.
    Process,
    /// The death of the machine: for intents, attachments and specs.
    Power,
}

/// The open ledger.
#[derive(Debug)]
pub struct Ledger {
    db: Mutex<Connection>,
    /// Syncs the log for many at once; where there is none SQLite does, for each.
    power: Option<power::Power>,
    path: PathBuf,
    read_only: bool,
    /// The ballast is not whole: there is room for what goes down, none for anything new.
    starved: bool,
    /// The file's schema: one that only an older program has written to has no tables for people.
    schema: i64,
}

/// A call that was begun and whose end is not recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The volume.
    pub key: String,
    /// The boot in which its processes mean something.
    pub boot: String,
    /// The call.
    pub call: OpenCall,
}

impl Ledger {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The records of these keys, as far as there are any, by key.
    pub fn these(&self, keys: &[String]) -> Result<Vec<Record>> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let marks = vec!["?"; keys.len()].join(", ");
        let sql = format!("SELECT key, generation, record, sum FROM volume WHERE key IN ({marks}) ORDER BY key");
        self.query_rows(&sql, &keys)?.into_iter().map(|row| row.record(&self.path)).collect()
    }

    /// The record of `key`, if there is one.
    pub fn get(&self, key: &str) -> Result<Option<Record>> {
        let rows = self.query_rows("SELECT key, generation, record, sum FROM volume WHERE key = ?1", &[key])?;
        match rows.into_iter().next() {
            Some(row) => row.record(&self.path).map(Some),
            None => Ok(None),
        }
    }

    /// Whether there is a record of that key, whatever it says.
    pub fn knows(&self, key: &str) -> Result<bool> {
        let found = |db: &Connection| db.prepare_cached("SELECT 1 FROM volume WHERE key = ?1")?.exists([key]);
        found(&*self.locked()?).map_err(|e| self.fail("read", e))
    }

    /// Every record, or why it cannot be believed, in the order of their keys.
    pub fn all(&self) -> Result<Vec<Result<Record>>> {
        self.query(ALL, &[])
    }

    /// Every record that mentions a pod's uid, in the order of their keys.
    pub fn of_pod(&self, uid: &str) -> Result<Vec<Result<Record>>> {
        self.query("SELECT key, generation, record, sum FROM volume WHERE instr(record, ?1) ORDER BY key", &[uid])
    }

    /// Every record of one volume that users have each for themselves, or why it cannot be believed. Only these are read.
    pub fn of_users(&self, driver: &DriverName, name: &VolumeName) -> Result<Vec<Result<Record>>> {
        let (from, to) = range(driver.as_str());
        self.query(&of_name(), &[name.as_str(), &from, &to])
    }

    /// Whose volumes there are. However many a driver has, one of them is looked at.
    pub fn drivers(&self) -> Result<BTreeSet<DriverName>> {
        let (db, mut drivers, mut after) = (self.locked()?, BTreeSet::new(), String::new());
        let mut next = db
            .prepare_cached("SELECT key FROM volume WHERE key > ?1 ORDER BY key LIMIT 1")
            .map_err(|e| self.fail("read", e))?;
        while let Some(key) =
            next.query_row([&after], |row| row.get::<_, String>(0)).optional().map_err(|e| self.fail("read", e))?
        {
            after = match key.rsplit_once('/') {
                Some((driver, _)) => {
                    drivers.extend(DriverName::parse(driver));
                    range(driver).1
                }
                None => key,
            };
        }
        Ok(drivers)
    }

    fn query(&self, sql: &str, parameters: &[&str]) -> Result<Vec<Result<Record>>> {
        Ok(self.query_rows(sql, parameters)?.into_iter().map(|row| row.record(&self.path)).collect())
    }

    fn query_rows(&self, sql: &str, parameters: &[&str]) -> Result<Vec<Row>> {
        Row::query(&*self.locked()?, sql, parameters).map_err(|e| self.fail("read", e))
    }

    /// Writes the record and counts its generation up. On a full disk what goes down (`spare`) may spend the ballast.
    pub fn put(&self, record: &mut Record, durability: Durability, spare: bool) -> Result<()> {
        self.put_with(record, &[], durability, spare)
    }

    /// Writes the record together with the calls that led to it.
    pub fn put_with(&self, record: &mut Record, calls: &[Entry], durability: Durability, spare: bool) -> Result<()> {
        record.generation += 1;
        let text = serde_json::to_string(record)
            .map_err(|e| Error::new(Kind::Ledger, "cannot write a record as JSON").because(e))?;
        let sum = sum(&record.key, record.generation, &text);
        let put = |db: &Connection| {
            db.prepare_cached(
                "INSERT INTO volume (key, generation, record, sum) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE SET generation = ?2, record = ?3, sum = ?4",
            )?
            .execute(params![record.key, record.generation, text, sum])
        };
        self.change(durability, spare, |db| {
            if calls.is_empty() {
                return put(db);
            }
            let both = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
            let rows = put(&both)?;
            history::add(&both, &record.key, record.generation, calls)?;
            both.commit().map(|()| rows)
        })
    }

    /// The last calls for a volume, oldest first.
    pub fn history(&self, key: &str) -> Result<Vec<Entry>> {
        self.for_people(|db| history::of(db, key))
    }

    /// Calls under way, or cut off: of one driver, or all. Only their own rows are read, however many volumes there are.
    pub fn open_calls(&self, driver: Option<&DriverName>) -> Result<Vec<Open>> {
        let whose = driver.map_or("", |_| schema::OF_DRIVER);
        let sql =
            format!("SELECT key, {}, {} FROM volume WHERE {} {whose}", schema::BOOT, schema::CALL, schema::HAS_CALL);
        let db = self.locked()?;
        let read = || -> rusqlite::Result<Vec<(String, String, String)>> {
            let mut statement = db.prepare_cached(&sql)?;
            let rows = statement.query_map(rusqlite::params_from_iter(driver.map(DriverName::as_str)), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect()
        };
        let rows = read().map_err(|e| self.fail("read", e))?;
        let open = |(key, boot, call): (String, String, String)| {
            Some(Open { key, boot, call: serde_json::from_str(&call).ok()? })
        };
        Ok(rows.into_iter().filter_map(open).collect())
    }

    /// Notes that a command will try a volume again, in place of what it noted before; notes of dead commands go.
    pub fn set_retry(&self, retry: &Retry) -> Result<()> {
        self.change(Durability::Process, false, |db| {
            let all = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
            retry::set(&all, retry)?;
            all.commit().map(|()| 1)
        })
    }

    /// Takes back what a command noted of one volume.
    pub fn clear_retry(&self, retry: &Retry) -> Result<()> {
        let of = Some((retry.uid.as_str(), retry.volume.as_str()));
        self.change(Durability::Process, true, |db| retry::clear(db, &retry::writer(retry), of))
    }

    /// What is noted to be tried again, true or not.
    pub fn retries(&self) -> Result<Vec<Retry>> {
        self.for_people(retry::all)
    }

    fn for_people<T>(&self, read: impl Fn(&Connection) -> rusqlite::Result<Vec<T>>) -> Result<Vec<T>> {
        if self.schema < schema::FOR_PEOPLE {
            return Ok(Vec::new());
        }
        read(&*self.locked()?).map_err(|e| self.fail("read", e))
    }

    /// Whether what was on the node before this file was made has been recorded in it.
    pub fn is_complete(&self) -> Result<bool> {
        self.locked()?
            .query_row("SELECT count(*) FROM about WHERE name = 'complete'", [], |row| row.get(0))
            .map_err(|e| self.fail("read", e))
    }

    /// Says that it has been.
    pub fn set_complete(&self) -> Result<()> {
        self.change(Durability::Power, true, |db| db.execute("INSERT OR REPLACE INTO about VALUES ('complete', 1)", []))
    }

    /// Fails, in words, where nothing can be written at all.
    pub fn check_writable(&self) -> Result<()> {
        if !self.read_only {
            return Ok(());
        }
        Err(Error::new(Kind::Ledger, format!("the ledger {} lies on a read-only file system", self.path.display()))
            .hint("make it writable again, then try again; what is mounted stays as it is"))
    }

    /// Forgets a volume that is over.
    pub fn remove(&self, key: &str) -> Result<()> {
        self.change(Durability::Power, true, |db| {
            db.prepare_cached("DELETE FROM volume WHERE key = ?1")?.execute([key])
        })
    }

    fn change(
        &self,
        durability: Durability,
        spare: bool,
        act: impl Fn(&Connection) -> rusqlite::Result<usize>,
    ) -> Result<()> {
        self.check_writable()?;
        if self.starved && !spare {
            return Err(Error::new(
                Kind::Ledger,
                format!("the disk is full beneath the ledger {}", self.path.display()),
            )
            .hint(FULL));
        }
        let db = self.locked()?;
        let attempt = || act(&db);
        let mut result = attempt();
        if result.as_ref().is_err_and(cause::is_full) {
            // The log may hold all the room there is; what is in it can go to its place.
            let _ = shorten(&db);
            result = attempt();
        }
        if spare && result.as_ref().is_err_and(cause::is_full) && ballast::spend(&self.path) {
            result = attempt();
        }
        result.map_err(|e| self.fail("write", e))?;
        let Some((power, write)) = self.power.as_ref().map(|power| (power, power.count())) else { return Ok(()) };
        drop(db);
        match durability {
            Durability::Process => Ok(()),
            Durability::Power => self.synced(power, write),
        }
    }

    /// Returns once all that was written so far is on the disk.
    pub fn sync(&self) -> Result<()> {
        match &self.power {
            Some(power) => self.synced(power, power.written()),
            None => Ok(()),
        }
    }

    fn synced(&self, power: &power::Power, write: u64) -> Result<()> {
        power.sync(write).map_err(|error| {
            let hint = if error.kind() == std::io::ErrorKind::StorageFull { FULL } else { DISK };
            Error::new(Kind::Ledger, format!("cannot write the ledger {} to the disk", self.path.display()))
                .hint(hint)
                .because(error)
        })
    }

    fn locked(&self) -> Result<std::sync::MutexGuard<'_, Connection>> {
        self.db.lock().map_err(|_| Error::new(Kind::Ledger, "another thread died while it held the ledger"))
    }

    fn fail(&self, what: &str, error: rusqlite::Error) -> Error {
        let hint = if cause::is_full(&error) {
            FULL
        } else if cause::is_damaged(&error) {
            "run any flexvol command again: a damaged ledger is set aside and rebuilt from the mount table"
        } else if cause::is_busy(&error) {
            BUSY
        } else {
            DISK
        };
        Error::new(Kind::Ledger, format!("cannot {what} the ledger {}", self.path.display())).hint(hint).because(error)
    }
}

impl Drop for Ledger {
    /// A truncating checkpoint, so that what was overwritten is nowhere in the files, and a read-only open sees all.
    fn drop(&mut self) {
        if let (false, Ok(db)) = (self.read_only, self.db.get_mut()) {
            let _ = shorten(db);
        }
    }
}

/// What to do about a full disk.
const FULL: &str = "the disk is full: free some space, then try again; `flexvol down` still works";

/// What to do about a disk that fails.
const DISK: &str = "look at the disk beneath it; nothing was done that is not recorded";

/// What to do where another command has had its turn for longer than we wait.
const BUSY: &str = "another command writes; try again";

/// Puts what is in the log to its place in the file, and cuts the log to nothing.
fn shorten(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Between these two lie all keys of a driver, and no other's.
fn range(driver: &str) -> (String, String) {
    // The sign after the slash.
    (format!("{driver}/"), format!("{driver}0"))
}

/// The volumes of one name that users have each for themselves: the name, and the two ends of the driver's keys.
fn of_name() -> String {
    format!("SELECT key, generation, record, sum FROM volume WHERE {} = ?1 AND key BETWEEN ?2 AND ?3", schema::NAME)
}

/// Every volume.
const ALL: &str = "SELECT key, generation, record, sum FROM volume ORDER BY key";

struct Row {
    key: String,
    generation: i64,
    text: String,
    sum: String,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { key: row.get(0)?, generation: row.get(1)?, text: row.get(2)?, sum: row.get(3)? })
    }

    fn query(db: &Connection, sql: &str, parameters: &[&str]) -> rusqlite::Result<Vec<Self>> {
        db.prepare_cached(sql)?.query_map(rusqlite::params_from_iter(parameters), Self::read)?.collect()
    }

    fn record(self, path: &Path) -> Result<Record> {
        let unreadable = |why: &str| {
            Error::new(Kind::Ledger, format!("the record of volume {} {why}", self.key)).hint(format!(
                "nothing is done for this volume. To have everything recorded anew from what is mounted, and then taken down: mv {0} {0}.old; flexvol down --all",
                path.display()
            ))
        };
        if self.sum != sum(&self.key, self.generation, &self.text) {
            return Err(unreadable("does not match its checksum"));
        }
        let record: Record = serde_json::from_str(&self.text)
            .map_err(|e| unreadable("was not written by this version of flexvol").because(e))?;
        if record.key == self.key && record.generation == self.generation {
            Ok(record)
        } else {
            Err(unreadable("names another volume"))
        }
    }
}

fn sum(key: &str, generation: i64, text: &str) -> String {
    digest::hex(format!("{key}\n{generation}\n{text}").as_bytes(), 64)
}

#[cfg(test)]
mod tests;
