//! The kill sweep of the NFS driver: its calls killed before their effects and called again.
//!
//! Each sweep tries its usual part of the points, always the same, and says which; the variable `FLEXVOL_SWEEP` names another for all of
//! them: `all`, `7`, or `7/3` for every 7th point from the 3rd on.

mod field;
mod orphan;
mod provision;
mod staged;
#[path = "../lvm/sweep/tried.rs"]
mod tried;
