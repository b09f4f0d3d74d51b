//! Power cuts: what the disks of a machine may hold when it loses its power at any moment, rebuilt from a record of all that
//! was written to them.
//!
//! Killing a machine finds no missing flush, for whatever was written is still there afterwards. A disk that loses its power
//! forgets what was in its cache. So everything that disks are told is recorded, by the device-mapper target `log-writes`,
//! and afterwards the disks are built again as they may have been at each moment:
//!
//! ```text
//!  work ──▶ recorded disks ──▶ one log each ──┐ marks: asked for, acknowledged, every step of a program
//!                                             ▼
//!            timeline   what happened to all disks, in one order
//!                                             ▼
//!            points     every state that the disks may have been left in, each once (of long runs of writes only some)
//!                                             ▼
//!            replay     images of that state ──▶ recovery ──▶ is all there that was acknowledged?
//! ```
//!
//! Reading, ordering and rebuilding need no device-mapper. Recording and presenting do, so they run in a guest.

mod disk;
mod dm;
mod image;
mod log;
mod loops;
#[cfg(test)]
mod made;
mod pages;
mod points;
mod power;
mod random;
mod recorder;
mod recording;
mod replay;
mod timeline;

pub use disk::Loss;
pub use log::{Entry, Log, Range, What};
pub use points::{Point, ranked, survey};
pub use power::Powered;
pub use recorder::{Recorder, Source};
pub use recording::{Recording, Reel, Story};
pub use replay::Replay;
pub use timeline::{Event, Mark};
