//! What is to be said of the op that a record names as under way: somebody is at it, it hangs, or it was cut off.

use flexvolume_linux::process::{self, ProcessId};

use crate::{
    drivers::call::CALL_ID,
    error::Result,
    ident::Ident,
    layout::Layout,
    lock,
    volume::{
        record::{OpenCall, Record},
        state::Op,
    },
};

/// How a volume's op under way stands. What is recorded is believed, and asked of the kernel by pid; processes that only
/// carry the call's id in their environment are not looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is under way.
    Rest,
    /// A living command is at it.
    Working {
        /// What is done.
        op: Op,
        /// The command.
        by: ProcessId,
        /// The driver's process, where one is recorded.
        process: Option<ProcessId>,
    },
    /// This process of it was told to end and has not.
    Stuck {
        /// What it was to do.
        op: Op,
        /// The process.
        process: ProcessId,
    },
    /// The command is gone, this process of it works on.
    Orphan {
        /// What it does.
        op: Op,
        /// The process.
        process: ProcessId,
    },
    /// The command is gone, and so is the process it recorded: whoever comes next ends what is left and goes on.
    CutOff {
        /// What was done.
        op: Op,
    },
}

/// How the op under way of `record` stands.
pub fn of(record: &Record, layout: &Layout, ident: &Ident) -> Standing {
    let Some(op) = record.state.doing.clone() else { return Standing::Rest };
    // Processes mean nothing in another boot.
    let call = record.call.clone().filter(|_| record.boot == ident.boot);
    match call.map(|call| of_call(&lock::with_note(&layout.lock(&record.key), call))) {
        Some(Alive::Watched(by, process)) => Standing::Working { op, by, process },
        Some(Alive::Stuck(process)) => Standing::Stuck { op, process },
        Some(Alive::Unwatched(process)) => Standing::Orphan { op, process },
        Some(Alive::No) | None => Standing::CutOff { op },
    }
}

/// What lives of an open call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alive {
    /// The command that began it, perhaps with a driver's process.
    Watched(ProcessId, Option<ProcessId>),
    /// A process that was told to end and has not.
    Stuck(ProcessId),
    /// A process that no command watches any more.
    Unwatched(ProcessId),
    /// Nothing that was recorded.
    No,
}

/// What lives of a call that was begun in this boot.
pub(crate) fn of_call(call: &OpenCall) -> Alive {
    let living = |process: &Option<ProcessId>| process.filter(process::alive);
    match (living(&call.stuck), living(&call.by), living(&call.process)) {
        (Some(process), _, _) => Alive::Stuck(process),
        // Who gave it up does not watch it, even if it lives on.
        (None, Some(by), process) if call.stuck.is_none() => Alive::Watched(by, process),
        (None, _, Some(process)) => Alive::Unwatched(process),
        (None, _, None) => Alive::No,
    }
}

/// Whether we ourselves watch it: then nobody has to be asked who lives of it.
pub(crate) fn is_watched_here(call: &OpenCall) -> bool {
    call.stuck.is_none() && call.by.is_some_and(|by| process::own() == Some(by))
}

/// Every living process of a call of this boot: what carries its id, and what is recorded of it.
///
/// # Errors
/// `/proc` cannot be read.
pub fn processes(call: &OpenCall) -> Result<Vec<ProcessId>> {
    let mut found = process::marked(CALL_ID, &call.id)?;
    if let Some(leader) = call.process {
        let group = process::group_members(leader.pid)?;
        // The group's number may be another's by now: then its leader is not the process recorded.
        let is_ours = !group.iter().any(|id| id.pid == leader.pid && *id != leader);
        found.extend(group.into_iter().filter(|_| is_ours));
    }
    found.extend(call.stuck.filter(process::alive));
    found.sort();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_told_from_the_dead_and_the_watched_from_the_left() {
        let own = process::own();
        let dead = own.map(|id| ProcessId { started: id.started + 1, ..id });
        let call = |stuck, by, process| OpenCall { stuck, by, process, ..OpenCall::new("id".into()) };
        let me = own.unwrap();
        for (call, alive) in [
            (call(None, own, dead), Alive::Watched(me, None)),
            (call(None, own, own), Alive::Watched(me, own)),
            (call(own, own, dead), Alive::Stuck(me)),
            (call(dead, own, own), Alive::Unwatched(me)),
            (call(None, dead, own), Alive::Unwatched(me)),
            (call(None, None, own), Alive::Unwatched(me)),
            (call(dead, own, dead), Alive::No),
            (call(None, dead, None), Alive::No),
        ] {
            assert_eq!(of_call(&call), alive, "{call:?}");
        }
    }
}
