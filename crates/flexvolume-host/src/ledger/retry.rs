//! Who will try which volume again, and when: notes of living commands for whoever lists volumes, and for nothing else.

use flexvolume_linux::process::{ProcessId, alive};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::wall::Wall;

/// A volume that failed and will be tried again by a command that waits. It may have no record yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The driver.
    pub driver: String,
    /// The pod's own name of the volume.
    pub volume: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub uid: String,
    /// The command that will.
    pub process: ProcessId,
    /// The boot in which that process means something.
    pub boot: String,
    /// How often it was tried in vain.
    pub tries: u32,
    /// When it is tried next.
    pub next: Wall,
    /// What failed, if that is known.
    pub operation: String,
    /// Why it failed last: redacted and bounded.
    pub last: String,
}

impl Retry {
    /// Whether the command that wrote it lives, so that it is true.
    pub fn is_living(&self, boot: &str) -> bool {
        self.boot == boot && alive(&self.process)
    }
}

/// Writes one, and sweeps out those of commands that are gone.
pub(super) fn set(db: &Connection, retry: &Retry) -> rusqlite::Result<()> {
    let writer = writer(retry);
    for other in others(db, &writer)?.iter().filter(|other| is_gone(other, &retry.boot)) {
        clear(db, other, None)?;
    }
    let text = serde_json::to_string(retry).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    db.execute(
        "INSERT OR REPLACE INTO retry (writer, uid, volume, retry) VALUES (?1, ?2, ?3, ?4)",
        params![writer, retry.uid, retry.volume, text],
    )?;
    Ok(())
}

/// Every other command that wrote notes, once, however many they are.
fn others(db: &Connection, writer: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare_cached("SELECT DISTINCT writer FROM retry WHERE writer <> ?1")?;
    statement.query_map([writer], |row| row.get(0))?.collect()
}

/// Takes back what a command wrote: of one volume of a pod, or all of it.
pub(super) fn clear(db: &Connection, writer: &str, of: Option<(&str, &str)>) -> rusqlite::Result<usize> {
    match of {
        Some((uid, volume)) => {
            db.execute("DELETE FROM retry WHERE writer = ?1 AND uid = ?2 AND volume = ?3", params![writer, uid, volume])
        }
        None => db.execute("DELETE FROM retry WHERE writer = ?1", [writer]),
    }
}

/// Every one, true or not.
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Retry>> {
    let mut statement = db.prepare("SELECT retry FROM retry ORDER BY uid, volume, writer")?;
    let texts: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
}

/// A command, as one word that no other command of any boot has.
pub(super) fn writer(retry: &Retry) -> String {
    format!("{} {} {}", retry.boot, retry.process.pid, retry.process.started)
}

/// Whether the command of that word is gone. One that no program of ours wrote is left alone.
fn is_gone(writer: &str, boot: &str) -> bool {
    let mut words = writer.rsplitn(3, ' ');
    let started = words.next().and_then(|word| word.parse().ok());
    let pid = words.next().and_then(|word| word.parse().ok());
    match (started, pid, words.next()) {
        (Some(started), Some(pid), Some(of)) => of != boot || !alive(&ProcessId { pid, started }),
        (None, ..) | (_, None, _) | (.., None) => false,
    }
}
