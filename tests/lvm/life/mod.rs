//! The LVM driver through the command, as the owner of a machine has it: pods come and go, volumes live, grow, are lost and found.

pub mod home;
pub mod inside;
pub mod whole;
pub mod writer;

mod copies;
mod full;
mod growth;
mod original;
mod pulled;
mod recreate;
mod shared;
