//! What needs the whole: the command, real drivers, real mounts, real kills.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "these are tests")]

mod apart;
mod bad_input;
mod bed;
mod command;
mod discovery;
mod exit_codes;
mod faults;
mod grow;
mod help;
mod ledger;
mod life;
mod output;
mod progress;
mod scripts;
mod secrets;
mod sweep;
mod terminal;
mod wild;
