//! The kit as hosts see it: argv in, one line of JSON out, and what the kernel says afterwards.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod answers;
mod cold;
mod disk;
mod extensions;
mod staged;
