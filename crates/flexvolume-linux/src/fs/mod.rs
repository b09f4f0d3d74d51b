//! File systems on devices: what a device holds, when it may be formatted, and how a format survives being cut off.
//!
//! The rule that everything here serves: nothing is formatted that is not proven empty, and nothing that was once
//! handed out is ever formatted again.
//!
//! ```text
//!   lock the device ── read it ── decide(content, record) ──▶ keep            whole, and nothing speaks against it
//!                                        │                 ├▶ prove           whole and ours, never handed out: check, then keep
//!                                        │                 ├▶ format, again   record "proven" ▶ mkfs ▶ fsync ▶ record "formatted"
//!                                        ▼
//!                                     refuse, in words
//! ```
//!
//! The record ([`Intents`]) is written before mkfs, because every mkfs destroys the ends of a device before it has
//! written anything that could be recognised, and carries the UUID that mkfs is made to use.
//!
//! What was copied device by device needs no format, but a UUID of its own before its first mount: [`renew_uuid`].

mod check;
mod decide;
mod device;
mod format;
mod fsgroup;
mod grow;
mod intent;
mod kind;
mod options;
mod probe;
mod renew;
mod shut;
mod signature;
mod tool;
mod usage;

pub use format::{Made, Ready, Wanted, format_and_mount, make_ready};
pub use fsgroup::{Applied, Missed, apply_fs_group};
pub use grow::{grow_fs, grow_unmounted};
pub use intent::{Intent, Intents, Phase, fresh_uuid};
pub use kind::FsType;
pub use options::{check_mkfs_options, check_mount_options};
pub use probe::{Content, content};
pub use renew::renew_uuid;
pub use shut::shut_down;
pub use tool::{Needed, needed};
pub use usage::{Usage, usage};

#[cfg(test)]
mod tests;
