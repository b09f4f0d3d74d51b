//! Every door of the project is one verb of `cargo xtask`; this file names them and opens them.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a person types these verbs and reads what they say
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bench;
mod book;
mod demo;
mod machine;
mod say;
mod sh;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <door>

  demo             mount a pod's volumes with real drivers, use them, take them away again
  test [FILTER]    format, lints, tidy, every test, the book's code and the demo; with FILTER only the tests whose name holds it
  bench            measure, side by side, and write docs/benchmarks.md
  tidy             the rules of the house that no compiler holds
  book             build the book with mdBook, if it is installed
  help             this text

What a door needs and does not find it installs with apt-get, after saying so, if it is root on a Debian-like system;
elsewhere it prints the one line to type.

demo [--bin DIR] [--scratch DIR]
  --bin DIR        use the executables in DIR and build nothing
  --scratch DIR    work in DIR, an empty or absent folder, in place of one below target/demo
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let door = args.next().unwrap_or_else(|| "help".into());
    let rest: Vec<String> = args.collect();
    let done = match (door.as_str(), rest.as_slice()) {
        ("demo", _) => demo::main(&rest),
        ("test", []) => test::main(None),
        ("test", [filter]) if !filter.starts_with('-') => test::main(Some(filter)),
        ("bench", []) => bench::main(),
        ("tidy", []) => tidy::main(),
        ("book", []) => book::main(),
        ("help" | "--help" | "-h", _) => {
            print!("{HELP}");
            Ok(())
        }
        _ => {
            let given =
                std::iter::once(door.as_str()).chain(rest.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
            eprintln!("error: `{given}` is no door of this house\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&error);
            ExitCode::FAILURE
        }
    }
}
