//! What the whole contract promises, tested through the public face of the crate.
#![allow(clippy::unwrap_used, reason = "tests")]

mod calls;
mod go;
mod hostile;
mod options;
mod readings;
mod redaction;
mod replies;
