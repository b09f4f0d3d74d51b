//! How many volumes there are of each driver: counted by SQLite where they lie, and only if anything was written since.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags};

use super::schema::COUNT;
use crate::error::{Error, Kind, Result};

/// The volumes of one driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub known: i64,
    /// Attached and mounted for the node, whether anybody uses them or not.
    pub held: i64,
    /// Places of ours that they are ready at: not where clients of the bridge have what is held.
    pub published: i64,
    /// Something failed at the last try.
    pub failing: i64,
}

/// Counts, with a look of its own into the file: whoever works on volumes does not wait for it.
#[derive(Debug)]
pub struct Teller {
    path: PathBuf,
    last: Mutex<Option<Look>>,
}

#[derive(Debug)]
struct Look {
    db: Connection,
    /// SQLite's number of what others have written, and what was counted then.
    counted: Option<(i64, BTreeMap<String, Tally>)>,
}

impl Teller {
    /// Of the ledger at that path.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), last: Mutex::default() }
    }

    /// By driver. Records are counted as they lie there: their checksums are not looked at, and a row that is no JSON is none.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn tell(&self) -> Result<BTreeMap<String, Tally>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.look(last.take()).map_err(|error| {
            Error::new(Kind::Ledger, format!("cannot count in the ledger {}", self.path.display())).because(error)
        });
        let (look, told) = told?;
        *last = Some(look);
        Ok(told)
    }

    fn look(&self, last: Option<Look>) -> rusqlite::Result<(Look, BTreeMap<String, Tally>)> {
        let mut look = match last {
            Some(look) => look,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let db = Connection::open_with_flags(&self.path, flags)?;
                db.busy_timeout(std::time::Duration::from_secs(5))?;
                Look { db, counted: None }
            }
        };
        let version = look.db.pragma_query_value(None, "data_version", |row| row.get(0))?;
        let told = match look.counted.take() {
            Some((then, told)) if then == version => told,
            Some(_) | None => count(&look.db)?,
        };
        look.counted = Some((version, told.clone()));
        Ok((look, told))
    }
}

fn count(db: &Connection) -> rusqlite::Result<BTreeMap<String, Tally>> {
    let mut statement = db.prepare_cached(COUNT)?;
    let rows = statement.query_map([], |row| {
        let tally = Tally { known: row.get(1)?, held: row.get(2)?, published: row.get(3)?, failing: row.get(4)? };
        Ok((row.get(0)?, tally))
    })?;
    rows.collect()
}
