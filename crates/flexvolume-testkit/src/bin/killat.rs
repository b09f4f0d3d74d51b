//! The kill tracer as a command, for shells and for tests of other packages: kills or fails a program at its N-th effect.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use flexvolume_testkit::killat::{self, Ended, Orphans, Plan, Spec, Victim, Writes};

const USAGE: &str = "\
usage: killat [FLAG…] -- CMD [ARG…]
Counts the state-changing system calls of CMD and all its children.
  --at N              strike at the N-th; without it only count
  --mode VICTIM       kill with SIGKILL before it runs: host (CMD itself), actor (who acts), tree (all)
  --errno E           instead: it does not run and fails so (a number, or EIO ENOSPC EINTR EMFILE ENOMEM EBUSY EROFS)
  --after await|leave what becomes of children that outlive CMD: await them (default), or return at once
  --writes runs|each|no   which writes at an offset count (default runs: the 1st, 2nd, 4th, 8th of each run)
  --spare PROGRAM     leave it alone and what it starts: not counted, never killed; a file, or a name in PATH; may be repeated
  --spared yes|no     whether what the spared do counts, for others to die at (default no)
  --limit SECONDS     then kill all (default: never)
  --log FILE          JSON lines
Exit code: that of CMD, 128 + signal if one ended it, 124 after the limit, 125 if killat itself failed.
";

fn main() -> ExitCode {
    match asked(std::env::args_os().skip(1)).and_then(|(spec, plan)| killat::run(&spec, plan)) {
        Ok(report) if report.timed_out => ExitCode::from(124),
        Ok(report) => match report.ended {
            Ended::Exited(code) => ExitCode::from(code as u8),
            Ended::Signalled(signal) => ExitCode::from(128 + signal as u8),
            Ended::Stuck => ExitCode::from(124),
        },
        Err(error) => {
            let _ = writeln!(io::stderr(), "killat: {error}");
            ExitCode::from(125)
        }
    }
}

fn asked(mut words: impl Iterator<Item = OsString>) -> io::Result<(Spec, Plan)> {
    let mut spec = Spec { capture: false, limit: None, ..Spec::new("") };
    let (mut victim, mut errno, mut at) = (None, None, None);
    loop {
        let flag = text(words.next())?;
        if flag == "--" {
            break;
        }
        let value = words.next();
        match flag.as_str() {
            "--at" => at = Some(number(value)?),
            "--mode" => victim = Some(victim_of(&text(value)?)?),
            "--errno" => errno = Some(errno_of(&text(value)?)?),
            "--after" => spec.after = one_of(&text(value)?, &[("await", Orphans::Await), ("leave", Orphans::Leave)])?,
            "--writes" => {
                let all = [("runs", Writes::Runs), ("each", Writes::Each), ("no", Writes::No)];
                spec.writes = one_of(&text(value)?, &all)?;
            }
            "--spare" => spec.spare.push(value.ok_or_else(usage)?.into()),
            "--spared" => {
                let do_count = one_of(&text(value)?, &[("yes", true), ("no", false)])?;
                spec.spared_count = if do_count { |_| true } else { |_| false };
            }
            "--limit" => spec.limit = Some(Duration::from_secs(number(value)?)),
            "--log" => spec.log = Some(value.ok_or_else(usage)?.into()),
            _ => return Err(usage()),
        }
    }
    spec.exe = words.next().ok_or_else(usage)?.into();
    spec.args = words.collect();
    let plan = match (victim, errno, at) {
        (None, None, None) => Plan::Count,
        (Some(victim), None, Some(at)) => Plan::Kill { victim, at },
        (None, Some(errno), Some(at)) => Plan::Inject { errno, at },
        _ => return Err(usage()),
    };
    Ok((spec, plan))
}

fn usage() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, USAGE)
}

fn text(word: Option<OsString>) -> io::Result<String> {
    word.and_then(|w| w.into_string().ok()).ok_or_else(usage)
}

fn number(word: Option<OsString>) -> io::Result<u64> {
    text(word)?.parse().map_err(|_| usage())
}

fn one_of<T: Copy>(word: &str, all: &[(&str, T)]) -> io::Result<T> {
    all.iter().find(|(name, _)| *name == word).map(|(_, it)| *it).ok_or_else(usage)
}

fn victim_of(word: &str) -> io::Result<Victim> {
    one_of(word, &[("host", Victim::Host), ("actor", Victim::Actor), ("tree", Victim::Tree)])
}

fn errno_of(word: &str) -> io::Result<i32> {
    let names = [
        ("EIO", libc::EIO),
        ("ENOSPC", libc::ENOSPC),
        ("EINTR", libc::EINTR),
        ("EMFILE", libc::EMFILE),
        ("ENOMEM", libc::ENOMEM),
        ("EBUSY", libc::EBUSY),
        ("EROFS", libc::EROFS),
    ];
    word.parse().or_else(|_| one_of(word, &names))
}
