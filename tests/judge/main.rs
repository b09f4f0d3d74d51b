//! The judge judged: drivers that lie in one way are found out for that and for nothing else, and ours are fit.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "these are tests")]

#[path = "../it/bed.rs"]
#[allow(dead_code, reason = "the bed of the whole command, of which these cases use a part")]
mod bed;
mod body;
mod lies;
mod ours;
