//! What discovery knows of each driver, and when it is to be looked at next: decided here, done elsewhere.
//!
//! ```text
//!            something changed            quiet for a moment
//!  (nothing) ────────────────▶ Settling ───────────────────▶ Looking ── ready ──▶ Ready ─┐ something changed
//!                                 ▲  ▲                        │   │                      │
//!                                 │  └── something changed ───┘   └─ failed ─▶ Failing ──┤ or its time has come
//!                                 └──────────────────────────────────────────────────────┘
//! ```
//!
//! Found at the start, found later, changed and taken away are one path: something changed, so it is looked at. A burst
//! of changes makes one look.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use flexvolume_protocol::DriverName;

use super::load::Ask;
use crate::backoff;

/// A burst is over when nothing has changed for this long.
const QUIET: Duration = Duration::from_millis(2);
/// A burst that does not end is looked at all the same.
const LONGEST: Duration = Duration::from_millis(50);

/// What changes beside a driver sooner after a look may be of its own making.
const CALM: Duration = Duration::from_secs(60);

/// What changed of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Its executable or its directory, or nobody knows what.
    Program,
    /// Something beside the executable came, went or got another mode: a helper or a setting it may stand on.
    Beside,
    /// Something beside the executable was written to: a setting, or the driver's own log.
    Content,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It can be used.
    Ready,
    /// It cannot, and may be tried again then.
    Failed(Instant),
    /// It is not there.
    Gone,
}

/// Every driver that something was seen of.
#[derive(Debug, Default)]
pub(super) struct Table {
    drivers: BTreeMap<DriverName, Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    phase: Phase,
    /// When the last look at it ended.
    looked: Option<Instant>,
    /// How often in a row something beside it changed soon after a look: it may be the driver itself that is at it.
    restless: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Something changes; it is looked at when that is over, but not before `hold`.
    Settling { since: Instant, last: Instant, hold: Instant, ask: Ask },
    /// It is being looked at; once more afterwards if its program changed meanwhile.
    Looking { again: bool },
    /// It can be used.
    Ready,
    /// It cannot, until then at least.
    Failing { again: Instant },
}

impl Table {
    /// Something of this driver changed.
    pub(super) fn changed(&mut self, name: &DriverName, what: Changed, now: Instant) {
        let known = self.drivers.get(name).copied();
        let mut entry = known.unwrap_or(Entry { phase: Phase::Ready, looked: None, restless: 0 });
        entry.phase = match (known.map(|known| known.phase), what) {
            // A driver that works writes its log there: only one that does not may be waiting for a setting.
            (Some(Phase::Ready) | None, Changed::Content) => return,
            (Some(Phase::Settling { since, hold, ask: before, .. }), _) => {
                let ask = if before == Ask::Anew { Ask::Anew } else { ask(what) };
                let hold = if what == Changed::Program { now } else { hold };
                Phase::Settling { since, last: now, hold, ask }
            }
            (Some(Phase::Looking { .. }), Changed::Program) => Phase::Looking { again: true },
            // What an `init` writes beside itself must not make it be asked again, for ever.
            (Some(Phase::Looking { again }), Changed::Beside | Changed::Content) => Phase::Looking { again },
            (Some(Phase::Ready | Phase::Failing { .. }) | None, Changed::Program) => {
                Phase::Settling { since: now, last: now, hold: now, ask: ask(what) }
            }
            // Nor must what it leaves running there.
            (Some(Phase::Ready | Phase::Failing { .. }) | None, Changed::Beside | Changed::Content) => {
                let hold = entry.hold(now);
                Phase::Settling { since: now, last: now, hold, ask: ask(what) }
            }
        };
        self.drivers.insert(name.clone(), entry);
    }

