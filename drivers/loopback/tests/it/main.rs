//! The real executable over real loop devices and file systems, called as hosts call it, in both of its lives.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod bed;
mod block;
mod cold;
mod content;
mod copied;
mod copies;
mod copies_sweep;
mod expand;
mod list;
mod loss;
mod modify;
mod provision;
mod refusals;
mod shared;
mod staged;
mod sweep;
