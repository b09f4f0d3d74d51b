//! The folder in which drivers keep what a reboot makes void, so that the host knows their own mounts in it.

/// Below `<DIR>/<vendor~driver>` a driver mounts for itself what several volumes share (extension `staged`).
pub const DIR: &str = "/run/flexvol";

/// The variable that says another folder, for host and driver.
pub const VAR: &str = "FLEXVOL_RUN";
