//! The bridge, a client of it, and volumes as an orchestrator handles them: for suites in guests.

pub mod bed;
pub mod client;
#[allow(clippy::all, clippy::wildcard_enum_match_arm, unreachable_pub, reason = "written by a program")]
#[rustfmt::skip]
pub mod clients;
pub mod life;
#[path = "../it/scripts.rs"]
pub mod scripts;
pub mod volume;
