//! Shell scripts as text: what a driver in sh or bash calls, and whether the shell that runs it understands it.

mod compound;
pub(crate) mod dash;
pub(crate) mod known;
pub(crate) mod scan;
#[cfg(test)]
mod tests;
mod words;
