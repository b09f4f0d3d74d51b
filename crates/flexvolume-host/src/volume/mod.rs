//! One volume: what is written of it, who may use it, what to do next with it, and the doing.

pub mod act;
pub mod admit;
pub mod hold;
pub mod record;
pub mod rest;
pub mod state;
pub mod step;
pub mod trace;
