//! Serves FlexVolume drivers as CSI drivers. gRPC stays in here.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
mod ask;
mod attach;
pub mod capability;
pub mod context;
mod controller;
mod expand;
pub mod flags;
pub mod gate;
mod health;
mod identity;
pub mod limits;
mod lists;
pub mod name;
mod node;
pub mod plugin;
mod provision;
mod publish;
pub mod run;
pub mod serve;
pub mod socket;
mod stage;
mod stats;
pub mod status;
mod token;
pub mod wire;
