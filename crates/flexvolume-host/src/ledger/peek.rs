//! A look into the ledger that changes nothing: no file is made, no lock is kept, nothing damaged is set aside.

use std::{fs, io, path::Path, sync::Mutex, thread::sleep, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::{
    Ledger,
    open::{Trouble, percent, quick_check, version},
};
use crate::{error::Result, volume::record::Record};

/// A checkpoint of another command may pass beneath an unlocked read: so often, and at what distance, it is read again.
const AGAIN: (u32, Duration) = (3, Duration::from_millis(50));

impl Ledger {
    /// Every record, or why it cannot be believed; `None` if there is no ledger.
    ///
    /// # Errors
    /// It cannot be read as it lies there, is damaged, or was written by a newer program.
    pub fn peek(path: &Path) -> Result<Option<Vec<Result<Record>>>> {
        let mut tries = 0;
        loop {
            match peek(path) {
                Ok(ledger) => return ledger.map(|ledger| ledger.all()).transpose(),
                Err(Trouble::Damaged(_)) if tries < AGAIN.0 => {
                    tries += 1;
                    sleep(AGAIN.1);
                }
                Err(Trouble::Damaged(error)) => {
                    return Err(Trouble::Damaged(error)
                        .told(path)
                        .hint("the next command sets it aside and records anew what is mounted; run: flexvol ls"));
                }
                Err(trouble @ (Trouble::Newer(_) | Trouble::Other(_))) => return Err(trouble.told(path)),
            }
        }
    }
}

fn peek(path: &Path) -> std::result::Result<Option<Ledger>, Trouble> {
    if fs::metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    // The last close leaves nothing in the log, and then the file alone is the truth. What a running or a killed command
    // has in its log is read with the shared memory as it is.
    let log = fs::metadata(path.with_file_name(log_of(path))).map_or(0, |meta| meta.len());
    let how = if log == 0 { "immutable=1" } else { "readonly_shm=1" };
    let uri = format!("file:{}?{how}", percent(path));
    let db = Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?;
    db.busy_timeout(Duration::from_secs(5))?;
    // A file of no bytes is a ledger about to be made.
    let schema = version(&db)?;
    if schema == 0 {
        return Ok(None);
    }
    quick_check(&db)?;
    Ok(Some(Ledger { db: Mutex::new(db), path: path.into(), read_only: true, starved: false, schema }))
}

fn log_of(path: &Path) -> String {
    format!("{}-wal", path.file_name().unwrap_or_default().to_string_lossy())
}
