//! The LVM driver: volumes that are logical volumes. Staged and local; it provisions and expands.
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![allow(dead_code)]

mod devices;
mod holder;
mod names;
mod notes;
mod place;
mod report;
mod settings;
mod tags;
mod tool;
mod volume;

use flexvolume::Driver;

struct Lvm;

impl Driver for Lvm {}

fn main() -> std::process::ExitCode {
    flexvolume::run(Lvm)
}
