//! The bridge as its clients see it: real sockets, real drivers, real mounts, real kills.
#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, reason = "these are tests")]

mod again;
mod asked;
mod attach;
mod bed;
mod broken;
mod calls;
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
mod grpcio;
mod hostile;
mod inline;
mod many;
mod modify;
mod odd;
mod promised;
mod repeated;
mod sanity;
#[path = "../it/scripts.rs"]
#[allow(dead_code, reason = "scripts for all tests, of which these cases use a part")]
mod scripts;
mod secrets;
mod swapped;
mod sweep;
mod users;
mod volume;
mod whose;
