//! How the doors speak: one place for headers, commands and errors, so that all of them look alike.

use std::io::{IsTerminal, Write};

/// Wraps `text` in a terminal's bold, unless nobody looks at a terminal or colour is unwelcome.
pub(crate) fn bold(text: &str) -> String {
    let plain = !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some();
    if plain { text.to_owned() } else { format!("\u{1b}[1m{text}\u{1b}[0m") }
}

/// The head of a phase or a step, with an empty line before it.
pub(crate) fn header(text: &str) {
    println!("\n{}", bold(&format!("== {text}")));
    flush();
}

/// The command that is about to run, as a person would type it.
pub(crate) fn command(line: &str) {
    println!("{}", bold(&format!("$ {line}")));
    flush();
}

/// An error as the whole project prints them: what, the causes below it; a hint is the last cause if it says so.
pub(crate) fn error(error: &anyhow::Error) {
    flush();
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("caused by: {cause}");
    }
}

/// Pushes out what was printed, so that it stands before what a child prints next.
pub(crate) fn flush() {
    // A closed standard output is noticed at the next print; there is nobody to tell here.
    let _ = std::io::stdout().flush();
}
