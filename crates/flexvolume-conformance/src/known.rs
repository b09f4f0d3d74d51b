//! What is known of all calls so far: how long they took, what was wrong with them, what they began and what of them goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use flexvolume_linux::process::{self, ProcessId};

use crate::{
    going::{Going, UnderWay},
    ledger::Ledger,
    shown::{Call, Time},
};

/// What is known of all calls so far.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) calls: Vec<Call>,
    /// By verb, how long each took.
    pub(crate) took: BTreeMap<&'static str, Vec<Duration>>,
    /// What was found by a check that listens to all calls.
    pub(crate) faults: BTreeMap<&'static str, Vec<String>>,
    /// Verbs that answered "Not supported", and that answered something else.
    pub(crate) unsupported: BTreeMap<&'static str, bool>,
    /// What was begun and not undone.
    pub(crate) ledger: Ledger,
    /// The process groups that calls were.
    pub(crate) groups: BTreeSet<u32>,
    /// Calls that did not end in time and go on.
    pub(crate) going: Vec<Going>,
    /// Calls that have not ended yet, those among them.
    pub(crate) calls_now: Vec<UnderWay>,
}

impl Known {
    /// A call that was noted has its process, or could not get one.
    pub(crate) fn born(&mut self, verb: &str, id: Option<ProcessId>) {
        let Some(at) = self.calls_now.iter().position(|call| call.verb == verb && call.id.is_none()) else { return };
        match id {
            Some(id) => {
                self.groups.insert(id.pid);
                self.calls_now[at].id = Some(id);
            }
            None => drop(self.calls_now.remove(at)),
        }
    }

    /// A call has come to its end. What goes on stays noted, whoever of it lives.
    pub(crate) fn over(&mut self) {
        let Self { calls_now, going, .. } = self;
        let goes_on = |id: ProcessId| going.iter().any(|call| call.id == id) || process::alive(&id);
        calls_now.retain(|call| call.id.is_none_or(goes_on));
    }

    /// The last calls since that mark.
    pub(crate) fn since(&self, place: usize) -> Vec<Call> {
        const LAST: usize = 4;
        let calls = &self.calls;
        calls.get(place.max(calls.len().saturating_sub(LAST))..).unwrap_or_default().to_vec()
    }

    /// How long a verb takes; nothing if it was never called.
    pub(crate) fn usual(&self, verb: &str) -> Option<Duration> {
        let mut took = self.took.get(verb)?.clone();
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    }

    /// How long a verb took when it was called last; nothing if it was never called.
    pub(crate) fn last(&self, verb: &str) -> Option<Duration> {
        self.took.get(verb)?.last().copied()
    }

    /// How long each verb took.
    pub(crate) fn times(&self) -> Vec<Time> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let time = |(verb, took): (&&str, &Vec<Duration>)| {
            let mut took = took.clone();
            took.sort_unstable();
            let at = |place: usize| took.get(place).copied().map_or(0, ms);
            Time {
                verb: (*verb).to_owned(),
                calls: took.len(),
                median_ms: at(took.len() / 2),
                longest_ms: at(took.len().saturating_sub(1)),
            }
        };
        self.took.iter().map(time).collect()
    }
}
