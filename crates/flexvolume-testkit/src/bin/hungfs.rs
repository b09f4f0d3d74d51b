//! `hungfs DIR [ANSWERS|always]`: mounts a file system that stops answering and leaves it there, for drivers that are scripts.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use flexvolume_testkit::hung;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (dir, answers) = match words.as_slice() {
        [dir] => (dir, Some(0)),
        [dir, always] if always == "always" => (dir, Some(hung::ALWAYS)),
        [dir, answers] => (dir, answers.parse().ok()),
        _ => (&String::new(), None),
    };
    let Some(answers) = answers else {
        let _ = writeln!(io::stderr(), "usage: hungfs DIR [ANSWERS|always]");
        return ExitCode::from(2);
    };
    match hung::mount_and_leave(Path::new(dir), answers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "hungfs: {error}");
            ExitCode::FAILURE
        }
    }
}
