//! Figures worth keeping: two ways to do one thing, measured in turn in one run, and written to docs/benchmarks.md.

mod bed;
mod csi;
mod figures;
mod fleet;
mod guest;
mod lvm;
mod measure;
mod nfs;
mod page;
mod pods;

use crate::sh;
use anyhow::{Context, Result, ensure};
use measure::{Figure, LeftOut};
use std::io::ErrorKind;
use std::process::Command;

/// Where the figures go.
const PAGE: &str = "docs/benchmarks.md";

/// The door: a part, or all. Each part is written down as soon as it is measured, in the place of what the page said of it.
pub(crate) fn main(part: Option<&str>) -> Result<()> {
    let names: Vec<&str> = figures::ALL.iter().map(|(name, _)| *name).collect();
    if let Some(part) = part {
        ensure!(names.contains(&part), "there is no part {part}; there are {}", names.join(", "));
    }
    crate::machine::provide(crate::machine::Need::All)?;
    let mut cargo = sh::cargo();
    sh::run(cargo.args(["build", "--release", "--workspace", "--exclude", "xtask", "--bins"]))?;
    let release = sh::bin_dir()?.with_file_name("release");
    for (name, measure) in figures::ALL.iter().filter(|(name, _)| part.is_none_or(|part| part == *name)) {
        let machine = machine()?;
        let section = match measure(&release) {
            Ok(figures) => {
                figures.iter().for_each(|figure| println!("{}", line(figure)));
                page::section(&figures, &machine)
            }
            Err(error) => {
                let words = format!("Not measured: {name}, for {}", error.downcast::<LeftOut>()?.0);
                println!("{words}");
                if part.is_some() {
                    println!("{PAGE} keeps what it says of it");
                    return Ok(());
                }
                format!("{machine}\n\n{words}.")
            }
        };
        write_down(&names, name, &section)?;
    }
    Ok(())
}

fn write_down(names: &[&str], part: &str, section: &str) -> Result<()> {
    let path = sh::project().join(PAGE);
    let old = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    std::fs::write(&path, page::with(&old, names, part, section))
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{part} is written to {PAGE}");
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
    fn a_missed_mark_is_said() {
        let samples = |value| Samples::new(vec![value]).unwrap();
        let figure = |limit| Figure {
            name: "f".into(),
            how: "h".into(),
            unit: Unit::Time,
            ours: samples(0.0002),
            other: Some(samples(0.0001)),
            mark: Mark::Ratio(limit),
        };
        assert!(line(&figure(1.5)).contains("MISSES") && !line(&figure(2.0)).contains("MISSES"));
    }
}
