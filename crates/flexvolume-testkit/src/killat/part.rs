//! A part of the points of a sweep, evenly spread and easily said, for where all of them take hours.

use std::fmt;
use std::num::NonZeroU64;

/// Every so-many-th point. The parts of one step, from 1 up to it, are all points, each once: so a sweep can be shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    step: NonZeroU64,
    from: u64,
}

impl Part {
    /// All points.
    pub const ALL: Part = Part { step: NonZeroU64::MIN, from: 1 };

    /// Every `step`-th, from the point `from` on. A step of 0 is one of 1, and so is a `from`.
    #[must_use]
    pub const fn every(step: u64, from: u64) -> Part {
        match NonZeroU64::new(step) {
            Some(step) => Part { step, from: if from == 0 { 1 } else { from } },
            None => Part::ALL,
        }
    }

    /// As a person writes it: `all`, `7` or `7/3`, which is every 7th from the 3rd on.
    #[must_use]
    pub fn parse(text: &str) -> Option<Part> {
        if text == "all" {
            return Some(Part::ALL);
        }
        let (step, from) = text.split_once('/').unwrap_or((text, "1"));
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
        Some(Part::every(number(step)?, number(from)?))
    }

    /// The numbers of its points, of so many.
    pub fn of(self, count: u64) -> impl Iterator<Item = u64> {
        let step = usize::try_from(self.step.get()).unwrap_or(usize::MAX);
        (self.from..=count).step_by(step)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.step.get(), self.from) {
            (1, 1) => f.write_str("all points"),
            (step, from) => write!(f, "points {from}, {}, {} …", from + step, from + 2 * step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_step_are_all_points() {
        let mut all: Vec<u64> = (1..=7).flat_map(|from| Part::every(7, from).of(100)).collect();
        all.sort_unstable();
        assert_eq!(all, Part::ALL.of(100).collect::<Vec<_>>());
        assert_eq!(Part::every(7, 3).of(20).collect::<Vec<_>>(), [3, 10, 17]);
        assert_eq!(Part::every(7, 3).of(2).count(), 0);
    }

    #[test]
    fn what_is_written_is_read_and_said() {
        for (text, part, said) in [
            ("all", Part::ALL, "all points"),
            ("1", Part::ALL, "all points"),
            ("7", Part::every(7, 1), "points 1, 8, 15 …"),
            ("7/3", Part::every(7, 3), "points 3, 10, 17 …"),
        ] {
            assert_eq!(Part::parse(text), Some(part));
            assert_eq!(part.to_string(), said);
        }
        for bad in ["", "0", "7/0", "x", "7/", "/7", "-1"] {
            assert_eq!(Part::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Part::every(0, 0), Part::ALL);
    }
}
