//! Programs of the system, run by a case itself; what fails ends the case.

use std::{fs, path::Path, process::Command};

/// Runs a program of the system and insists on success; gives what it printed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let ran = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ran.status.success(), "{command:?}: {ran:?}");
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

/// As [`run`], from a name and its words.
#[track_caller]
pub fn tool(program: &str, args: &[&str]) -> String {
    run(Command::new(program).args(args))
}

/// Runs a command line in a shell, the words after it as `$1`, `$2` …; insists on success.
#[track_caller]
pub fn shell(script: &str, words: &[&str]) -> String {
    run(Command::new("sh").args(["-euc", script, "sh"]).args(words))
}

/// A path as text.
#[track_caller]
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The kernel's name of a device: `dm-0` for `/dev/mapper/x`.
#[track_caller]
pub fn kernel_name(device: &Path) -> String {
    let real = fs::canonicalize(device).unwrap_or_else(|error| panic!("{}: {error}", device.display()));
    real.file_name().unwrap().to_string_lossy().into_owned()
}
