//! What needs the whole: the command, real drivers, real mounts, real kills.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod bed;
mod life;
