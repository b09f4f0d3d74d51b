//! The power is cut at every moment of a volume's life: what was acknowledged is there, what was not is done or undone.
//!
//! Each case records its disks while a driver works on them (`flexvolume_testkit::powercut` says how), builds the disks of
//! one crash point after the other, and lets the driver recover on them. How many points are tried is bounded, by
//! `FLEXVOL_POWERCUT_POINTS` (a number, or `all`); which, and what is lost at each, by `FLEXVOL_POWERCUT_SEED`.

mod life;
mod loopback;
mod node;
mod plain;
mod sweep;
mod volumes;
