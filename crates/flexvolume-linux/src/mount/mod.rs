//! Mounts made, seen and taken away: the kernel's mount table is the only witness to what is really there.
//!
//! Two kinds of functions live here, and the difference matters to a long-lived process. [`look`], [`table`] and
//! [`bind`] never reach into a file system, so a server that does not answer cannot hold them up. [`mount`],
//! [`unmount`], [`unmount_ladder`], [`probe`] and [`is_empty_dir`] may block for ever: call them in a process that
//! can be thrown away.

mod any;
mod api;
mod helper;
mod look;
mod mounted;
mod mountinfo;
mod part;
mod propagation;
mod raw;
mod statmount;
#[cfg(test)]
mod swapped;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unmount;

pub use any::{mount, mount_by_helper};
pub use api::{Flags, FsMount, Tree, bind, make_private, set_flags};
pub(crate) use look::look_at;
pub use look::{Presence, corrupted, is_empty_dir, look, probe};
pub use mounted::{AccessTimes, MountId, Mounted, Part};
pub use part::part;
pub use propagation::{Propagation, propagation};
pub(crate) use raw::change_nothing;
pub use unmount::{LADDER, Step, Unmount, unmount, unmount_ladder, unmount_step};
