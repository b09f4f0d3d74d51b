//! The real executable over real loop devices and file systems, called as hosts call it, in both of its lives.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod bed;
mod cold;
mod content;
mod expand;
mod loss;
mod provision;
mod refusals;
mod staged;
mod sweep;
