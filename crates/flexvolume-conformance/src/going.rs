//! Calls that go on: noted before they begin, and found again by their processes, also where only the verb came to be noted.

use std::collections::BTreeSet;

use flexvolume_linux::process::{ProcessId, alive, group_members, session};
use serde::{Deserialize, Serialize};

use crate::patience::{Leave, may_end};

/// A call as it is noted before it begins: without its process at first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnderWay {
    pub(crate) verb: String,
    /// The judge's, and so its calls'; a service that a call leaves has one of its own.
    pub(crate) session: Option<u32>,
    pub(crate) id: Option<ProcessId>,
}

impl UnderWay {
    /// One that is about to begin.
    pub(crate) fn new(verb: &str) -> Self {
        Self { verb: verb.to_owned(), session: session(std::process::id()), id: None }
    }
}

/// A call that has not ended, by a process of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Going {
    pub(crate) verb: String,
    pub(crate) id: ProcessId,
}

impl Going {
    /// The call as it is now, if anything of it lives: the process that led it, or one that carries the judge's mark in its group.
    pub(crate) fn now(&self, marked: impl FnOnce() -> Vec<ProcessId>) -> Option<Self> {
        if alive(&self.id) {
            return Some(self.clone());
        }
        let members = group_members(self.id.pid).unwrap_or_default();
        let id = if members.is_empty() { None } else { marked().into_iter().find(|id| members.contains(id)) }?;
        Some(Self { id, verb: self.verb.clone() })
    }
}

/// What goes on of the calls that a judge who is dead had noted, of the processes that carry his mark. Whose group was not noted
/// counts as that call which may be ended least.
pub(crate) fn of_the_dead(calls: &[UnderWay], marked: &[ProcessId], leave: Leave) -> Vec<Going> {
    let Some(least) = calls.iter().find(|call| !may_end(&call.verb, leave)).or(calls.first()) else {
        return Vec::new();
    };
    let is_of = |call: &UnderWay, id: &ProcessId| call.session.is_some() && session(id.pid) == call.session;
    let mut all: Vec<ProcessId> =
        marked.iter().filter(|id| calls.iter().any(|call| is_of(call, id))).copied().collect();
    all.extend(calls.iter().filter_map(|call| call.id).filter(alive));
    let members = |call: &UnderWay| call.id.map(|id| group_members(id.pid).unwrap_or_default()).unwrap_or_default();
    let groups: Vec<_> = calls.iter().map(|call| (call, members(call))).collect();
    let all: BTreeSet<_> = all.into_iter().collect();
    let going = |id: ProcessId| {
        let call = groups.iter().find(|(_, group)| group.contains(&id)).map_or(least, |(call, _)| call);
        Going { verb: call.verb.clone(), id }
    };
    all.into_iter().map(going).collect()
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use flexvolume_linux::process::{Kill, Limits, Program, end, marked, spawn};

    use super::*;

    const MARK: &str = "FLEXVOL_CHECK_GOING";

    /// The leader of a call is dead, what it began lives on in its group; a service has left it.
    #[test]
    fn what_a_call_began_goes_on_without_it_and_a_service_does_not() {
        let mark = std::process::id().to_string();
        let mut program = Program::new("/bin/sh");
        let script = "sleep 60 & setsid sleep 61 & exit";
        program.args = vec!["-c".to_owned().into(), script.to_owned().into()];
        program.env = vec![(MARK.to_owned(), mark.clone())];
        let running = spawn(&program).unwrap();
        let leader = running.id();
        let limits = Limits { answer: Duration::from_millis(10), kill: Kill::Never };
        let _ = running.wait(&limits, &|_, _| false, &mut |_| ());
        let found = || marked(MARK, &mark).unwrap();
        let is_apart = |id: &&ProcessId| session(id.pid) == Some(id.pid);
        for _ in 0..1000 {
            if found().len() == 2 && found().iter().filter(is_apart).count() == 1 {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let marked = found();
        let child = *marked.iter().find(|id| !is_apart(id)).unwrap();

        let none = Leave { all: false, volumes: false };
        let going = |verb: &str, id| Going { verb: verb.to_owned(), id };
        let told = UnderWay { id: Some(leader), ..UnderWay::new("mount") };
        assert_eq!(of_the_dead(&[UnderWay::new("init"), told], &marked, none), [going("mount", child)]);
        // Killed between its birth and the note of it.
        let calls = [UnderWay::new("unmount"), UnderWay::new("attach")];
        assert_eq!(of_the_dead(&calls, &marked, none), [going("attach", child)]);
        assert_eq!(of_the_dead(&[], &marked, none), []);
        assert_eq!(going("mount", leader).now(found), Some(going("mount", child)));
        assert_eq!(going("mount", leader).now(Vec::new), None, "what is not marked is another's");
        assert!(end(&marked, Duration::from_secs(20), true).is_empty());
        assert_eq!(going("mount", leader).now(found), None);
    }
}
