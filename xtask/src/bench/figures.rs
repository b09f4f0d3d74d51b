//! The figures themselves: what is measured against what, and how many times the other's median ours may be.

use super::measure::{Figure, LeftOut, Mark, Row, Unit, from_helper, side_by_side, timed};
use super::{csi, fleet, lvm, nfs, pods};
use crate::sh;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What measures one or more figures; it is given the folder of the release build. An error is a [`LeftOut`] where that cannot be measured here.
type Measure = fn(&Path) -> Result<Vec<Figure>>;

/// Every figure, in the order of the page, by the part of the bench that it belongs to.
pub(super) const ALL: &[(&str, Measure)] = &[
    ("invoke", invoke),
    ("kit", kit_driver),
    ("pods", pods::all),
    ("fleet", fleet::all),
    ("csi", csi::all),
    ("lvm", lvm::all),
    ("nfs", nfs::all),
];

/// The executable that measures what only Rust code inside one process can: a binary of the package of tests.
const HELPER: &str = "bench-helper";

/// A call of a driver as the host makes it, against a bare spawn of the same executable.
fn invoke(release: &Path) -> Result<Vec<Figure>> {
    let helper = release.join(HELPER);
    if !helper.exists() {
        return Err(LeftOut(format!("there is no {}", helper.display())).into());
    }
    let row = Row {
        name: "invoke alone",
        how: "One `init` of the tmpfs driver: run, answer read, process reaped. Ours is the host's way (own process group, call id, two \
              limits, bounded streams); the other is the standard library's spawn and wait.",
        unit: Unit::Time,
        mark: Mark::Ratio(1.15),
    };
    from_helper(Command::new(helper).arg(release.join("tmpfs")), &[row])
}

/// What the kit costs a driver: start, read the call, answer, end.
fn kit_driver(release: &Path) -> Result<Vec<Figure>> {
    let kit = release.join("tmpfs");
    let answer = sh::output(Command::new(&kit).arg("init"))?;
    let plain = plain_program(answer.trim())?;
    ensure!(
        sh::output(Command::new(&plain).arg("init"))?.trim() == answer.trim(),
        "the plain program answers otherwise"
    );
    let call = |program: &Path| timed(|| bare_call(program));
    let (ours, other) = side_by_side(500, &mut || call(&kit), &mut || call(&plain))?;
    Ok(vec![Figure {
        name: "a driver written with the kit".into(),
        how: "One `init`: spawned, answer read, reaped. Ours is the tmpfs driver; the other is a static program that only prints the same JSON."
            .into(),
        unit: Unit::Time,
        ours,
        other: Some(other),
        mark: Mark::Ratio(1.2),
    }])
}

fn bare_call(program: &Path) -> Result<()> {
    let output = Command::new(program).arg("init").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(output.status.success() && !output.stdout.is_empty(), "{} gave no answer", program.display());
    Ok(())
}

/// Compiles a program that prints this one line, static as our own are.
fn plain_program(answer: &str) -> Result<PathBuf> {
    let dir = sh::target_dir()?.join("bench");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let (source, program) = (dir.join("plain.rs"), dir.join("plain"));
    let code = format!("//! Prints one line.\nfn main() {{\n    println!(\"{{}}\", {answer:?});\n}}\n");
    std::fs::write(&source, code).with_context(|| format!("cannot write {}", source.display()))?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut rustc = Command::new(rustc);
    rustc.args([
        "--edition=2024",
        "-O",
        "-Ctarget-feature=+crt-static",
        "-Crelocation-model=static",
        "-Cstrip=symbols",
        "-o",
    ]);
    sh::run(rustc.arg(&program).arg(&source))?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_of_the_kit_prints_exactly_the_answer() {
        let answer = r#"{"status":"Success","capabilities":{"attach":false}}"#;
        let plain = plain_program(answer).unwrap();
        assert_eq!(sh::output(&mut Command::new(&plain)).unwrap(), format!("{answer}\n"));
        assert!(bare_call(&plain).is_ok() && bare_call(Path::new("/bin/true")).is_err());
    }
}
