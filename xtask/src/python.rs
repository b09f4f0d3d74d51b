//! Python for the tests: the interpreter itself on the path, and what the client needs, in an environment of its own below `target`.

use crate::{machine, sh};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is installed, each package in its version.
const WANTED: &str = "tests/grpcio/requirements.txt";
/// Beside the tests: the path of the Python that has it all, or else why there is none.
const FOUND: &str = "grpcio.python";
const REASON: &str = "grpcio.reason";
/// After this the network is taken for dead; it is a matter of seconds.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// Has grpcio installed. Where it cannot be had the reason is left, and each test that needs it is skipped for it.
pub(crate) fn grpcio() -> Result<()> {
    let dir = sh::bin_dir()?;
    sh::remove([FOUND, REASON].map(|name| dir.join(name)))?;
    let venv = sh::target_dir()?.join("grpcio");
    let (name, text) = match installed(&venv) {
        Ok(python) => {
            println!("{} has it", python.display());
            (FOUND, python.display().to_string())
        }
        Err(why) => {
            println!("not to be had: {why}");
            (REASON, why)
        }
    };
    let file = dir.join(name);
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// The Python of that environment, which is made anew if it is not as it should be.
fn installed(venv: &Path) -> Result<PathBuf, String> {
    let list = sh::project().join(WANTED);
    let wanted = std::fs::read_to_string(&list).map_err(|error| format!("cannot read {}: {error}", list.display()))?;
    let (python, stamp) = (venv.join("bin/python"), venv.join("installed.txt"));
    let works = || sh::works(Command::new(&python).args(["-c", "import grpc, grpc_tools.protoc"]));
    if std::fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) && works() {
        return Ok(python);
    }
    let maker = machine::python()?;
    let told = |error: anyhow::Error| format!("{error:#}");
    sh::output(Command::new(maker).args(["-m", "venv", "--clear"]).arg(venv)).map_err(told)?;
    let mut pip = Command::new(&python);
    // Wheels alone: nothing is compiled here, which would take half an hour.
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
    ]);
    pip.arg("--requirement").arg(&list);
    let mut said = Vec::new();
    match sh::watch(&mut pip, LIMIT, &mut |_, line| said.push(line.to_owned())).map_err(told)? {
        sh::End::Status(status) if status.success() => {}
        sh::End::Status(_) => return Err(format!("pip cannot install it: {}", why(&said))),
        sh::End::TimedOut => return Err(format!("pip was not done after {} s", LIMIT.as_secs())),
    }
    if !works() {
        return Err("what pip has installed does not work here".into());
    }
    std::fs::write(&stamp, wanted).map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    Ok(python)
}

/// The path on which `python3` is the interpreter itself: a shim in its place looks for it at every start of a driver, which takes
/// longer than the driver.
pub(crate) fn path() -> Option<OsString> {
    let ask = ["-I", "-c", "import sys; print(sys.executable)"];
    let said = sh::output(Command::new(machine::find("python3")?).args(ask)).ok()?;
    let dir = Path::new(said.trim()).parent().filter(|dir| dir.is_absolute())?.to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(dir).chain(std::env::split_paths(&path))).ok()
}

/// The first of pip's lines that says what is wrong; those above it tell of its tries.
fn why(said: &[String]) -> &str {
    let errors = said.iter().find_map(|line| line.strip_prefix("ERROR: "));
    errors.or(said.last().map(String::as_str)).unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_line_that_says_it() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let said = "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution";
        assert_eq!(why(&lines(said)), "Could not find a version");
        assert_eq!(why(&lines("WARNING: Retrying\nTraceback")), "Traceback");
        assert_eq!(why(&[]), "it does not say why");
    }
}
