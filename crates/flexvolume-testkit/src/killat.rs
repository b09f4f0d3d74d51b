//! Kills or fails any program at its N-th effect, without hooks in that program, so that crash tests need no luck.
//!
//! An *effect* is a system call that changes state outside its process: the mount family, names and their attributes,
//! sizes, syncs, writes at an offset, opens that create or truncate, exec, ioctls on loop devices, device-mapper, block
//! devices and freezing. A seccomp filter, inherited over fork, vfork, clone and exec, stops each one at its door and
//! asks us; we count, log, and let it run, fail it with an errno, or kill:
//!
//! ```text
//!  run ──▶ root ──▶ its children …      each effect:  asked ─▶ counted ─▶ let run
//!   ▲        │          │                                        │ n == at
//!   └────────┴──────────┴── one listener                         ▼
//!                                                     kill the victim, wait for its death, go on
//! ```
//!
//! - The count of a deterministic program is the same in every run: signals do not make a call count twice.
//! - The exec that starts the root is not counted.
//! - Long runs of writes (one process, one descriptor, nothing in between) count at the 1st, 2nd, 4th, 8th … write:
//!   a mkfs has hundreds of them, and a sweep must end. [`Writes`] says otherwise if wanted.
//! - With [`Spec::execs`] the report also holds what every program of the tree was started with, the root too.
//! - Programs that must never be torn off ([`Spec::spare`]) go on whoever dies, and with them what they start; if wished
//!   others die at what those do ([`Spec::spared_count`]).
//! - Not seen: plain `write` and stores to mapped memory, io_uring, programs of another architecture (32 bit).
//! - After the strike the others go on and are counted still, to their end, or are left (see [`Orphans`]).
//!
//! Needs Linux 5.19. Any thread may call [`run`]; the `killat` binary does the same from a command line.

mod effects;
mod execs;
mod filter;
mod part;
mod report;
mod spare;
mod spec;
mod supervise;
mod tree;

use std::io;

pub use execs::Exec;
pub use part::Part;
pub use report::{Effect, Ended, Report};
pub use spec::{Orphans, Plan, Spec, Verdict, Victim, Writes};

/// Runs the program under the plan, to the end of its whole tree (or as [`Orphans`] says).
///
/// # Errors
/// The program cannot be started, the kernel refuses the filter (too old, or another supervisor is already above us),
/// or the log cannot be written.
pub fn run(spec: &Spec, plan: Plan) -> io::Result<Report> {
    supervise::run(spec, plan, &mut |_| Ok(Verdict::Runs))
}

/// The same, and `watch` sees each effect before it runs, while whoever acts waits; it may have the effect left out.
///
/// # Errors
/// As [`run`], and those of `watch`; then the program is left, unwatched, and its effects fail.
pub fn run_watched(
    spec: &Spec,
    plan: Plan,
    watch: &mut dyn FnMut(&Effect) -> io::Result<Verdict>,
) -> io::Result<Report> {
    supervise::run(spec, plan, watch)
}
