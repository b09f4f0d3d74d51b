//! The power is cut at every moment of a volume's life: what was acknowledged is there, what was not is done or undone.
//!
//! Each case records its disks while a driver works on them (`flexvolume_testkit::powercut` says how), builds the disks of
//! one crash point after the other, and lets the driver recover on them. A case tries as many points as its time allows and
//! says how many that were; `FLEXVOL_POWERCUT_POINTS` (a number, or `all`) says otherwise. `FLEXVOL_POWERCUT_SEED` decides
//! which come first, and which writes are lost where some are.

mod branch;
mod life;
mod loopback;
mod node;
mod plain;
mod sweep;
mod volumes;
