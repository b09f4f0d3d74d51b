//! What needs the whole: the command, real drivers, real mounts, real kills.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "these are tests")]

mod apart;
mod bad_input;
mod bed;
mod cases;
mod command;
mod discovery;
mod doctor;
mod examples;
mod exit_codes;
mod extensions;
mod faults;
mod help;
mod hold;
mod hostile;
mod inspect;
mod ledger;
mod life;
mod one;
mod output;
mod progress;
mod retry;
mod said;
mod sanity;
mod scripts;
mod secrets;
mod stuck;
mod sweep;
mod terminal;
mod wild;
mod witness;
