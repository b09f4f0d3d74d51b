//! The last calls of each volume: written with the record they led to, shown to people, and never acted on.

use flexvolume_protocol::VerbName;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::{volume::state::Op, wall::Wall};

/// How many are kept for a volume.
pub(super) const KEPT: i64 = 50;

/// Drops all from the newest that is too old on. Nothing is written, nor looked at but the index, where there is none.
pub(super) const FORGET: &str = "
    DELETE FROM history WHERE key = ?1 AND (generation, nth) <=
        (SELECT generation, nth FROM history WHERE key = ?1 ORDER BY generation DESC, nth DESC LIMIT 1 OFFSET ?2)";

/// One call of a driver, or the host's own part of an op, if that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was begun.
    pub at: Wall,
    /// The op it was a part of.
    pub op: Op,
    /// What the driver was asked; `None` is the host's own part.
    pub verb: Option<VerbName>,
    /// How long it took, in microseconds; `None` if nobody saw its end.
    pub micros: Option<u64>,
    /// `Success`, `Not supported`, or why it failed: redacted and bounded.
    pub verdict: String,
    /// The driver's process.
    pub pid: Option<u32>,
    /// The id that its processes carry.
    pub call: String,
}

/// Adds the entries of the write that made `generation`, and drops the oldest beyond [`KEPT`].
pub(super) fn add(db: &Connection, key: &str, generation: i64, entries: &[Entry]) -> rusqlite::Result<()> {
    let mut insert =
        db.prepare_cached("INSERT OR REPLACE INTO history (key, generation, nth, entry) VALUES (?1, ?2, ?3, ?4)")?;
    for (nth, entry) in (0_i64..).zip(entries) {
        let text = serde_json::to_string(entry).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        insert.execute(params![key, generation, nth, text])?;
    }
    db.prepare_cached(FORGET)?.execute(params![key, KEPT])?;
    Ok(())
}

/// The entries of a volume, oldest first; what another version wrote in a way we do not know is passed over.
pub(super) fn of(db: &Connection, key: &str) -> rusqlite::Result<Vec<Entry>> {
    let mut statement = db.prepare("SELECT entry FROM history WHERE key = ?1 ORDER BY generation, nth")?;
    let texts: Vec<String> = statement.query_map([key], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
}
