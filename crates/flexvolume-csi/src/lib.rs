//! Serves FlexVolume drivers as CSI drivers. gRPC stays in here.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod capability;
pub mod name;
pub mod status;
pub mod wire;
