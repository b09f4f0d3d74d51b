//! Figures worth keeping: two ways to do one thing, measured in turn in one run, and written to docs/benchmarks.md.

mod bed;
mod csi;
mod figures;
mod fleet;
mod guest;
mod lvm;
mod measure;
mod nfs;
mod pods;

use crate::sh;
use anyhow::{Context, Result, ensure};
use measure::{Figure, LeftOut};
use std::fmt::Write as _;
use std::process::Command;

/// Where the figures go.
const PAGE: &str = "docs/benchmarks.md";

/// The door. A part alone is measured and shown, but not written down: a page is of one run.
pub(crate) fn main(part: Option<&str>) -> Result<()> {
    if let Some(part) = part {
        let names: Vec<&str> = figures::ALL.iter().map(|(name, _)| *name).collect();
        ensure!(names.contains(&part), "there is no part {part}; there are {}", names.join(", "));
    }
    crate::machine::provide(crate::machine::Need::All)?;
    let mut cargo = sh::cargo();
    sh::run(cargo.args(["build", "--release", "--workspace", "--exclude", "xtask", "--bins"]))?;
    let release = sh::bin_dir()?.with_file_name("release");
    let machine = machine()?;
    let (mut figures, mut left_out) = (Vec::new(), Vec::new());
    for (name, measure) in figures::ALL.iter().filter(|(name, _)| part.is_none_or(|part| part == *name)) {
        match measure(&release) {
            Ok(all) => {
                all.iter().for_each(|figure| println!("{}", line(figure)));
                figures.extend(all);
            }
            Err(error) => {
                let words = format!("Not measured: {name}, for {}", error.downcast::<LeftOut>()?.0);
                println!("{words}");
                left_out.push(words);
            }
        }
    }
    if part.is_some() {
        return Ok(());
    }
    let path = sh::project().join(PAGE);
    std::fs::write(&path, page(&figures, &left_out, &machine))
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("written to {PAGE}");
    Ok(())
}

fn line(figure: &Figure) -> String {
    let other = figure.other.as_ref().map(|other| format!(" against {}", other.words(figure.unit))).unwrap_or_default();
    format!("{}: {}{other}{}", figure.name, figure.ours.words(figure.unit), verdict(figure))
}

fn verdict(figure: &Figure) -> String {
    let ratio = figure.ratio().map(|ratio| format!(": {ratio:.2} ×")).unwrap_or_default();
    let missed = if figure.misses() { "; MISSES its mark" } else { "" };
    match figure.limit() {
        limit if limit.is_empty() => ratio,
        limit => format!("{ratio} (at most {limit}{missed})"),
    }
}

/// The page: what was measured where, a table, what could not be measured, and how each figure came to be.
fn page(figures: &[Figure], left_out: &[String], machine: &str) -> String {
    let mut out = format!(
        "# Benchmarks\n\nWritten by `cargo xtask bench`; do not edit. Both sides of a row were measured in turn, in one run; a figure is a median where nothing else is said.\n\n{machine}\n\n\
         | figure | ours | other | ratio | at most |\n|---|---|---|---|---|\n"
    );
    for figure in figures {
        let other = figure.other.as_ref().map_or_else(String::new, |other| figure.cell(other));
        let ratio = figure.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2} ×"));
        let missed = if figure.misses() { " **missed**" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "| {} | {} | {other} | {ratio} | {}{missed} |",
            figure.name,
            figure.cell(&figure.ours),
            figure.limit()
        );
    }
    for words in left_out {
        let _ = writeln!(out, "\n{words}.");
    }
    for figure in figures {
        let _ = write!(out, "\n## {}\n\n{}\n\n- ours: {}\n", figure.name, figure.how, figure.ours.words(figure.unit));
        if let Some(other) = &figure.other {
            let _ = writeln!(out, "- other: {}", other.words(figure.unit));
        }
    }
    out
}

/// When and where: the date, the kernel, the processor and the versions.
fn machine() -> Result<String> {
    let one =
        |program: &str, args: &[&str]| sh::output(Command::new(program).args(args)).map(|text| text.trim().to_owned());
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = loads.split(' ').next().unwrap_or("unknown");
    Ok(format!(
        "{}, kernel {}, {count} × {cpu}, load average {load} before the first figure, {}, flexvol {}",
        one("date", &["-u", "+%Y-%m-%d"])?,
        one("uname", &["-r"])?,
        one(&rustc, &["--version"])?,
        env!("CARGO_PKG_VERSION"),
    ))
}

#[cfg(test)]
mod tests {
    use super::measure::{Mark, Samples, Unit};
    use super::*;

    #[test]
    fn a_missed_mark_is_written_down() {
        let samples = |value| Samples::new(vec![value]).unwrap();
        let figure = |limit| Figure {
            name: "f".into(),
            how: "h".into(),
            unit: Unit::Time,
            ours: samples(0.0002),
            other: Some(samples(0.0001)),
            mark: Mark::Ratio(limit),
        };
        let page_of = |limit| page(&[figure(limit)], &["Not measured: x".into()], "here");
        assert!(page_of(1.5).contains("| f | 200 µs | 100 µs | 2.00 × | 1.5 × **missed** |"), "{}", page_of(1.5));
        assert!(!page_of(2.0).contains("missed") && page_of(2.0).contains("\nNot measured: x.\n"));
        assert!(line(&figure(1.5)).contains("MISSES"));
    }
}
