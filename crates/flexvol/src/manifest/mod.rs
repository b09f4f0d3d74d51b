//! Kubernetes manifests as input: from files to plans of what each pod wants mounted, without a cluster.
//!
//! [`gather`] reads texts, [`parse`] sorts their documents into [`Objects`], [`resolve`] follows every reference and
//! checks every name, [`secrets_for`] hands out a Secret at the moment it is needed. Only `gather` does I/O.
//!
//! Values are what kubectl takes them for: `5` and `yes` are no text, so as an option they must be written in quotes.
//! Fields Kubernetes has not are ignored, as without a cluster nobody can know them all; below `flexVolume`, where a
//! mistyped key would lose data or protection, each gives a warning. Stricter than Kubernetes: a key given twice in one
//! map is refused.

#[cfg(test)]
mod bad_input;
mod claims;
mod entitled;
#[cfg(test)]
mod hostile;
mod kinds;
mod mounts;
mod object;
mod plan;
mod problem;
mod read;
mod resolve;
mod secrets;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod typed;

pub use entitled::secrets_for;
pub use kinds::parse;
pub use object::{Found, Objects, PassedOver};
pub use plan::{AccessMode, ContainerPlan, FsGroupPolicy, MountPlan, Origin, PodPlan, SecretRef, VolumePlan};
pub use problem::{ManifestError, Place};
pub use read::gather;
pub use resolve::{identify, resolve};
pub use secrets::SecretObject;
pub use source::Source;

/// The namespace and the service account of whoever names none.
const DEFAULT: &str = "default";
