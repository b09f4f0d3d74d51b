//! The sockets that clients call at: who is let in, how their calls are read, who answers them.

mod authority;
mod hpack;
pub(crate) mod listen;
pub(crate) mod meter;
pub mod serve;
