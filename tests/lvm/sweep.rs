//! The kill sweep of the LVM driver: its calls, and those of our host, killed before their effects and called again. LVM's own command is
//! never killed: it goes on, and whoever comes next waits for it.
//!
//! All points take hours where one command takes a sixth of a second. So each sweep tries its usual part, always the same, and says which;
//! the variable `FLEXVOL_SWEEP` names another for all of them: `all`, `7`, or `7/3` for every 7th point from the 3rd on.

pub mod field;
mod host;
mod orphan;
mod provision;
mod stranger;
mod tried;
