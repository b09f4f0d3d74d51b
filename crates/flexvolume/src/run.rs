//! A driver's whole `main`: settle the process, take the call, print the one line, say by the exit code how it went.

use std::{io::Write, process::ExitCode};

use flexvolume_linux::process::settle;

use crate::{Dispatcher, Driver, panics};

/// Serves the one call that this process was started for. Exits with 0 after Success, Not supported and In progress,
/// with 1 after Failure.
///
/// ```no_run
/// # struct MyDriver;
/// # impl flexvolume::Driver for MyDriver {}
/// fn main() -> std::process::ExitCode {
///     flexvolume::run(MyDriver)
/// }
/// ```
pub fn run<D: Driver>(driver: D) -> ExitCode {
    settle();
    panics::keep();
    let answered = Dispatcher::of_process().dispatch(&driver);
    let mut line = answered.text;
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    let told = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    if answered.success && told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
