//! A look into the ledger that changes nothing: no file is made, no lock is kept, nothing damaged is set aside.

use std::{fs, io, path::Path, thread::sleep, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::{
    ALL, Ledger, Row,
    cause::is_busy,
    open::{Trouble, percent, quick_check, version},
};
use crate::{error::Result, volume::record::Record};

/// A checkpoint of another command may pass beneath an unlocked read: so often, and at what distance, it is read again.
const AGAIN: (u32, Duration) = (3, Duration::from_millis(50));

/// What a look found, or why nothing can be said.
type Found = std::result::Result<Option<Vec<Result<Record>>>, Trouble>;

impl Ledger {
    /// Every record, or why it cannot be believed; `None` if there is no ledger.
    ///
    /// # Errors
    /// It cannot be read as it lies there, is damaged, or was written by a newer program.
    pub fn peek(path: &Path) -> Result<Option<Vec<Result<Record>>>> {
        let readable = "it and its folder must be readable by you";
        again(|| peek(path)).map_err(|trouble| match trouble {
            Trouble::Damaged(_) => trouble
                .told(path)
                .hint("the next command sets it aside and records anew what is mounted; run: flexvol ls"),
            Trouble::Other(ref error) if !is_busy(error) => trouble.told(path).hint(readable),
            Trouble::Newer(_) | Trouble::Other(_) => trouble.told(path),
        })
    }
}

/// Reads once more while anything of it looks damaged: file or row.
pub(super) fn again(mut read: impl FnMut() -> Found) -> Found {
    for _ in 0..AGAIN.0 {
        let found = read();
        let is_damaged = match &found {
            Ok(records) => records.iter().flatten().any(Result::is_err),
            Err(Trouble::Damaged(_)) => true,
            Err(Trouble::Newer(_) | Trouble::Other(_)) => false,
        };
        if !is_damaged {
            return found;
        }
        sleep(AGAIN.1);
    }
    read()
}

fn peek(path: &Path) -> Found {
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
    if version(&db)? == 0 {
        return Ok(None);
    }
    quick_check(&db)?;
    let rows = Row::query(&db, ALL, &[])?;
    Ok(Some(rows.into_iter().map(|row| row.record(path)).collect()))
}

fn log_of(path: &Path) -> String {
    format!("{}-wal", path.file_name().unwrap_or_default().to_string_lossy())
}
