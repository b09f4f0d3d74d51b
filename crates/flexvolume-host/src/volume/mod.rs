//! One volume: what is written of it, what to do next with it, and the doing.

pub mod state;
pub mod step;
