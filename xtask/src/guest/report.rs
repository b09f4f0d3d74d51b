//! What came of a case: heard while it runs, told when it has ended.

use super::case::Case;
use crate::{
    sh::Stream,
    tally::{Reader, Tally},
};
use std::time::Duration;

/// What came of one case.
pub(super) struct Report {
    pub(super) case: Case,
    pub(super) took: Duration,
    pub(super) verdict: Verdict,
}

/// How it ended.
pub(super) enum Verdict {
    /// It ended by itself; its output says how.
    Said { tally: Tally, output: Vec<String> },
    /// It did not end well, and why.
    Lost { why: String, output: Vec<String> },
}

/// What a case says, and what it comes to.
pub(super) struct Listener {
    reader: Reader,
    output: Vec<String>,
}

impl Listener {
    pub(super) fn new() -> Listener {
        Listener { reader: Reader::new(), output: Vec::new() }
    }

    pub(super) fn line(&mut self, stream: Stream, line: &str) {
        match stream {
            Stream::Out => {
                if self.reader.out(line) {
                    self.output.push(line.to_owned());
                }
            }
            Stream::Err => {
                self.reader.err(line);
                self.output.push(line.to_owned());
            }
        }
    }

    pub(super) fn end(self, status: i32) -> Verdict {
        Verdict::Said { tally: self.reader.end(status == 0), output: self.output }
    }

    pub(super) fn lost(self, why: impl Into<String>) -> Verdict {
        Verdict::Lost { why: why.into(), output: self.output }
    }
}

/// Says it, and counts it.
pub(super) fn tell(report: Report, tally: &mut Tally) {
    let Report { case, took, verdict } = report;
    let seconds = took.as_secs_f32();
    let show = |word: &str, output: &[String]| {
        println!("test {} ... {word} ({seconds:.1} s)", case.full);
        output.iter().for_each(|line| println!("    {line}"));
    };
    match verdict {
        Verdict::Said { tally: mut one, mut output } => {
            // Its one case is known by its full name, and its words about that may stand apart, with its output between.
            one.skipped.truncate(usize::from(one.failed == 0));
            one.skipped.iter_mut().for_each(|skip| skip.case.clone_from(&case.full));
            one.failures = vec![case.full.clone(); one.failed];
            match (one.failed, one.skipped.is_empty(), one.passed) {
                (0, true, 0) => {
                    show("FAILED: it said nothing of itself", &output);
                    one.fail(&case.full);
                }
                (0, true, _) => {
                    // How much of its work a case has done may be part of its result.
                    output.retain(|line| line.starts_with("note: "));
                    show("ok", &output);
                }
                (0, false, _) => show("skipped", &[]),
                _ => show("FAILED", &output),
            }
            tally.add(one);
        }
        Verdict::Lost { why, output } => {
            show("FAILED", &output);
            println!("    {why}");
            tally.fail(&case.full);
        }
    }
    crate::say::flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str], status: i32) -> Verdict {
        let mut listener = Listener::new();
        lines.iter().for_each(|line| {
            listener.line(if line.starts_with("skipped") { Stream::Err } else { Stream::Out }, line);
        });
        listener.end(status)
    }

    fn came_of(verdict: Verdict) -> Tally {
        let mut tally = Tally::default();
        tell(Report { case: Case::sample(0, "a"), took: Duration::ZERO, verdict }, &mut tally);
        tally
    }

    fn failed_once() -> Tally {
        let mut tally = Tally::default();
        tally.fail("lvm::a");
        tally
    }

    #[test]
    fn a_case_comes_to_what_its_binary_says() {
        const OK: &str =
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        const BAD: &str =
            "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(came_of(said(&["test a ... ok", OK], 0)).line(), "1 passed, 0 failed, 0 skipped");
        let skipped = came_of(said(&["test a ... ok", "skipped: no loop devices", OK], 0));
        assert_eq!(
            (skipped.line().as_str(), skipped.skipped[0].case.as_str()),
            ("0 passed, 0 failed, 1 skipped", "lvm::a")
        );
        assert_eq!(came_of(said(&["test a ... FAILED", BAD], 101)), failed_once());
        let said_between = came_of(said(&["test a ... words", "more", "skipped: not", "FAILED", BAD], 101));
        assert_eq!(said_between, failed_once());
        assert_eq!(
            came_of(said(&["skipped: this", "skipped: that", "ok", OK], 0)).line(),
            "0 passed, 0 failed, 1 skipped"
        );
    }

    #[test]
    fn what_was_said_before_the_machine_died_is_kept() {
        let mut listener = Listener::new();
        listener.line(Stream::Out, "test a ... words");
        listener.line(Stream::Err, "last words");
        let Verdict::Lost { output, .. } = listener.lost("it died") else { panic!() };
        assert_eq!(output, ["test a ... words", "last words"]);
    }

    #[test]
    fn a_case_that_says_nothing_has_not_passed() {
        let none = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.00s";
        for verdict in [said(&[none], 0), said(&[], 0), said(&["test a ... "], 134), Listener::new().lost("died")] {
            assert_eq!(came_of(verdict), failed_once());
        }
    }
}