    /// The drivers to be looked at now, and how; they count as being looked at from now on.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(DriverName, Ask)> {
        let mut due = Vec::new();
        for (name, entry) in &mut self.drivers {
            let how = match entry.phase {
                Phase::Settling { ask, .. } => ask,
                Phase::Failing { .. } => Ask::Anew,
                Phase::Looking { .. } | Phase::Ready => continue,
            };
            if time(&entry.phase).is_some_and(|time| time <= now) {
                due.push((name.clone(), how));
                entry.phase = Phase::Looking { again: false };
            }
        }
        due
    }

    /// A look has ended.
    pub(super) fn looked(&mut self, name: &DriverName, outcome: Outcome, now: Instant) {
        let Some(entry) = self.drivers.get_mut(name) else { return };
        let Phase::Looking { again } = entry.phase else { return };
        entry.looked = Some(now);
        entry.phase = match (again, outcome) {
            (true, _) => Phase::Settling { since: now, last: now, hold: now, ask: Ask::IfChanged },
            (false, Outcome::Ready) => Phase::Ready,
            (false, Outcome::Failed(again)) => Phase::Failing { again },
            (false, Outcome::Gone) => {
                self.drivers.remove(name);
                return;
            }
        };
    }

    /// When to come back, if nothing happens before.
    pub(super) fn next(&self) -> Option<Instant> {
        self.drivers.values().filter_map(|entry| time(&entry.phase)).min()
    }

    /// Every driver known now.
    pub(super) fn names(&self) -> Vec<DriverName> {
        self.drivers.keys().cloned().collect()
    }
}

impl Entry {
    /// Not before when a change beside it, seen now, is a reason to look again.
    fn hold(&mut self, now: Instant) -> Instant {
        match self.looked {
            Some(looked) if now.saturating_duration_since(looked) < CALM => {
                self.restless = self.restless.saturating_add(1);
                // The first may be anybody's; what follows each look is more and more likely its own.
                if self.restless == 1 { now } else { looked + backoff::after(self.restless - 1) }
            }
            Some(_) | None => {
                self.restless = 0;
                now
            }
        }
    }
}

fn ask(what: Changed) -> Ask {
    match what {
        Changed::Program => Ask::IfChanged,
        Changed::Beside | Changed::Content => Ask::Anew,
    }
}

