//! The LVM driver, called as hosts call it, on volume groups of a case.

mod cutoff;
mod loss;
mod node;
mod provision;
mod refusals;
mod staged;
mod stranger;
