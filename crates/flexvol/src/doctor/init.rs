//! A driver asked `init`, as every host asks it: under its own limits, read in both ways.

use std::path::Path;

use flexvolume_host::{
    drivers::call::{ended, program},
    settings::DriverConfig,
};
use flexvolume_linux::process::{self, How};
use flexvolume_protocol::{
    Came, DriverName, Forgiven, Init, InitReply, Redactor, VerbName, Verdict, Wire, is_complete,
};

use super::sight::Told;
use crate::reading::{Readings, said};

/// What came of it.
pub(crate) enum Asked {
    /// The kernel would not run it.
    NotStarted(Told),
    /// It did not answer in time, or wrote without end.
    NotEnded(Told),
    /// It ended.
    Answered(Box<Answered>),
}

/// What it answered, and how that is read.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) milliseconds: f64,
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Why Kubernetes would fail it.
    pub(crate) strict: Option<Verdict>,
    /// What we make of it.
    pub(crate) tolerant: Result<Came<InitReply>, Verdict>,
    /// What we forgive in it.
    pub(crate) forgiven: Vec<Forgiven>,
}

/// How its process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    /// It answered and lives on.
    Stays(u32),
}

/// Asks the driver; `call` is the id that its processes carry, `slow` is told when it passes its answer limit.
pub(crate) fn ask(exe: &Path, name: &DriverName, config: &DriverConfig, call: &str, slow: &dyn Fn(u64)) -> Asked {
    let limits = config.limits(VerbName::Init);
    let Wire { argv, stdin, .. } = Wire::render(&Init {}, false);
    let running = match process::spawn(&program(exe, argv, stdin, call)) {
        Ok(running) => running,
        Err(error) => return Asked::NotStarted(error.into()),
    };
    let outcome = running.wait(&limits, &is_complete, &mut |after| slow(after.as_secs()));
    // A driver is told no secret at init.
    if let Err(error) = ended(name, VerbName::Init, &outcome, &Redactor::default()) {
        return Asked::NotEnded(error.into());
    }
    let readings = Readings::<InitReply>::of(VerbName::Init, &said(&outcome));
    Asked::Answered(Box::new(Answered {
        milliseconds: outcome.took.as_secs_f64() * 1e3,
        exit: match outcome.how {
            How::Exited(code) => Exit::Code(code),
            How::Signalled(signal) | How::Killed { signal } => Exit::Signal(signal),
            How::Stayed(id) | How::Stuck(id) => Exit::Stays(id.pid),
        },
        stdout: String::from_utf8_lossy(&outcome.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&outcome.stderr).into_owned(),
        strict: readings.kubernetes.err(),
        tolerant: readings.flexvol.verdict,
        forgiven: readings.flexvol.forgiven,
    }))
}
