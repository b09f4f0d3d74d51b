//! The book's list of cases is true: each case has a test of its number where the list says, or a line among the deviations.
//!
//! A test of case `H-23` is a function `h_23_…` under `#[test]`, anywhere in the workspace.

use super::finding::{File, Finding, is_word, line_of};
use super::proofs::all_tests;
use std::collections::{BTreeMap, BTreeSet};

const LIST: &str = "docs/cases.md";
const DEVIATIONS: &str = "docs/deviations.md";

/// The number of a case as the list writes it, `H-07`, and the files in which tests of it lie.
type Held = BTreeMap<String, BTreeSet<String>>;

/// A row of the list.
struct Row<'a> {
    case: &'a str,
    line: usize,
    files: BTreeSet<String>,
}

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let list = text(LIST).unwrap_or_default();
    let deviations = text(DEVIATIONS).unwrap_or_default();
    let rows = rows(list);
    let held = held(files);
    let mut findings = disorder(&rows);
    for row in &rows {
        findings
            .extend(judge(row, held.get(row.case), deviations).map(|what| Finding::new(LIST, Some(row.line), what)));
    }
    let known = |case: &str| rows.iter().any(|row| row.case == case);
    for (case, places) in held.iter().filter(|(case, _)| !known(case)) {
        let place = places.first().map_or(LIST, String::as_str);
        findings.push(Finding::new(place, None, format!("there is a test of {case}, which {LIST} does not know")));
    }
    for (at, case) in numbers(deviations).into_iter().filter(|(_, case)| !known(case)) {
        let what = format!("{case} is no case that {LIST} knows");
        findings.push(Finding::new(DEVIATIONS, Some(line_of(deviations, at)), what));
    }
    findings
}

/// What is wrong with a row, if anything.
fn judge(row: &Row<'_>, held: Option<&BTreeSet<String>>, deviations: &str) -> Option<String> {
    let case = row.case;
    match held {
        Some(held) if *held != row.files => {
            let held: Vec<_> = held.iter().map(|file| format!("`{file}`")).collect();
            Some(format!("the tests of {case} lie in {}; say so in its last column", held.join(", ")))
        }
        Some(_) => None,
        None if !row.files.is_empty() => Some(format!("no test of {case} lies where its last column says")),
        None => {
            let told = case.starts_with('H') && numbers(deviations).iter().any(|(_, number)| *number == case);
            let lower = case.to_lowercase().replace('-', "_");
            (!told).then(|| format!("{case} has no test `{lower}_…` and no line in {DEVIATIONS}"))
        }
    }
}

/// A number that comes twice, or out of its order.
fn disorder(rows: &[Row<'_>]) -> Vec<Finding> {
    let wrong = rows.windows(2).filter(|pair| pair[0].case >= pair[1].case);
    wrong
        .map(|pair| {
            Finding::new(LIST, Some(pair[1].line), format!("{} does not follow {}", pair[1].case, pair[0].case))
        })
        .collect()
}

/// The rows of the list: the number in the first column, the files of tests between backticks in the last one.
fn rows(list: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (number, line) in list.lines().enumerate() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        if !line.starts_with('|') || !is_number(cells[0]) {
            continue;
        }
        let last = cells.last().copied().unwrap_or_default();
        let files = last.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        rows.push(Row { case: cells[0], line: number + 1, files });
    }
    rows
}

/// `H-07`, `W-31`: a letter, a hyphen, two digits.
fn is_number(text: &str) -> bool {
    matches!(text.as_bytes(), [b'H' | b'W', b'-', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit())
}

/// Every number of a case in a text, with its place.
fn numbers(text: &str) -> Vec<(usize, &str)> {
    let starts = ["H-", "W-"].into_iter().flat_map(|start| text.match_indices(start));
    starts
        .filter_map(|(at, _)| Some((at, text.get(at..at + 4)?)))
        .filter(|(at, number)| is_number(number) && is_word(text, *at, number))
        .collect()
}

/// Every test that has a number in front of its name.
fn held(files: &[File]) -> Held {
    let mut held = Held::new();
    for (path, name) in all_tests(files) {
        let [letter @ (b'h' | b'w'), b'_', tens, ones, b'_', ..] = name.as_bytes() else { continue };
        if tens.is_ascii_digit() && ones.is_ascii_digit() {
            let case = format!("{}-{}", char::from(letter.to_ascii_uppercase()), &name[2..4]);
            held.entry(case).or_default().insert(path.to_owned());
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(list: &str, deviations: &str, tests: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let files = [file(LIST, list), file(DEVIATIONS, deviations), file("tests/a.rs", tests)];
        check(&files).iter().map(ToString::to_string).collect()
    }

    const TEST: &str = "#[test]\nfn h_20_it_is_so() {}\n";
    const ROW: &str = "| H-20 | the host does it | the same | `tests/a.rs` |\n";

    #[test]
    fn a_case_with_its_test_where_the_list_says_is_right() {
        assert_eq!(found(ROW, "", TEST), Vec::<String>::new());
        assert_eq!(found(&ROW.replace("H-20", "W-20"), "", &TEST.replace("h_", "w_")), Vec::<String>::new());
    }

    #[test]
    fn a_case_without_a_test_needs_a_line_among_the_deviations() {
        let row = "| H-20 | the host does it | not here | – |\n";
        assert_eq!(found(row, "**Not here** (H-20, #7).", ""), Vec::<String>::new());
        for deviations in ["", "H-201", "XH-20", "H-2"] {
            let findings = found(row, deviations, "");
            assert!(findings.len() == 1 && findings[0].contains("H-20 has no test `h_20_…`"), "{findings:?}");
        }
        // What drivers do is tested, whatever is said of it.
        assert_eq!(found(&row.replace('H', "W"), "W-20", "").len(), 1);
    }

    #[test]
    fn a_test_elsewhere_or_gone_is_found() {
        let findings = found(&ROW.replace("tests/a.rs", "tests/b.rs"), "", TEST);
        assert!(findings.len() == 1 && findings[0].contains("lie in `tests/a.rs`"), "{findings:?}");
        assert_eq!(found(ROW, "H-20", "").len(), 1, "the list names a file without such a test");
        for no_test in
            ["fn h_20_it() {}", "// #[test]\n// fn h_20_it() {}", "#[test]\nfn h_2_it() {}", "#[test]\nfn h_20() {}"]
        {
            assert_eq!(found(ROW, "", no_test).len(), 1, "{no_test}");
        }
    }

    #[test]
    fn what_the_list_does_not_know_is_found() {
        let findings = found("", "", TEST);
        assert!(findings.len() == 1 && findings[0].starts_with("tests/a.rs: there is a test of H-20"), "{findings:?}");
        let findings = found(ROW, "a line\nof H-21\n", TEST);
        assert!(findings.len() == 1 && findings[0].starts_with("docs/deviations.md:2: H-21"), "{findings:?}");
    }

    #[test]
    fn numbers_stand_once_and_in_order() {
        let other = ROW.replace("H-20", "H-21");
        let tests = format!("{TEST}{}", TEST.replace("20", "21"));
        assert_eq!(found(&format!("{ROW}{other}"), "", &tests), Vec::<String>::new());
        assert_eq!(found(&format!("{other}{ROW}"), "", &tests).len(), 1);
        assert_eq!(found(&format!("{ROW}{ROW}"), "", TEST).len(), 1);
    }
}
