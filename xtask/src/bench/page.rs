//! The page of figures: one section for each part of the bench, so that a part that is measured anew leaves the others as they are.

use super::measure::Figure;
use std::fmt::Write as _;

/// What the heading of a part's section begins with.
const PART: &str = "## part: ";

const HEAD: &str = "# Benchmarks\n\nWritten by `cargo xtask bench`; do not edit. Each part says when and where it was measured. \
                    Both sides of a row were measured in turn, in one run; a figure is a median where nothing else is said.\n";

/// The page with `section` in the place of that part's old one. Of the old page the sections of `parts` are kept, in this order.
pub(super) fn with(old: &str, parts: &[&str], part: &str, section: &str) -> String {
    let mut out = HEAD.to_owned();
    for name in parts {
        let text = if *name == part { Some(section) } else { find(old, name) };
        if let Some(text) = text {
            // Writing to a string cannot fail.
            let _ = write!(out, "\n{PART}{name}\n\n{}\n", text.trim());
        }
    }
    out
}

/// What stands below the heading of a part.
fn find<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let heading = format!("\n{PART}{name}\n");
    let begin = page.find(&heading)? + heading.len();
    let rest = &page[begin..];
    Some(rest.find(&format!("\n{PART}")).map_or(rest, |end| &rest[..end]))
}

/// What a section says of its part: where it was measured, a table, and how each figure came to be.
pub(super) fn section(figures: &[Figure], machine: &str) -> String {
    let mut out = format!("{machine}\n\n| figure | ours | other | ratio | at most |\n|---|---|---|---|---|\n");
    for figure in figures {
        let other = figure.other.as_ref().map_or_else(String::new, |other| figure.cell(other));
        let ratio = figure.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2} ×"));
        let missed = if figure.misses() { " **missed**" } else { "" };
        let _ = writeln!(
            out,
            "| {} | {} | {other} | {ratio} | {}{missed} |",
            figure.name,
            figure.cell(&figure.ours),
            figure.limit()
        );
    }
    for figure in figures {
        let _ = write!(out, "\n### {}\n\n{}\n\n- ours: {}\n", figure.name, figure.how, figure.ours.words(figure.unit));
        if let Some(other) = &figure.other {
            let _ = writeln!(out, "- other: {}", other.words(figure.unit));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::measure::{Mark, Samples, Unit};
    use super::*;

    fn figure(limit: f64) -> Figure {
        let samples = |value| Samples::new(vec![value]).unwrap();
        Figure {
            name: "f".into(),
            how: "h".into(),
            unit: Unit::Time,
            ours: samples(0.0002),
            other: Some(samples(0.0001)),
            mark: Mark::Ratio(limit),
        }
    }

    #[test]
    fn a_missed_mark_is_written_down() {
        let section_of = |limit| section(&[figure(limit)], "here");
        assert!(section_of(1.5).contains("| f | 200 µs | 100 µs | 2.00 × | 1.5 × **missed** |"), "{}", section_of(1.5));
        assert!(!section_of(2.0).contains("missed") && section_of(2.0).starts_with("here\n\n| figure "));
    }

    #[test]
    fn a_part_measured_anew_leaves_the_others_as_they_are() {
        let parts = ["kit", "kits", "nfs"];
        let one = with("", &parts, "kits", &section(&[figure(1.0)], "then"));
        let two = with(&one, &parts, "nfs", &section(&[figure(1.0)], "later"));
        let three = with(&two, &parts, "kit", &section(&[figure(1.0)], "last"));
        let headings: Vec<&str> = three.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, ["## part: kit", "## part: kits", "## part: nfs"], "in the order of the parts");
        assert!(three.contains("## part: kits\n\nthen\n") && three.contains("## part: nfs\n\nlater\n"), "{three}");
        let again = with(&three, &parts, "kits", "gone");
        assert_eq!(find(&again, "kits").map(str::trim), Some("gone"));
        for part in ["kit", "nfs"] {
            assert_eq!(find(&again, part), find(&three, part), "{part}");
        }
        assert_eq!(with(&three, &parts, "nfs", find(&three, "nfs").unwrap()), three, "nothing is lost or doubled");
        assert!(!with(&three, &["kit", "nfs"], "nfs", "x").contains("kits"), "a part that is no more");
    }

    #[test]
    fn the_page_of_this_project_is_one_of_parts() {
        let page = std::fs::read_to_string(crate::sh::project().join(super::super::PAGE)).unwrap();
        let names: Vec<&str> = super::super::figures::ALL.iter().map(|(name, _)| *name).collect();
        let nfs = find(&page, "nfs").unwrap();
        assert_eq!(with(&page, &names, "nfs", nfs), page, "it is as the bench would write it");
    }
}
