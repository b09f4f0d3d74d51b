//! Measuring: two sides in turn, many samples of each, and what they come to.

use crate::sh;
use anyhow::{Context, Result, ensure};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the numbers of a figure are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    /// Seconds.
    Time,
    /// Bytes.
    Memory,
    /// So many of something.
    Count,
}

/// Many measurements of one thing, sorted; never none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Samples(pub(super) Vec<f64>);

impl Samples {
    pub(crate) fn new(mut all: Vec<f64>) -> Result<Samples> {
        ensure!(!all.is_empty(), "a figure without a single measurement");
        all.sort_by(f64::total_cmp);
        Ok(Samples(all))
    }

    /// The value below which this part (0 to 1) of the measurements lies, between neighbours in a straight line.
    pub(super) fn at(&self, part: f64) -> f64 {
        let place = part * (self.0.len() - 1) as f64;
        let (low, high) = (self.0[place.floor() as usize], self.0[place.ceil() as usize]);
        low + (high - low) * place.fract()
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// Median and spread, in a unit a person reads: `160 µs (min 151, quartiles 156 and 171, p99 180, n 500)`.
    pub(super) fn words(&self, unit: Unit) -> String {
        let scale = scale(self.median(), unit);
        let value = |part| scale.number(self.at(part));
        // A tail of a few measurements is one of them.
        let tail = if self.0.len() < 100 { String::new() } else { format!(", p99 {}", value(TAIL)) };
        format!(
            "{} (min {}, quartiles {} and {}{tail}, n {})",
            scale.words(self.median()),
            value(0.0),
            value(0.25),
            value(0.75),
            self.0.len()
        )
    }
}

/// One figure: ours, what it is measured against, and what it should be.
pub(crate) struct Figure {
    pub(crate) name: String,
    /// What was done, in a sentence, for both sides.
    pub(crate) how: String,
    pub(crate) unit: Unit,
    pub(crate) ours: Samples,
    pub(crate) other: Option<Samples>,
    pub(crate) mark: Mark,
}

/// What a figure should be at most.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Mark {
    /// Nobody has said.
    None,
    /// Our median, as many times the other's.
    Ratio(f64),
    /// Our 99th percentile, as many times the other's.
    TailRatio(f64),
    /// Our 99th percentile, in the figure's unit.
    Tail(f64),
    /// Our median, in the figure's unit.
    Median(f64),
}

/// Where a tail begins.
const TAIL: f64 = 0.99;

impl Mark {
    /// The part of the measurements that counts.
    fn part(self) -> f64 {
        match self {
            Mark::None | Mark::Ratio(_) | Mark::Median(_) => 0.5,
            Mark::TailRatio(_) | Mark::Tail(_) => TAIL,
        }
    }

    fn words(self, unit: Unit) -> String {
        let absolute = |limit: f64| scale(limit, unit).words(limit);
        match self {
            Mark::None => String::new(),
            Mark::Ratio(limit) | Mark::TailRatio(limit) => format!("{limit} ×"),
            Mark::Tail(limit) | Mark::Median(limit) => absolute(limit),
        }
    }
}

impl Figure {
    /// Ours as many times the other, where it counts.
    pub(super) fn ratio(&self) -> Option<f64> {
        let part = self.mark.part();
        self.other.as_ref().map(|other| self.ours.at(part) / other.at(part))
    }

    /// Does it miss its mark?
    pub(super) fn misses(&self) -> bool {
        match self.mark {
            Mark::None => false,
            Mark::Ratio(limit) | Mark::TailRatio(limit) => self.ratio().is_some_and(|ratio| ratio > limit),
            Mark::Tail(limit) | Mark::Median(limit) => self.ours.at(self.mark.part()) > limit,
        }
    }

    /// One side where it counts: `p99 4.2 ms`.
    pub(super) fn cell(&self, samples: &Samples) -> String {
        let part = self.mark.part();
        let value = samples.at(part);
        let tail = if part == TAIL { "p99 " } else { "" };
        format!("{tail}{}", scale(value, self.unit).words(value))
    }

