//! The NFS driver with the kernel's own server and client; `cargo xtask guest nfs` runs each case in a guest.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "these are tests")]

mod attacks;
mod bed;
mod beside;
#[path = "../csi/bridge.rs"]
#[allow(dead_code, clippy::print_stderr, reason = "the bridge and its client, of which these cases use a part")]
mod bridge;
mod bridged;
#[path = "../it/bed.rs"]
#[allow(dead_code, reason = "the bed of the whole command, of which these cases use a part")]
mod command;
mod copied;
mod copies;
mod dead;
#[path = "../lvm/door.rs"]
#[allow(dead_code, reason = "another suite uses the rest")]
mod door;
mod hosted;
mod judge;
mod life;
mod nodes;
mod outside;
mod provision;
mod reached;
mod sanity;
mod server;
mod squashed;
mod sweep;
#[path = "../lvm/tools.rs"]
#[allow(dead_code, reason = "another suite uses the rest")]
mod tools;
mod witness;
