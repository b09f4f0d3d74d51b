//! Programs of the system, run by a case itself; what fails ends the case.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

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

/// Every file beneath a directory.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() { all.extend(files(&entry.path())) } else { all.push(entry.path()) }
    }
    all.sort();
    all
}

/// Waits for something that comes by itself; far beyond what it takes.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what} does not come");
        thread::sleep(Duration::from_millis(100));
    }
}

/// What comes of a call that is made again as long as it gives nothing, for it is in progress. That has an end.
#[track_caller]
pub fn ended<T>(what: &str, mut call: impl FnMut() -> Option<T>) -> T {
    (0..1000).find_map(|_| call()).unwrap_or_else(|| panic!("{what} does not come to an end"))
}
