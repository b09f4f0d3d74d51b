//! Serves FlexVolume drivers as CSI drivers. gRPC stays in here.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod controller;
mod identity;
mod node;
pub mod plugin;
mod request;
pub mod run;
mod socket;
mod status;
pub mod wire;

pub use node::place;
pub use request::{capability, context, name};
pub use socket::serve;
