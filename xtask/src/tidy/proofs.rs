//! Pages name the tests that show what they promise, as `tests/a.rs::it_is_so`: each of these is there, and each row of a table whose
//! last column is `shown by` names one.

use super::code::code_only;
use super::finding::{File, Finding};
use std::collections::BTreeSet;

/// The head of the column that names tests.
const COLUMN: &str = "shown by";

/// Every test of the workspace: its file and its name.
pub(super) fn all_tests(files: &[File]) -> BTreeSet<(&str, String)> {
    let mut tests = BTreeSet::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let code = code_only(&file.text);
        for (at, _) in code.match_indices("fn ") {
            let before = code[..at].trim_end();
            let before = before.strip_suffix("async").unwrap_or(before).trim_end();
            let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if before.ends_with("#[test]") || before.ends_with("#[tokio::test]") {
                tests.insert((file.path.as_str(), name));
            }
        }
    }
    tests
}

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let tests = all_tests(files);
    let pages = files.iter().filter(|file| file.path.ends_with(".md"));
    pages.flat_map(|page| of(page, &tests)).collect()
}

fn of(page: &File, tests: &BTreeSet<(&str, String)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut is_list = false;
    for (number, line) in page.text.lines().enumerate() {
        let finding = |what: String| Finding::new(&page.path, Some(number + 1), what);
        for (path, name) in named(line) {
            if !tests.contains(&(path, name.to_owned())) {
                findings.push(finding(format!("there is no test `{name}` in {path}")));
            }
        }
        if !line.starts_with('|') {
            is_list = false;
            continue;
        }
        let last = line.trim().trim_matches('|').rsplit('|').next().unwrap_or_default().trim();
        let is_rule = last.starts_with('-') || last.starts_with(":-");
        if is_list && !is_rule && named(last).next().is_none() {
            findings.push(finding(format!("the column `{COLUMN}` names no test, as `tests/a.rs::it_is_so`")));
        }
        is_list |= last == COLUMN;
    }
    findings
}

/// What stands between backticks and looks like a test: its file and its name.
fn named(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('`').skip(1).step_by(2).filter_map(|span| {
        let (path, name) = span.split_once("::")?;
        path.ends_with(".rs").then_some((path, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str =
        "#[test]\nfn it_is_so() {}\n#[tokio::test]\nasync fn later() {}\nfn helper() {}\n// #[test]\n// fn no() {}\n";

    fn found(page: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let files = [file("docs/a.md", page), file("tests/a.rs", TESTS)];
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_test_that_is_named_is_there() {
        assert_eq!(found("as `tests/a.rs::it_is_so` and `tests/a.rs::later` show, and `a::b`"), Vec::<String>::new());
        for name in ["helper", "no", "it_is", "it_is_so_too", ""] {
            let findings = found(&format!("first\n`tests/a.rs::{name}`"));
            assert_eq!(findings, [format!("docs/a.md:2: there is no test `{name}` in tests/a.rs")]);
        }
        assert_eq!(found("`tests/b.rs::it_is_so`").len(), 1, "in another file");
    }

    #[test]
    fn a_row_of_a_list_of_proofs_names_one() {
        let page = |cell: &str| {
            format!("| promise | shown by |\n|---|---|\n| it is so | {cell} |\n\n| a | b |\n|---|---|\n| c | d |\n")
        };
        assert_eq!(found(&page("`tests/a.rs::it_is_so`")), Vec::<String>::new());
        for cell in ["", "–", "`tests/a.rs`", "everybody"] {
            let findings = found(&page(cell));
            assert!(findings.len() == 1 && findings[0].starts_with("docs/a.md:3: the column"), "{findings:?}");
        }
    }
}
