//! All that has something to say says it here: results to standard output, everything else to standard error, as text
//! for people or as lines of JSON for programs.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Level;

use crate::{cli::LogFormat, line::Line, screen};

/// The target of lines that the command says itself; the engine's are `flexvol::call` and `flexvol::volume`.
pub(crate) const COMMAND: &str = "flexvol";

/// Whether standard error is read by a program.
static JSON: AtomicBool = AtomicBool::new(false);

/// Prints a line of results.
macro_rules! say {
    ($($text:tt)*) => {{ $crate::screen::out(&format!($($text)*)); }};
}

/// Tells something by the way.
macro_rules! tell {
    ($($text:tt)*) => { $crate::speak::by_the_way(&format!($($text)*)) };
}

pub(crate) use {say, tell};

/// Says for whom standard error is, from now on.
pub(crate) fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Whether standard error is read by a program.
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Tells `text` to people or `line` to programs.
pub(crate) fn either(text: &str, line: impl FnOnce() -> Line) {
    if is_json() { screen::err(&line().to_string()) } else { screen::err(text) }
}

/// Tells something by the way.
pub(crate) fn by_the_way(text: &str) {
    either(text, || Line::new(Level::INFO, COMMAND, text));
}

/// A whole line that warns, for who writes by himself.
pub(crate) fn line_of_warning(text: &str) -> String {
    match is_json() {
        true => format!("{}\n", Line::new(Level::WARN, COMMAND, text)),
        false => format!("\x1b[1;33mwarning:\x1b[0m {text}\n"),
    }
}

/// Warns of something that concerns `volume`, or all if that is empty.
pub(crate) fn warn(volume: &str, text: &str) {
    let about = if volume.is_empty() { String::new() } else { format!("{volume}: ") };
    either(&format!("\x1b[1;33mwarning:\x1b[0m {about}{text}"), || {
        Line::new(Level::WARN, COMMAND, text).with_some("volume", (!volume.is_empty()).then_some(volume))
    });
}
