//! Serves FlexVolume drivers as CSI drivers. gRPC stays in here.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod capability;
pub mod context;
pub mod flags;
pub mod gate;
pub mod limits;
pub mod name;
pub mod socket;
pub mod status;
pub mod wire;