fn time(phase: &Phase) -> Option<Instant> {
    match phase {
        Phase::Settling { since, last, hold, .. } => Some((*last + QUIET).min(*since + LONGEST).max(*hold)),
        Phase::Failing { again } => Some(*again),
        Phase::Looking { .. } | Phase::Ready => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> DriverName {
        DriverName::parse("v/d").unwrap()
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A table in which `v/d` was looked at and found `outcome`.
    fn after(outcome: Outcome, now: Instant) -> Table {
        let mut table = Table::default();
        table.changed(&name(), Changed::Program, now);
        assert_eq!(table.due(now + QUIET), [(name(), Ask::IfChanged)]);
        table.looked(&name(), outcome, now + QUIET);
        table
    }

    #[test]
    fn a_burst_is_one_look_when_it_is_over() {
        let start = Instant::now();
        let mut table = Table::default();
        for n in 0..5 {
            table.changed(&name(), Changed::Program, start + ms(n));
            assert_eq!(table.due(start + ms(n)), []);
        }
        assert_eq!(table.next(), Some(start + ms(4) + QUIET));
        assert_eq!(table.due(start + ms(4) + QUIET).len(), 1);
        assert_eq!(table.due(start + ms(1000)), [], "it is being looked at");
        table.looked(&name(), Outcome::Ready, start + ms(1000));
        assert_eq!((table.due(start + ms(2000)), table.next()), (vec![], None));
    }

    #[test]
    fn a_burst_without_an_end_is_looked_at_all_the_same() {
        let start = Instant::now();
        let mut table = Table::default();
        let looks = (0..200).filter(|n| {
            table.changed(&name(), Changed::Program, start + ms(*n));
            let due = table.due(start + ms(*n));
            due.iter().for_each(|(name, _)| table.looked(name, Outcome::Ready, start + ms(*n)));
            !due.is_empty()
        });
        assert_eq!(looks.count(), 3);
    }

    #[test]
    fn what_changes_beside_asks_anew_but_not_what_init_itself_writes() {
        let start = Instant::now();
        let mut table = after(Outcome::Ready, start);
        table.changed(&name(), Changed::Beside, start + ms(10));
        table.changed(&name(), Changed::Program, start + ms(10));
        assert_eq!(table.due(start + ms(20)), [(name(), Ask::Anew)]);
        table.changed(&name(), Changed::Beside, start + ms(21));
        table.looked(&name(), Outcome::Ready, start + ms(22));
        assert_eq!(table.due(start + ms(1000)), []);
        table.changed(&name(), Changed::Content, start + ms(1001));
        assert_eq!(table.due(start + ms(2000)), [], "its log");
    }

    #[test]
    fn what_a_driver_leaves_running_beside_itself_makes_it_be_asked_ever_more_rarely() {
        let start = Instant::now();
        let mut table = after(Outcome::Ready, start);
        let (mut now, mut looks) = (start, 0);
        // Something changes 300 ms after every look, for ten minutes.
        while now < start + Duration::from_secs(600) {
            now += ms(300);
            table.changed(&name(), Changed::Beside, now);
            now = now.max(table.next().unwrap());
            assert_eq!(table.due(now), [(name(), Ask::Anew)]);
            table.looked(&name(), Outcome::Ready, now);
            looks += 1;
        }
        assert!((8..20).contains(&looks), "{looks}");
        // Its program is another matter, and so is a change after a calm minute.
        table.changed(&name(), Changed::Beside, now + ms(1));
        table.changed(&name(), Changed::Program, now + ms(2));
        assert_eq!(table.due(now + ms(10)).len(), 1);
        table.looked(&name(), Outcome::Ready, now + ms(10));
        let calm = now + CALM + ms(100);
        table.changed(&name(), Changed::Beside, calm);
        assert_eq!(table.due(calm + QUIET).len(), 1);
    }

    #[test]
    fn a_program_that_changes_while_it_is_looked_at_is_looked_at_once_more() {
        let start = Instant::now();
        let mut table = Table::default();
        table.changed(&name(), Changed::Program, start);
        assert_eq!(table.due(start + ms(10)).len(), 1);
        table.changed(&name(), Changed::Program, start + ms(11));
        table.looked(&name(), Outcome::Failed(start + ms(500)), start + ms(12));
        assert_eq!(table.due(start + ms(20)), [(name(), Ask::IfChanged)]);
    }

    #[test]
    fn a_failing_one_is_tried_at_its_time_or_when_something_changes() {
        let start = Instant::now();
        let mut table = after(Outcome::Failed(start + ms(500)), start);
        assert_eq!(table.next(), Some(start + ms(500)));
        assert_eq!(table.due(start + ms(499)), []);
        assert_eq!(table.due(start + ms(500)), [(name(), Ask::Anew)]);
        let mut table = after(Outcome::Failed(start + ms(500)), start);
        table.changed(&name(), Changed::Content, start + ms(100));
        assert_eq!(table.due(start + ms(103)), [(name(), Ask::Anew)]);
    }

    #[test]
    fn one_that_is_gone_is_tried_no_more() {
        let start = Instant::now();
        let mut table = after(Outcome::Gone, start);
        assert_eq!((table.names(), table.next(), table.due(start + ms(9999))), (vec![], None, vec![]));
        let mut table = after(Outcome::Failed(start + ms(500)), start);
        table.changed(&name(), Changed::Program, start + ms(400));
        table.due(start + ms(410));
        table.looked(&name(), Outcome::Gone, start + ms(411));
        assert_eq!(table.next(), None, "the retry went with the driver");
    }

    #[test]
    fn drivers_do_not_wait_for_each_other() {
        let start = Instant::now();
        let other = DriverName::parse("v/other").unwrap();
        let mut table = Table::default();
        table.changed(&name(), Changed::Program, start);
        assert_eq!(table.due(start + ms(10)).len(), 1);
        table.changed(&other, Changed::Program, start + ms(20));
        assert_eq!(table.due(start + ms(30)), [(other, Ask::IfChanged)]);
    }
}