    /// What it should be at most.
    pub(super) fn limit(&self) -> String {
        self.mark.words(self.unit)
    }
}

/// One side of a figure: does the thing once and says what it took, in the figure's unit.
pub(crate) type Side<'a> = &'a mut dyn FnMut() -> Result<f64>;

/// How long one call of `what` takes, in seconds.
pub(crate) fn timed(what: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    what()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Both sides in turn, A B A B, so that what disturbs the machine disturbs both. A tenth more at the beginning is thrown away.
pub(crate) fn side_by_side(rounds: usize, ours: Side<'_>, other: Side<'_>) -> Result<(Samples, Samples)> {
    for _ in 0..rounds.div_ceil(10) {
        ours()?;
        other()?;
    }
    let (mut a, mut b) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for round in 0..rounds {
        // Whoever comes second finds the caches as the first left them; take turns at that too.
        if round % 2 == 0 {
            a.push(ours()?);
            b.push(other()?);
        } else {
            b.push(other()?);
            a.push(ours()?);
        }
    }
    Ok((Samples::new(a)?, Samples::new(b)?))
}

/// Figures measured inside a helper: an executable that prints lines `name<TAB>ours|other<TAB>number`, in turn.
/// `table` gives for each name how it was measured, its unit and its mark.
pub(crate) fn from_helper(helper: &mut Command, table: &[Row]) -> Result<Vec<Figure>> {
    let mut text = String::new();
    let end = sh::watch(helper, Duration::from_secs(1200), &mut |stream, line| match stream {
        sh::Stream::Out => text = format!("{text}{line}\n"),
        sh::Stream::Err => eprintln!("{line}"),
    })?;
    ensure!(end.success(), "`{}` did not end well: {end:?}", sh::typed(helper));
    table.iter().map(|row| row.figure(&text)).collect()
}

/// What the helper cannot say of a figure.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) how: &'static str,
    pub(crate) unit: Unit,
    pub(crate) mark: Mark,
}

impl Row {
    /// From the lines of a helper.
    pub(super) fn figure(&self, lines: &str) -> Result<Figure> {
        let side = |side: &str| -> Result<Vec<f64>> {
            let mut numbers = Vec::new();
            for line in lines.lines() {
                let fields: Vec<&str> = line.split('\t').collect();
                if let [name, found, number] = fields.as_slice()
                    && *name == self.name
                    && *found == side
                {
                    numbers.push(number.parse().with_context(|| format!("a measurement that is no number: {line}"))?);
                }
            }
            Ok(numbers)
        };
        let other = side("other")?;
        Ok(Figure {
            name: self.name.into(),
            how: self.how.into(),
            unit: self.unit,
            ours: Samples::new(side("ours")?).with_context(|| format!("the helper measured no `{}`", self.name))?,
            other: if other.is_empty() { None } else { Some(Samples::new(other)?) },
            mark: self.mark,
        })
    }
}

