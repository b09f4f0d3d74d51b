//! Which points a sweep tries, and the word about them that is part of its result.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    time::Instant,
};

use flexvolume_testkit::killat::{Part, Report};

/// The book of one sweep.
pub struct Tried {
    name: &'static str,
    part: Part,
    least: u64,
    start: Instant,
    calls: BTreeMap<&'static str, Call>,
    kills: u64,
}

#[derive(Default)]
struct Call {
    points: u64,
    struck: BTreeSet<u64>,
}

impl Tried {
    /// Of a sweep that usually tries this part.
    pub fn new(name: &'static str, usual: Part) -> Tried {
        let part = match std::env::var("FLEXVOL_SWEEP") {
            Ok(wish) => Part::parse(&wish).unwrap_or_else(|| panic!("FLEXVOL_SWEEP says {wish:?}")),
            Err(_) => usual,
        };
        Tried { name, part, least: 8, start: Instant::now(), calls: BTreeMap::new(), kills: 0 }
    }

    /// Its calls may have as few points as this.
    #[allow(dead_code, reason = "the calls of one suite are long")]
    pub fn least(self, least: u64) -> Tried {
        Tried { least, ..self }
    }

    /// A call with so many points. It must have some, else the tracer is blind.
    #[track_caller]
    pub fn has(&mut self, call: &'static str, points: u64) {
        assert!(points >= self.least, "{call} has {points} effects");
        self.calls.entry(call).or_default().points = points;
    }

    /// The points to try, each with its turn: at least one for each point of the longest call that belongs to the part.
    pub fn turns(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let most = self.calls.values().map(|call| call.points).max().unwrap_or_default();
        (0..).zip(self.part.of(most))
    }

    /// Where a shorter call is struck meanwhile: again from its beginning, when its end is passed.
    pub fn within(&self, call: &'static str, at: u64) -> u64 {
        (at - 1) % self.calls[call].points + 1
    }

    /// Notes a kill, and gives the words about it. A call that did not end was not killed there, but for its time.
    #[track_caller]
    pub fn note(&mut self, call: &'static str, report: &Report) -> String {
        assert!(!report.timed_out, "{}: {call} hung after {:?}", self.name, report.effects.last());
        let Some(at) = report.struck else { return format!("{call}, not killed: it had {} effects", report.count()) };
        self.kills += 1;
        self.calls.entry(call).or_default().struck.insert(at);
        let effect = report.effects.iter().find(|it| it.n == at);
        let effect = effect
            .map(|it| format!("{}{} {} {}", it.comm, if it.spared { " (spared)" } else { "" }, it.syscall, it.detail));
        format!("{}: {call} killed at {at}, {}", self.name, effect.unwrap_or_default())
    }

    /// Says it, past the capture of the test harness. Each call must have been killed somewhere.
    #[track_caller]
    pub fn tell(&self) {
        for (call, it) in &self.calls {
            assert!(!it.struck.is_empty(), "{}: {call} was never killed", self.name);
        }
        let calls =
            self.calls.iter().map(|(name, it)| format!("{name} at {} of {} points", it.struck.len(), it.points));
        let calls: Vec<String> = calls.collect();
        let _ = writeln!(
            std::io::stderr(),
            "note: sweep, {}: {} ({}), {} kills, {:.0} s",
            self.name,
            calls.join(", "),
            self.part,
            self.kills,
            self.start.elapsed().as_secs_f64()
        );
    }
}
