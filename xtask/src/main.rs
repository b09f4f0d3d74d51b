//! Every door of the project is one verb of `cargo xtask`; this file names them and opens them.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a person types these verbs and reads what they say
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bench;
mod book;
mod demo;
mod go;
mod guest;
mod machine;
mod musl;
mod python;
mod say;
mod sh;
mod tally;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <door>

  demo             mount a pod's volumes with real drivers, use them, take them away again
  test [FILTER]    format, lints, tidy, every test, the book's code and the demo; with FILTER only the tests whose name holds it
  guest            suites, or a command, in a throw-away virtual machine with a kernel that has device-mapper
  bench [PART]     measure, side by side, and write docs/benchmarks.md; with a PART (invoke, kit, pods, fleet, lvm, nfs) that section alone
  tidy             the rules of the house that no compiler holds
  book             build the book with mdBook, if it is installed
  help             this text

What a door needs and does not find it installs with apt-get, after saying so, if it is root on a Debian-like system;
elsewhere it prints the one line to type.

guest SUITE [FILTER] [--here] [--limit SECONDS]
  SUITE            lvm, nfs; its cases whose names hold FILTER
  --here           on this machine's own kernel; cases that change the machine itself are skipped
  --limit SECONDS  for each case, which has ten minutes otherwise, and all of them fifty-five; with it there is no limit for all.
                   With FLEXVOL_POWERCUT_POINTS=all in the environment the filter `powercut` then tries every crash point
guest run [OPTION]… -- COMMAND…
                   in a fresh machine, as root, with the executables of this build in /vm/bin; ends with the command's status,
                   or 124 if that did not end in time, 125 if the machine died, 127 if the command is not there.
                   To kill this door is to cut the machine's power
  --bin DIR        use the executables in DIR and build nothing
  --disk SIZE|FILE a virtual disk: a new one (64M), or a raw file that stays; the first is /dev/vda
  --cache WORD     of all disks: unsafe (the default), none, directsync
  --smp N          processors, 1 by default
  --memory MIB     1024 by default
  --udev           with udev running
  --kernel WORD    one more word for the kernel's command line
  --program FILE   one more executable in /vm/bin
  --share DIR      is /vm in the guest
  --beside COMMAND for the shell of a second machine; the two are `left` and `right` to each other, on a wire of their own
  --limit SECONDS  after which the command is ended, 600 by default
guest image [--fresh]
                   build the image alone; --fresh: anew, with what Debian's archive has today

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
        ("guest", words) => match guest::main(words) {
            Ok(Some(())) => Ok(()),
            Ok(None) => {
                eprintln!("{HELP}");
                return ExitCode::from(2);
            }
            Err(error) => Err(error),
        },
        ("bench", []) => bench::main(None),
        ("bench", [part]) if !part.starts_with('-') => bench::main(Some(part)),
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
