//! What `cargo xtask bench` can only measure inside one process: a call of a driver as the host makes it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its lines are its answer")]

use std::{
    error::Error,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use flexvolume_linux::process::{self, How, Kill, Limits, Program};
use flexvolume_protocol::{Came, Init, InitReply, Said, VerbName, Wire, is_complete, tolerant};

type Done = Result<(), Box<dyn Error>>;

/// One way to call the driver.
type Side = fn(&Path) -> Done;

/// What the host allows `init`.
const LIMITS: Limits = Limits {
    answer: Duration::from_secs(10),
    kill: Kill::After { at: Duration::from_secs(30), grace: Duration::from_secs(10) },
};

/// Of either side; a tenth more at the beginning is thrown away.
const ROUNDS: usize = 1000;

fn main() -> ExitCode {
    let _ = process::settle();
    let measured = match std::env::args_os().nth(1) {
        Some(driver) => measure(Path::new(&driver)),
        None => Err("give the path of a driver".into()),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Both in turn; who begins changes.
fn measure(driver: &Path) -> Done {
    let sides: [(&str, Side); 2] = [("ours", called), ("other", spawned)];
    for round in 0..ROUNDS + ROUNDS / 10 {
        for turn in 0..2 {
            let (name, call) = sides[(round + turn) % 2];
            let start = Instant::now();
            call(driver)?;
            let took = start.elapsed().as_secs_f64();
            if round >= ROUNDS / 10 {
                println!("invoke alone\t{name}\t{took:.9}");
            }
        }
    }
    Ok(())
}

fn called(driver: &Path) -> Done {
    let program = Program {
        exe: driver.to_owned(),
        args: Wire::render(&Init {}, false).argv,
        stdin: None,
        env: vec![("FLEXVOL_CALL".into(), "0123456789abcdef0123456789abcdef".into())],
    };
    let outcome = process::spawn(&program)?.wait(&LIMITS, &is_complete, &mut |_| {});
    let exit_ok = outcome.how == How::Exited(0);
    let said = Said { stdout: &outcome.stdout, stderr: &outcome.stderr, exit_ok };
    match tolerant::<InitReply>(VerbName::Init, &said).verdict? {
        Came::Done(_) => Ok(()),
        Came::NotSupported | Came::InProgress => Err("the driver does not know init".into()),
    }
}

fn spawned(driver: &Path) -> Done {
    let output = Command::new(driver).arg("init").stdin(Stdio::null()).output()?;
    if output.status.success() && !output.stdout.is_empty() { Ok(()) } else { Err("the driver gave no answer".into()) }
}
