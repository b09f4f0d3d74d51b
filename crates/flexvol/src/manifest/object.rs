//! The objects of the input as every later step sees them, and what may be asked of any of them.

use std::fmt;

use flexvolume_protocol::Namespace;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};

use super::problem::{Place, shown};
use super::secrets::SecretObject;
use super::tree::Places;

/// All objects of the input.
///
/// Its `Debug` shows numbers only: the pods' fields and the Secrets are not for logs.
#[derive(Clone, Default)]
pub struct Objects {
    /// The pods.
    pub pods: Vec<Found<Pod>>,
    /// The PersistentVolumes, of whatever type.
    pub volumes: Vec<Found<PersistentVolume>>,
    /// The PersistentVolumeClaims.
    pub claims: Vec<Found<PersistentVolumeClaim>>,
    /// The Secrets, their values already out of reach of `Debug`.
    pub secrets: Vec<Found<SecretObject>>,
    /// Objects of kinds that are not read.
    pub passed_over: Vec<PassedOver>,
    /// What is allowed but probably not meant, each a sentence with its place.
    pub warnings: Vec<String>,
    /// The names of all sources, to say where something was looked for.
    pub sources: Vec<String>,
}

/// An object and where its parts stand.
#[derive(Clone)]
pub struct Found<T> {
    /// The object itself.
    pub object: T,
    /// `metadata.name`, checked.
    pub name: String,
    /// `metadata.namespace` or `default`, checked; of no meaning for a PersistentVolume.
    pub namespace: Namespace,
    pub(super) places: Places,
}

/// An object of a kind that is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its kind, such as `Deployment`.
    pub kind: String,
    /// Its name; empty if it has none.
    pub name: String,
    /// Where it begins.
    pub place: Place,
}

impl<T> Found<T> {
    /// Where the object begins.
    pub fn place(&self) -> Place {
        self.places.start()
    }

    /// Namespace and name, as kubectl shows them.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("pods", &self.pods.len())
            .field("volumes", &self.volumes.len())
            .field("claims", &self.claims.len())
            .field("secrets", &self.secrets.len())
            .field("passed_over", &self.passed_over.len())
            .field("warnings", &self.warnings.len())
            .finish()
    }
}

/// The types a pod's volume has, by their names in the manifest; a right one has one.
pub(super) fn types_of(volume: &Volume) -> Vec<String> {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let keys = value.as_object().into_iter().flat_map(|map| map.keys());
    keys.filter(|key| *key != "name").cloned().collect()
}

/// Any object's name: what Kubernetes allows for the widest of them.
pub(super) fn check_name(text: &str) -> Result<(), String> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label =
        |label: &str| label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-');
    match text.len() <= 253 && text.split('.').all(label) {
        true => Ok(()),
        false => Err(format!(
            "`{}` is no name for an object: lower-case letters, digits, `-` and `.`, at most 253, beginning and ending with a letter or digit",
            shown(text)
        )),
    }
}
