//! The kit: a FlexVolume driver in one file, served by any host.
//!
//! Implement [`Driver`] for a type of yours and make [`run`] your `main`. Arguments come typed, answers are ordinary
//! `Result`s, and whatever happens (a panic, too few arguments, bad JSON) one line of JSON goes to standard output and
//! nothing else.
//!
//! ```no_run
//! use flexvolume::{Driver, Mount, Options, OptionsExt, Result, Size, Unmount, World};
//!
//! struct Scratch;
//!
//! impl Driver for Scratch {
//!     fn mount(&self, call: &Mount, world: &World) -> Result<()> {
//!         let size: Size = call.options.required("size")?;
//!         world.log(format_args!("{} with {size}", call.dir));
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     flexvolume::run(Scratch)
//! }
//! ```
//!
//! A driver that announces [`Extension::Staged`] writes attach, mountdevice, unmountdevice and detach once; what hosts
//! without that extension call, `mount` and `unmount`, the kit composes of them. See [`Driver`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attachments;
mod dispatch;
mod driver;
mod failure;
mod finding;
mod lock;
mod log;
mod options;
mod page;
mod panics;
mod run;
mod settings;
mod size;
mod staged;
mod store;
mod world;

pub use attachments::{Attachment, Attachments};
pub use dispatch::{Answered, Dispatcher};
pub use driver::Driver;
pub use failure::{Failure, Result};
pub use finding::Finding;
pub use lock::Lock;
pub use options::{OptionsExt, Source};
pub use page::Page;
pub use run::run;
pub use settings::Settings;
pub use size::{Size, SizeError};
pub use staged::ONLY_READER;
pub use world::World;

pub use flexvolume_protocol::{
    Attach, Attached, Bytes, Capabilities, Capacity, Code, Condition, CreateSnapshot, CreateVolume, Created,
    DeleteSnapshot, DeleteVolume, Detach, Device, Dir, DriverName, ExpandFs, ExpandVolume, Expanded, Extension,
    GetCapacity, GetHealth, GetVolumeName, Health, Id, Init, IsAttached, ListSnapshots, ListVolumes, ModifyVolume,
    Mount, MountDevice, NameError, Options, Secret, Secrets, Snapshot, SnapshotList, Timestamp, Unmount, UnmountDevice,
    VerbName, VolumeList, VolumeName, VolumeNameReply, WaitForAttach, keys,
};