/// The unit in which a value is best read: how much of the base unit it is, and its name, if it has one.
#[derive(Clone, Copy)]
pub(super) struct Scale(f64, &'static str);

pub(super) fn scale(value: f64, unit: Unit) -> Scale {
    match unit {
        Unit::Time if value < 1e-3 => Scale(1e-6, "µs"),
        Unit::Time if value < 1.0 => Scale(1e-3, "ms"),
        Unit::Time => Scale(1.0, "s"),
        Unit::Memory if value < 1048576.0 => Scale(1024.0, "KiB"),
        Unit::Memory => Scale(1048576.0, "MiB"),
        Unit::Count => Scale(1.0, ""),
    }
}

impl Scale {
    /// With its unit.
    fn words(self, value: f64) -> String {
        format!("{} {}", self.number(value), self.1).trim_end().to_owned()
    }

    /// Three digits are enough for anybody; what is counted is told as it is.
    fn number(self, value: f64) -> String {
        let value = value / self.0;
        if value >= 100.0 || self.1.is_empty() && value.fract() == 0.0 {
            format!("{value:.0}")
        } else if value >= 10.0 {
            format!("{value:.1}")
        } else {
            format!("{value:.2}")
        }
    }
}

/// Why a part cannot be measured here.
#[derive(Debug)]
pub(super) struct LeftOut(pub(super) String);

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LeftOut {}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples::new(values.to_vec()).unwrap()
    }

    #[test]
    fn medians_and_quartiles_are_right() {
        let five = samples(&[5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!((five.at(0.0), five.at(0.25), five.median(), five.at(0.75)), (1.0, 2.0, 3.0, 4.0));
        assert_eq!(samples(&[1.0, 2.0]).median(), 1.5);
        assert!(Samples::new(Vec::new()).is_err());
    }

    #[test]
    fn what_is_counted_has_no_unit_and_no_needless_digits() {
        let words = |values: &[f64], unit| samples(values).words(unit);
        assert_eq!(words(&[1.0, 1.0], Unit::Count), "1 (min 1, quartiles 1 and 1, n 2)");
        assert_eq!(words(&[1.0, 2.0, 3.0, 1204.0], Unit::Count), "2.50 (min 1, quartiles 1.75 and 303, n 4)");
        assert_eq!(words(&[0.002], Unit::Time), "2.00 ms (min 2.00, quartiles 2.00 and 2.00, n 1)");
    }

    #[test]
    fn a_mark_is_held_where_it_counts() {
        let figure = |ours: &[f64], other: Option<&[f64]>, mark| Figure {
            name: "f".into(),
            how: "h".into(),
            unit: Unit::Time,
            ours: samples(ours),
            other: other.map(samples),
            mark,
        };
        // Ninety-five fast ones and five slow ones.
        let mixed: Vec<f64> = (0..100).map(|n| if n < 95 { 0.001 } else { 0.02 }).collect();
        assert!(!figure(&mixed, None, Mark::Median(0.01)).misses());
        assert!(figure(&mixed, None, Mark::Tail(0.01)).misses());
        let even = [0.001; 100];
        assert!(!figure(&mixed, Some(&even), Mark::Ratio(1.2)).misses());
        assert!(figure(&mixed, Some(&even), Mark::TailRatio(1.2)).misses());
        let tail = figure(&mixed, Some(&even), Mark::Tail(0.01));
        assert_eq!((tail.cell(&tail.ours), tail.limit()), ("p99 20.0 ms".into(), "10.0 ms".into()));
    }

    #[test]
    fn sides_take_turns() {
        let log = std::cell::RefCell::new(String::new());
        let side = |name: char| {
            let log = &log;
            move || {
                log.borrow_mut().push(name);
                Ok(1.0)
            }
        };
        let (a, b) = side_by_side(4, &mut side('a'), &mut side('b')).unwrap();
        assert_eq!((a.0.len(), b.0.len()), (4, 4));
        assert_eq!(*log.borrow(), "ababbaabba");
    }

    #[test]
    fn a_helper_is_heard() {
        let row = |name| Row { name, how: "h", unit: Unit::Time, mark: Mark::None };
        let mut helper = Command::new("printf");
        helper.arg(r"x\tours\t0.5\nx\tother\t1\nnoise\nx\tours\t0.7\n");
        let figures = from_helper(&mut helper, &[row("x")]).unwrap();
        assert_eq!((figures[0].ours.0.as_slice(), figures[0].ratio()), ([0.5, 0.7].as_slice(), Some(0.6)));
        assert!(from_helper(&mut helper, &[row("y")]).is_err(), "a figure that nobody measured");
        assert!(from_helper(Command::new("printf").arg(r"x\tours\tfast\n"), &[row("x")]).is_err());
    }
}
