//! The host: finds drivers, calls and supervises them, and keeps the volumes of pods true on one node.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod volume;
