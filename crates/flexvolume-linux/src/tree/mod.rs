//! Trees of directories on storage that others write to as well: made, copied and removed by descriptor, out of which no link, no
//! `..` and no other file system leads.
//!
//! Everything here reaches into the file system and so may block for ever: it is for processes that can be thrown away.

mod clock;
mod content;
mod copy;
mod cursor;
mod entry;
mod file;
mod folder;
mod image;
mod level;
mod list;
mod lock;
mod remove;
mod small;
#[cfg(test)]
mod tests;

pub use content::Came;
pub use copy::{Copied, Copy, Counts};
pub use cursor::{Cursor, Identity};
pub use folder::{Folder, Kind};
pub use image::{copy_content, share_content};
pub use lock::FileLock;
pub use remove::remove;
