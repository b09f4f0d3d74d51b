//! Opening the ledger: a fresh one, one on a read-only disk, one of another version, or a damaged one that is set aside.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, config::DbConfig};

use super::{
    BUSY, Ledger, ballast,
    cause::{is_busy, is_damaged, is_full, is_read_only},
    power::Power,
    schema::{MAKE, OLDEST_WRITER, SCHEMA},
};
use crate::{
    error::{Error, Kind, Result},
    lock::Lock,
    settings::PATIENCE,
};

/// An opened ledger, and what was found.
#[derive(Debug)]
pub struct Opened {
    /// The ledger.
    pub ledger: Ledger,
    /// Nobody has yet recorded what was on the node before it: that is to be done from directories and mounts.
    pub fresh: bool,
    /// A damaged file that was set aside, if there was one.
    pub set_aside: Option<PathBuf>,
}

impl Ledger {
    /// Opens the ledger at `path`, makes it if there is none, and sets a damaged one aside.
    pub fn open(path: &Path) -> Result<Opened> {
        match open(path) {
            Ok(ledger) => ledger.opened(None),
            Err(Trouble::Damaged(_)) => {
                let _lock = Lock::take(&path.with_added_extension("lock"), PATIENCE, &mut |_| ())?;
                match open(path) {
                    // Another command has set it aside meanwhile.
                    Ok(ledger) => ledger.opened(None),
                    Err(Trouble::Damaged(_)) => {
                        let aside = set_aside(path)?;
                        open(path).map_err(|trouble| trouble.told(path))?.opened(Some(aside))
                    }
                    Err(trouble @ (Trouble::Newer(_) | Trouble::Other(_))) => Err(trouble.told(path)),
                }
            }
            Err(trouble @ (Trouble::Newer(_) | Trouble::Other(_))) => Err(trouble.told(path)),
        }
    }

    fn opened(self, set_aside: Option<PathBuf>) -> Result<Opened> {
        let fresh = !self.read_only && !self.is_complete()?;
        Ok(Opened { ledger: self, fresh, set_aside })
    }
}

pub(super) enum Trouble {
    Damaged(rusqlite::Error),
    Newer(i64),
    Other(rusqlite::Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        if is_damaged(&error) { Self::Damaged(error) } else { Self::Other(error) }
    }
}

impl Trouble {
    pub(super) fn told(self, path: &Path) -> Error {
        let cannot = Error::new(Kind::Ledger, format!("cannot open the ledger {}", path.display()));
        match self {
            Self::Newer(version) => Error::new(
                Kind::Ledger,
                format!(
                    "the ledger {} was written by a newer flexvol (schema {version}, this one knows {SCHEMA})",
                    path.display()
                ),
            )
            .hint("use the newer flexvol; this one changes nothing"),
            Self::Damaged(error) => cannot.because(error),
            Self::Other(error) if is_full(&error) => {
                cannot.because(error).hint("the disk is full: free some space, then try again")
            }
            Self::Other(error) if is_busy(&error) => cannot.because(error).hint(BUSY),
            Self::Other(error) => cannot
                .because(error)
                .hint("its folder must be writable by you, not full, and not on a read-only file system"),
        }
    }
}

fn open(path: &Path) -> std::result::Result<Ledger, Trouble> {
    match writable(path) {
        Ok(db) => {
            let starved = !ballast::lay(path);
            Ok(written(db, path, starved))
        }
        // SQLite needs room even to read: its shared memory is a file beside the ledger.
        Err(Trouble::Other(error)) if is_full(&error) && ballast::spend(path) => {
            Ok(written(writable(path)?, path, true))
        }
        Err(Trouble::Other(error)) if is_read_only(&error) && path.exists() => {
            // On a read-only disk nobody writes, and our last close left nothing in the log: the file alone is the truth.
            let uri = format!("file:{}?immutable=1", percent(path));
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            let db = Connection::open_with_flags(uri, flags)?;
            let schema = version(&db)?;
            let (db, path) = (Mutex::new(db), path.into());
            Ok(Ledger { db, power: None, path, read_only: true, starved: false, schema })
        }
        Err(trouble) => Err(trouble),
    }
}

/// A ledger that is written to: from here on SQLite syncs at checkpoints alone, and we sync what must survive a power cut.
fn written(db: Connection, path: &Path, starved: bool) -> Ledger {
    let power = Power::of(path).filter(|_| db.pragma_update(None, "synchronous", "NORMAL").is_ok());
    Ledger { db: Mutex::new(db), power, path: path.into(), read_only: false, starved, schema: SCHEMA }
}

/// Where many commands come and go at once, SQLite answers "locked" without a wait in some moments: while the journal mode of
/// a fresh file changes, and while the last one to close takes its log away.
fn writable(path: &Path) -> std::result::Result<Connection, Trouble> {
    let start = Instant::now();
    loop {
        match connect(path) {
            Err(Trouble::Other(error)) if is_busy(&error) && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

fn connect(path: &Path) -> std::result::Result<Connection, Trouble> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(10))?;
    // Two commands may meet at a fresh file: the change of journal mode itself needs the lock for a moment.
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "secure_delete", true)?;
    db.pragma_update(None, "cache_size", -256)?;
    // A plan is made once, whatever is bound: by itself SQLite reads a limit that is a parameter, and plans anew whenever it is bound.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if version(&db)? < SCHEMA {
        make(&db)?;
    }
    quick_check(&db)?;
    Ok(db)
}

/// Makes a file of our version, once, however many commands meet at it.
fn make(db: &Connection) -> std::result::Result<(), Trouble> {
    let all = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    if version(&all)? < SCHEMA {
        all.execute_batch(MAKE)?;
        all.execute("INSERT OR REPLACE INTO about VALUES ('oldest_writer', ?1)", [OLDEST_WRITER])?;
        all.pragma_update(None, "user_version", SCHEMA)?;
    }
    Ok(all.commit()?)
}

/// A damaged page makes some rows unreadable and not others: better to know now than in the middle of an unmount.
pub(super) fn quick_check(db: &Connection) -> std::result::Result<(), Trouble> {
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(Trouble::Damaged(rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(verdict),
    )))
}

/// The schema of the file: ours to use if we know it, or if its writer says that programs of our age may write.
pub(super) fn version(db: &Connection) -> std::result::Result<i64, Trouble> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > SCHEMA {
        let oldest: i64 = db.query_row("SELECT value FROM about WHERE name = 'oldest_writer'", [], |row| row.get(0))?;
        if oldest > SCHEMA {
            return Err(Trouble::Newer(version));
        }
    }
    Ok(version)
}

fn set_aside(path: &Path) -> Result<PathBuf> {
    let with = |end: &str| PathBuf::from(format!("{}{end}", path.display()));
    let aside =
        (1..).map(|n| with(&format!(".damaged-{n}"))).find(|aside| !aside.exists()).unwrap_or_else(|| with(".damaged"));
    let fail =
        |e| Error::new(Kind::Ledger, format!("cannot set the damaged ledger {} aside", path.display())).because(e);
    fs::rename(path, &aside).map_err(fail)?;
    for end in ["-wal", "-shm"] {
        let _ = fs::rename(with(end), format!("{}{end}", aside.display()));
    }
    Ok(aside)
}

/// A path as SQLite's URI form wants it.
pub(super) fn percent(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}
