//! What the judge found, as a value and in words.

use std::fmt;

use serde::Serialize;

use crate::{
    level::{Level, Severity},
    shown::{Call, Time},
};

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// The driver is at fault.
    Failed {
        /// What was seen.
        seen: String,
        /// The calls that led to it, the last ones last; redacted.
        calls: Vec<Call>,
    },
    /// It was not made.
    Skipped {
        /// Why not.
        reason: String,
    },
}

/// A check and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its name.
    pub name: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is demanded, and why.
    pub why: &'static str,
    /// Where in the book that is written.
    pub section: &'static str,
    /// What an author does about it.
    pub mend: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The driver's name.
    pub driver: String,
    /// Who has to be content.
    pub level: Level,
    /// Every check there is for that level, in order.
    pub findings: Vec<Finding>,
    /// Why the volume could not be had that the driver was to be judged by, if the description is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Something was judged of what was asked for: `mount.mounts` if that was among it, else anything.
    #[serde(skip)]
    pub judged: bool,
    /// The judge was asked to end before all was judged.
    #[serde(skip)]
    pub ended: bool,
    /// Folders of judges that were killed, which were taken away first, with all that was begun in them.
    pub earlier: Vec<String>,
    /// What the driver left behind and the judge could not take away.
    pub left: Vec<String>,
    /// How long each verb took at most, in milliseconds, and how often it was called.
    pub times: Vec<Time>,
}

/// How many checks came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// As they should be.
    pub passed: usize,
    /// Failed that must not.
    pub failed: usize,
    /// Failed that should not, or that are good to know.
    pub warned: usize,
    /// Not made.
    pub skipped: usize,
}

/// What all came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Ruling {
    /// Something was judged, and nothing failed that must not.
    Fit,
    /// Something failed that must not.
    NotFit,
    /// Nothing was: all was skipped, or the volume could not be had by the description.
    NothingJudged,
    /// The judge was asked to end before all was judged.
    Ended,
}

impl Report {
    /// What all came to. Who fails is not fit, whatever else was not judged.
    pub fn ruling(&self) -> Ruling {
        if self.count().failed > 0 {
            Ruling::NotFit
        } else if self.ended {
            Ruling::Ended
        } else if !self.judged || self.refused.is_some() {
            Ruling::NothingJudged
        } else {
            Ruling::Fit
        }
    }

    /// Something was judged, and nothing failed that must not.
    pub fn is_fit(&self) -> bool {
        self.ruling() == Ruling::Fit
    }

    /// How many came to what.
    pub fn count(&self) -> Count {
        let mut count = Count::default();
        for finding in &self.findings {
            match (&finding.outcome, finding.severity) {
                (Outcome::Passed, _) => count.passed += 1,
                (Outcome::Failed { .. }, Severity::Must) => count.failed += 1,
                (Outcome::Failed { .. }, Severity::Should | Severity::Note) => count.warned += 1,
                (Outcome::Skipped { .. }, _) => count.skipped += 1,
            }
        }
        count
    }

    /// The names of the checks that failed, in order.
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = self.findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Failed { .. }));
        failed.map(|finding| finding.name).collect()
    }
}

/// What failed, in words, and a line of numbers.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            if let Outcome::Failed { .. } = finding.outcome {
                writeln!(f, "{finding}")?;
            }
        }
        if let Some(refused) = &self.refused {
            writeln!(f, "nothing was judged by a volume: {refused}")?;
        }
        for earlier in &self.earlier {
            writeln!(f, "taken away first, since a judge was killed: {earlier}, and what it had begun")?;
        }
        for left in &self.left {
            writeln!(f, "left behind: {left}")?;
        }
        let Count { passed, failed, warned, skipped } = self.count();
        let (driver, level) = (&self.driver, self.level.as_str());
        write!(f, "{driver}, level {level}: {passed} passed, {failed} failed, {warned} warned, {skipped} skipped")
    }
}

/// A failed check with all that an author needs; others in one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed => write!(f, "passed   {}", self.name),
            Outcome::Skipped { reason } => write!(f, "skipped  {}: {reason}", self.name),
            Outcome::Failed { seen, calls } => {
                let word = match self.severity {
                    Severity::Must => "FAILED",
                    Severity::Should => "warning",
                    Severity::Note => "note",
                };
                writeln!(f, "{word:8} {} ({})", self.name, self.severity.as_str())?;
                writeln!(f, "         demand: {} [{}]", self.why, self.section)?;
                writeln!(f, "         seen:   {seen}")?;
                write!(f, "         mend:   {}", self.mend)?;
                calls.iter().try_for_each(|call| write!(f, "\n{call}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruling(outcomes: &[(Severity, bool)], refused: bool, ended: bool) -> Ruling {
        let finding = |(severity, passed): &(Severity, bool)| Finding {
            name: "a.b",
            severity: *severity,
            why: "",
            section: "",
            mend: "",
            outcome: match passed {
                true => Outcome::Passed,
                false => Outcome::Failed { seen: String::new(), calls: Vec::new() },
            },
        };
        let report = Report {
            driver: String::new(),
            level: Level::Kubernetes,
            findings: outcomes.iter().map(finding).collect(),
            refused: refused.then(String::new),
            judged: !outcomes.is_empty(),
            ended,
            earlier: Vec::new(),
            left: Vec::new(),
            times: Vec::new(),
        };
        report.ruling()
    }

    #[test]
    fn who_was_not_judged_is_not_fit() {
        let (good, bad, odd) = ((Severity::Must, true), (Severity::Must, false), (Severity::Should, false));
        assert_eq!(ruling(&[good, odd], false, false), Ruling::Fit);
        assert_eq!(ruling(&[odd], false, false), Ruling::Fit);
        assert_eq!(ruling(&[], false, false), Ruling::NothingJudged);
        assert_eq!(ruling(&[good], true, false), Ruling::NothingJudged);
        assert_eq!(ruling(&[good], false, true), Ruling::Ended);
        assert_eq!(ruling(&[good, bad], true, true), Ruling::NotFit);
    }
}
