//! The host: finds drivers, calls and supervises them, and keeps the volumes of pods true on one node.
//!
//! [`Host`] is its face. Beneath it: `drivers` (find, ask, call), `volume` (record, decision, doing), `ledger`, `engine`.
//! An executable that uses it must call [`worker`] first thing in its `main`, since it is its own disposable worker.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backoff;
mod crowd;
mod digest;
pub mod drivers;
pub mod engine;
mod error;
mod ground;
mod host;
mod ident;
mod layout;
pub mod ledger;
mod lock;
mod note;
mod rebuild;
pub mod retry;
pub mod settings;
pub mod standing;
pub mod target;
pub mod task;
pub mod volume;
mod wall;
mod workers;

pub use error::{Error, Kind, Result, kernel_stack};
pub use ground::Ground;
pub use host::{Elsewhere, Held, Host, Published};
pub use ident::{Ident, fresh_id, inhabitant};
pub use layout::Layout;
pub use note::{Note, Notes};
pub use rebuild::directories;
pub use settings::Settings;
pub use volume::hold::Hold;
pub use wall::Wall;

/// Runs the worker and returns its exit code, if this process was born as one.
pub fn worker() -> Option<std::process::ExitCode> {
    flexvolume_linux::worker::main::<task::Task>()
}
