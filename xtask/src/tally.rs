//! Reads what `cargo test` prints and counts it: a case that says `skipped: why` is skipped, whatever its binary thinks.

/// What came of some phases.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: Vec<Skip>,
    /// Names of the cases that failed.
    pub(crate) failures: Vec<String>,
}

/// A case that could not be tried here, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) case: String,
    pub(crate) why: String,
}

impl Tally {
    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    pub(crate) fn fail(&mut self, case: &str) {
        self.failed += 1;
        self.failures.push(case.to_owned());
    }

    pub(crate) fn skip(&mut self, case: &str, why: &str) {
        self.skipped.push(Skip { case: case.to_owned(), why: why.to_owned() });
    }

    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
        self.failures.extend(other.failures);
    }

    /// Nothing was tried, and nothing was left out.
    pub(crate) fn is_empty(&self) -> bool {
        self.passed + self.failed + self.skipped.len() == 0
    }

    /// Says why each skipped case was skipped, and what failed.
    pub(crate) fn explain(&self) {
        for skip in &self.skipped {
            println!("  skipped: {}: {}", skip.case, skip.why);
        }
        for failure in &self.failures {
            println!("  FAILED: {failure}");
        }
        println!();
    }

    /// The last line of the door, alone on its line.
    pub(crate) fn line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped.len())
    }
}

/// Where in a test binary's output we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// The list of cases, as they end.
    Running,
    /// What the cases that passed had printed.
    Successes,
    /// What the cases that failed had printed.
    Failures,
}

/// Follows the output of `cargo test --no-fail-fast … -- --show-output`, line by line.
pub(crate) struct Reader {
    tally: Tally,
    section: Section,
    /// The case whose captured output is being printed.
    case: Option<String>,
    /// Cases that skipped themselves; their binaries count them as passed.
    skipped_themselves: usize,
    /// Binaries that said themselves that they failed.
    failed_binaries: usize,
    /// Targets that cargo says failed.
    failed_targets: usize,
}

impl Reader {
    pub(crate) fn new() -> Reader {
        Reader {
            tally: Tally::default(),
            section: Section::Running,
            case: None,
            skipped_themselves: 0,
            failed_binaries: 0,
            failed_targets: 0,
        }
    }

    /// A line of standard output. Gives back whether a person should see it.
    pub(crate) fn out(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.result(result);
            return true;
        }
        match line {
            "successes:" => self.enter(Section::Successes),
            "failures:" => self.enter(Section::Failures),
            _ => {}
        }
        match self.section {
            Section::Running => self.running(line),
            Section::Successes => {
                // A case that passed is counted, not shown; there are hundreds.
                if let Some(case) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
                    self.case = Some(case.to_owned());
                } else {
                    self.said(line);
                }
                false
            }
            Section::Failures => true,
        }
    }

    /// A line of standard error: cargo's own words, or those of a case that went round the capture.
    pub(crate) fn err(&mut self, line: &str) {
        if let Some((count, rest)) = line.strip_prefix("error: ").and_then(|rest| rest.split_once(' '))
            && (rest.starts_with("target failed") || rest.starts_with("targets failed"))
        {
            self.failed_targets = count.parse().unwrap_or(0);
        }
        if let Some(why) = line.strip_prefix("skipped: ") {
            self.skipped_themselves += 1;
            self.tally.skip("a case", why);
        }
    }

    /// What came of it all. A binary that died without a word counts as one failure.
    pub(crate) fn end(mut self, success: bool) -> Tally {
        for _ in self.failed_binaries..self.failed_targets {
            self.tally.fail("a test binary that ended without a result");
        }
        if !success && self.tally.failed == 0 {
            self.tally.fail("cargo test");
        }
        self.tally.passed = self.tally.passed.saturating_sub(self.skipped_themselves);
        self.tally
    }

    fn enter(&mut self, section: Section) {
        self.section = section;
        self.case = None;
    }

    fn running(&mut self, line: &str) -> bool {
        match line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            Some((_, "ok")) => false,
            Some((case, "FAILED")) => {
                self.tally.failures.push(case.to_owned());
                true
            }
            Some((case, end)) if end.starts_with("ignored") => {
                self.tally.skip(case, end.strip_prefix("ignored, ").unwrap_or("ignored"));
                false
            }
            _ => !line.is_empty() && !line.starts_with("running "),
        }
    }

    /// `skipped: why`, from the case whose output this is. Only its first such line counts.
    fn said(&mut self, line: &str) {
        if let Some(why) = line.strip_prefix("skipped: ")
            && let Some(case) = self.case.take()
        {
            self.skipped_themselves += 1;
            self.tally.skip(&case, why);
        }
    }

    fn result(&mut self, line: &str) {
        let count = |what: &str| -> usize {
            let part = line.split(['.', ';']).find_map(|part| part.trim().strip_suffix(what));
            part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
        };
        self.tally.passed += count("passed");
        self.tally.failed += count("failed");
        if line.starts_with("FAILED") {
            self.failed_binaries += 1;
        }
        self.enter(Section::Running);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(out: &str, err: &str, success: bool) -> (Tally, String) {
        let mut reader = Reader::new();
        let shown: Vec<&str> = out.lines().filter(|line| reader.out(line)).collect();
        err.lines().for_each(|line| reader.err(line));
        (reader.end(success), shown.join("\n"))
    }

    const MIXED: &str = "\
running 4 tests
test a::fine ... ok
test a::rootly ... ok
test a::later ... ignored, needs a guest
test a::broken ... FAILED

successes:

---- a::rootly stdout ----
noise
skipped: not root
skipped: once more


successes:
    a::fine
    a::rootly

failures:

---- a::broken stdout ----
skipped: words of a case that failed all the same
boom

failures:
    a::broken

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    #[test]
    fn what_skips_itself_is_not_counted_as_passed() {
        let (tally, shown) = read(MIXED, "error: 1 target failed:\n    `-p x --lib`", false);
        assert_eq!(tally.line(), "1 passed, 1 failed, 2 skipped");
        assert_eq!(tally.failures, ["a::broken"]);
        let why: Vec<_> = tally.skipped.iter().map(|skip| (skip.case.as_str(), skip.why.as_str())).collect();
        assert_eq!(why, [("a::later", "needs a guest"), ("a::rootly", "not root")]);
        assert!(shown.contains("boom") && shown.contains("test result") && !shown.contains("noise"), "{shown}");
    }

    #[test]
    fn many_binaries_are_summed() {
        let one = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert_eq!(read(&one.repeat(3), "", true).0.line(), "3 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn a_binary_that_dies_without_a_word_is_a_failure() {
        let (tally, _) =
            read("running 2 tests\ntest a ... ok\n", "error: 1 target failed:\n    `-p x --test it`", false);
        assert_eq!(tally.line(), "0 passed, 1 failed, 0 skipped");
        assert_eq!(read("", "error: could not compile `x`", false).0.line(), "0 passed, 1 failed, 0 skipped");
        let (tally, _) = read(MIXED, "error: 3 targets failed:", false);
        assert_eq!(tally.failed, 3, "one said so itself, two were silent");
    }

    #[test]
    fn a_skip_that_went_round_the_capture_is_counted() {
        let out = "test a ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert_eq!(read(out, "skipped: no loop devices", true).0.line(), "0 passed, 0 failed, 1 skipped");
    }
}
