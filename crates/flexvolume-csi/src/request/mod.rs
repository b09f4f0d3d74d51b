//! What clients ask for, read into types that hold nothing bad, and what they are told: pure values, which know no host.

pub(crate) mod access;
pub mod capability;
pub mod context;
pub(crate) mod flags;
pub(crate) mod limits;
pub mod name;
pub(crate) mod token;
