//! What tests of every crate share: drivers called by hand, a kill tracer, a file system that never answers, scripted drivers,
//! sandboxes, a searcher for secrets, hostile names.
//!
//! For development only; nothing that is shipped depends on it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod driver;
pub mod hostile;
pub mod hung;
pub mod killat;
pub mod mounts;
pub mod needles;
pub mod picture;
pub mod powercut;
pub mod sandbox;
pub mod scripted;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use sandbox::Sandbox;

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Whether we run as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says on standard error, past the capture of the test harness, that a test does not run, and why. The test then
/// returns.
pub fn skip(why: &str) {
    SKIPPED.fetch_add(1, Ordering::Relaxed);
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// How many tests of this process were skipped so far.
#[must_use]
pub fn skipped() -> usize {
    SKIPPED.load(Ordering::Relaxed)
}

/// Lets SIGINT end the processes we start, also where whoever runs the tests has us ignore it (a shell, in the background).
#[allow(unsafe_code)]
pub fn heed_interrupts() {
    // SAFETY: a constant disposition; no handler is installed.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
}

/// Where cargo puts a binary of this workspace (`killat`, `hungfs`, a driver …): beside the running test's folder.
///
/// # Errors
/// It was not built; the text says how to build it.
pub fn binary(name: &str) -> io::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        let text = format!("no {name} near {}: build it first (cargo build --workspace --bins)", test.display());
        io::Error::new(io::ErrorKind::NotFound, text)
    })
}
