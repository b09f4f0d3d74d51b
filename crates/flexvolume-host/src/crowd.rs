//! How many calls for volumes may hang before no more are begun (an `init` that hangs is not counted: each command finds
//! out anew): each holds a process that cannot be ended, and a driver whose calls hang will hang once more.
//!
//! Counted are calls of this root that nobody watches any more and that still have a living process, whichever command
//! began them. A driver of which none hangs is never refused, whatever others do.

use flexvolume_linux::process::ProcessId;
use flexvolume_protocol::DriverName;

use crate::{
    error::{Error, Kind, Result, waits_for},
    ground::Ground,
    lock,
    standing::{Alive, is_watched_here, of_call},
    volume::record::Record,
};

/// In all; then only drivers of which none hangs begin calls.
const IN_ALL: usize = 64;
/// Of one driver: a quarter of all.
const OF_DRIVER: usize = IN_ALL / 4;

/// A call that hangs.
struct Hanging {
    key: String,
    process: ProcessId,
}

/// Whether one more call may be begun for `record`; refused in words if too many hang already.
pub(crate) fn admit(ground: &Ground, record: &Record) -> Result<()> {
    let mine = hanging(ground, Some(&record.driver), &record.key)?;
    if mine.is_empty() {
        return Ok(());
    }
    let all = hanging(ground, None, &record.key)?.len();
    if is_full(mine.len(), all) { Err(refused(&record.driver, &mine, all)) } else { Ok(()) }
}

fn is_full(mine: usize, all: usize) -> bool {
    mine >= OF_DRIVER || (mine > 0 && all >= IN_ALL)
}

fn hanging(ground: &Ground, driver: Option<&DriverName>, but: &str) -> Result<Vec<Hanging>> {
    let open = ground.ledger.open_calls(driver)?.into_iter();
    // Its own is told as what it is: busy.
    let others = open.filter(|open| open.boot == ground.ident.boot && open.key != but && !is_watched_here(&open.call));
    Ok(others
        .filter_map(|open| match of_call(&lock::with_note(&ground.layout.lock(&open.key), open.call)) {
            Alive::Stuck(process) | Alive::Unwatched(process) => Some(Hanging { key: open.key, process }),
            Alive::Watched(..) | Alive::No => None,
        })
        .collect())
}

fn refused(driver: &DriverName, mine: &[Hanging], all: usize) -> Error {
    let shown = 3;
    let names: Vec<_> = mine.iter().take(shown).map(|one| one.key.as_str()).collect();
    let more = mine.len().saturating_sub(shown);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let beside = if mine.len() < OF_DRIVER { format!(", of {all} in all") } else { String::new() };
    let first = mine.first().map_or(0, |one| one.process.pid);
    Error::new(
        Kind::Busy,
        format!(
            "{} calls of driver {driver} hang{beside}: volumes {}{more}; no more are begun",
            mine.len(),
            names.join(", ")
        ),
    )
    .hint(format!(
        "flexvol ls names each; of the first, pid {first}, {}. It goes on when some have ended",
        waits_for(first)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_for_a_driver_and_nothing_for_the_well_to_fear() {
        for (mine, all, full) in [
            (0, 0, false),
            (0, 64, false),
            (0, 1000, false),
            (1, 63, false),
            (1, 64, true),
            (15, 15, false),
            (15, 63, false),
            (16, 16, true),
        ] {
            assert_eq!(is_full(mine, all), full, "{mine} of {all}");
        }
    }

    #[test]
    fn the_words_name_driver_number_and_where_to_look() {
        let driver = DriverName::parse("v/d").unwrap();
        let hanging = |n: u32| Hanging { key: format!("v/d/{n}"), process: ProcessId { pid: 100 + n, started: 1 } };
        let many: Vec<_> = (0..16).map(hanging).collect();
        let error = refused(&driver, &many, 20);
        assert_eq!(
            error.to_string(),
            "16 calls of driver v/d hang: volumes v/d/0, v/d/1, v/d/2 and 13 more; no more are begun"
        );
        assert!(error.next().unwrap().contains("/proc/100/stack"));
        assert_eq!(
            refused(&driver, &many[..2], 64).to_string(),
            "2 calls of driver v/d hang, of 64 in all: volumes v/d/0, v/d/1; no more are begun"
        );
    }
}
