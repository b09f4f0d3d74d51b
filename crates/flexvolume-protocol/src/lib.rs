//! The FlexVolume contract as pure values: calls to argv and back, replies to JSON and back, shared by host and kit.
//!
//! Nothing here touches a file, a process or a clock. A host renders a [`Call`] into a [`Wire`], runs the driver
//! itself, and reads what it said with [`strict`] (Kubernetes' verdict exactly) or [`tolerant`] (the answer found in
//! what drivers really print). A driver parses the same call with [`Call::parse`] and answers with [`render_reply`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answers;
mod call;
mod capabilities;
mod extension;
mod fields;
mod id;
mod json;
pub mod keys;
mod members;
mod names;
mod options;
mod read;
mod redact;
mod reply;
pub mod run;
mod secret;
mod storage;
mod telltale;
mod text;
mod timestamp;
mod verdict;
mod wire;

pub use call::{
    Args, Attach, Call, CallError, CreateSnapshot, CreateVolume, DeleteSnapshot, DeleteVolume, Detach, ExpandFs,
    ExpandVolume, GetCapacity, GetHealth, GetVolumeName, Init, IsAttached, ListSnapshots, ListVolumes, ModifyVolume,
    Mount, MountDevice, Unmount, UnmountDevice, Verb, VerbName, WaitForAttach,
};
pub use capabilities::Capabilities;
pub use extension::Extension;
pub use fields::{Answer, Fields, Worded, render_reply, render_reply_with};
pub use id::Id;
pub use names::{DriverName, NameError, Namespace, PodName, PodUid, VolumeName};
pub use options::{HostKeys, Options, OptionsError, PodKeys, ReservedKey, UserOptions};
pub use read::{Reading, Said, is_complete, strict, tolerant};
pub use redact::Redactor;
pub use reply::{Attached, Came, Code, Failed, InitReply, VolumeNameReply};
pub use secret::{Secret, Secrets};
pub use storage::{Capacity, Condition, Created, Expanded, Health, Snapshot, SnapshotList, VolumeList};
pub use telltale::OLD_CONTRACT;
pub use text::excerpt;
pub use timestamp::Timestamp;
pub use verdict::{Forgiven, Stream, Verdict};
pub use wire::{Bytes, Device, Dir, Wire};
