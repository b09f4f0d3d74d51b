//! The LVM driver, called as hosts call it, on volume groups of a case.

mod copies;
mod cutoff;
mod hosted;
mod letting_go;
mod looks;
mod loss;
pub mod node;
mod provision;
mod refusals;
mod staged;
mod stranger;
mod thick;
