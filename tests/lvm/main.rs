//! LVM on a kernel that has device-mapper; `cargo xtask guest lvm` runs each case in a guest.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "these are tests")]

mod bed;
#[path = "../csi/bridge.rs"]
#[allow(dead_code, clippy::print_stderr, reason = "the bridge and its client, of which these cases use a part")]
mod bridge;
#[path = "../it/bed.rs"]
#[allow(dead_code, reason = "the bed of the whole command, of which these cases use a part")]
mod command;
mod door;
mod driver;
mod group;
mod judge;
mod kernel;
mod life;
mod outside;
mod powercut;
mod sanity;
mod spine;
mod sweep;
mod tools;
mod udev;
mod witness;
