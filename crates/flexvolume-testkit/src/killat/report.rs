//! What a run did, as values and as a log of JSON lines, so that a test can count, compare and choose where to strike.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::execs::Exec;

/// One state-changing system call, seen just before it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Its number, from 1.
    pub n: u64,
    /// The process (not the thread) that makes it.
    pub pid: u32,
    /// That process' command name.
    pub comm: String,
    /// The system call's name.
    pub syscall: String,
    /// Its paths, the files behind its descriptors, its ioctl number. For people; may be `?`.
    pub detail: String,
    /// Whether the process is one of those that are spared.
    #[serde(default)]
    pub spared: bool,
}

/// How the root process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// It would not end (stuck in the kernel): we went away from it.
    Stuck,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Every effect, in order; those after the strike too, unless orphans were left.
    pub effects: Vec<Effect>,
    /// Every exec of the tree, in order, if asked for; not in the log.
    pub execs: Vec<Exec>,
    /// The number of the effect at which the plan struck; none when the run had fewer effects or the plan only counts.
    pub struck: Option<u64>,
    /// How the root process ended.
    pub ended: Ended,
    /// Whether processes of the tree were still alive when we returned.
    pub left: bool,
    /// Whether the time limit passed, and all were killed for it.
    pub timed_out: bool,
    /// What the tree wrote to standard output, if captured; not in the log.
    pub stdout: Vec<u8>,
    /// What the tree wrote to standard error, if captured; not in the log.
    pub stderr: Vec<u8>,
}

/// One line of the log.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Effect(Effect),
    Struck(u64),
    End { ended: Ended, left: bool, timed_out: bool },
}

/// Writes the log as the run goes, so that it can be read even when the run never ends.
pub(super) struct Log {
    out: Option<BufWriter<File>>,
}

impl Log {
    pub(super) fn to(path: Option<&Path>) -> io::Result<Log> {
        let open = |p: &Path| File::create(p).map(BufWriter::new).map_err(|e| about(p, &e));
        Ok(Log { out: path.map(open).transpose()? })
    }

    pub(super) fn effect(&mut self, effect: &Effect) -> io::Result<()> {
        self.put(&Line::Effect(effect.clone()))
    }

    pub(super) fn struck(&mut self, n: u64) -> io::Result<()> {
        self.put(&Line::Struck(n))?;
        self.out.as_mut().map_or(Ok(()), BufWriter::flush)
    }

    pub(super) fn end(&mut self, ended: Ended, left: bool, timed_out: bool) -> io::Result<()> {
        self.put(&Line::End { ended, left, timed_out })?;
        self.out.as_mut().map_or(Ok(()), BufWriter::flush)
    }

    fn put(&mut self, line: &Line) -> io::Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        serde_json::to_writer(&mut *out, line)?;
        out.write_all(b"\n")
    }
}

impl Report {
    /// Reads the log of a finished run.
    ///
    /// # Errors
    /// The file cannot be read, a line is not ours, or the run never ended.
    pub fn read(log: &Path) -> io::Result<Report> {
        let file = File::open(log).map_err(|e| about(log, &e))?;
        let (mut effects, mut struck) = (Vec::new(), None);
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|e| about(log, &e))?;
            match serde_json::from_str(&line).map_err(|e| about(log, &e))? {
                Line::Effect(effect) => effects.push(effect),
                Line::Struck(n) => struck = Some(n),
                Line::End { ended, left, timed_out } => {
                    return Ok(Report {
                        effects,
                        execs: Vec::new(),
                        struck,
                        ended,
                        left,
                        timed_out,
                        stdout: Vec::new(),
                        stderr: Vec::new(),
                    });
                }
            }
        }
        Err(about(log, &"the run it tells of never ended"))
    }

    /// How many effects there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.effects.len() as u64
    }

    /// Who did what, without process ids and paths: equal for two runs of one deterministic program.
    #[must_use]
    pub fn shape(&self) -> Vec<String> {
        self.effects.iter().map(|e| format!("{} {}", e.comm, e.syscall)).collect()
    }
}

fn about(path: &Path, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("kill log {}: {why}", path.display()))
}
