//! Drivers: found in the plugin directory, asked once what they can, called with deadlines.

pub mod call;
pub mod driver;
pub mod load;
mod said;
pub mod scan;
mod table;
pub mod watch;
