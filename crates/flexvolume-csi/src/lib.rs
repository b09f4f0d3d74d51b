//! Serves FlexVolume drivers as CSI drivers. gRPC stays in here.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
mod ask;
mod attach;
mod authority;
mod board;
pub mod capability;
#[cfg(test)]
mod client;
pub mod context;
mod controller;
mod expand;
pub mod flags;
mod fleet;
pub mod gate;
mod health;
mod hpack;
mod identity;
pub mod limits;
mod lists;
mod meter;
mod metrics;
mod modify;
pub mod name;
mod node;
pub mod place;
pub mod plugin;
mod provision;
mod publish;
pub mod register;
mod roll;
pub mod run;
pub mod serve;
pub mod socket;
mod stage;
mod stats;
pub mod status;
mod token;
pub mod wire;
