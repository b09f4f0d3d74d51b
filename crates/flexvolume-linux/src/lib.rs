//! Linux beneath flexvol: the one place where processes are born, mounts are made and devices are touched.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::print_stderr))]

pub mod beneath;
pub mod block;
mod error;
pub mod fs;
pub mod kernel;
pub mod loopdev;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod process;
mod real;
pub mod signal;
pub mod tree;
pub mod watch;
pub mod worker;

pub use error::{Error, ErrorKind, Result};
