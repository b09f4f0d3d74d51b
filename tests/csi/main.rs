//! The bridge as its clients see it: real sockets, real drivers, real mounts, real kills.
#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, reason = "these are tests")]

mod attached;
mod bed;
mod broken;
mod client;
#[allow(clippy::all, clippy::wildcard_enum_match_arm, unreachable_pub, reason = "written by a program")]
#[rustfmt::skip]
mod clients;
#[path = "../it/bed.rs"]
#[allow(dead_code, reason = "the bed of the whole command, of which these cases use a part")]
mod command;
mod data;
mod elsewhere;
mod flows;
mod gone;
mod hostile;
mod many;
mod sanity;
#[path = "../it/scripts.rs"]
#[allow(dead_code, reason = "scripts for all tests, of which these cases use a part")]
mod scripts;
mod secrets;
mod sweep;
mod users;
mod volume;
