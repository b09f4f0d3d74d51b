//! Hands a Secret to a driver, if its type says that it is for that driver.

use flexvolume_protocol::{DriverName, Secrets};

use super::object::{Found, Objects};
use super::plan::SecretRef;
use super::problem::{ManifestError, shown};
use super::secrets::SecretObject;

/// The values of a Secret for a driver.
///
/// # Errors
/// There is no such Secret in the input, or its `type` is not exactly the driver's name: Kubernetes refuses it then too,
/// so that a pod cannot have a driver read just any Secret.
pub fn secrets_for(objects: &Objects, wanted: &SecretRef, driver: &DriverName) -> Result<Secrets, ManifestError> {
    let what = format!("Secret {}/{}", wanted.namespace, shown(&wanted.name));
    let found: Option<&Found<SecretObject>> =
        objects.secrets.iter().find(|secret| secret.namespace == wanted.namespace && secret.name == wanted.name);
    let Some(secret) = found else {
        let sources = match objects.sources.is_empty() {
            true => "the input, which is empty".to_owned(),
            false => objects.sources.join(", "),
        };
        let why = format!("is not among the manifests; looked in {sources}");
        let elsewhere = objects.secrets.iter().find(|secret| secret.name == wanted.name);
        return Err(ManifestError::new(what, why).hint(match elsewhere {
            Some(other) => {
                format!("there is one of that name in the namespace {}: the namespaces must agree", other.namespace)
            }
            None => format!("add a Secret of that name with `type: {driver}`"),
        }));
    };
    let object = &secret.object;
    if object.secret_type != driver.as_str() {
        return Err(ManifestError::new(
            what,
            format!(
                "has the type `{}`; the driver {driver} is given only Secrets of the type `{driver}`",
                shown(&object.secret_type)
            ),
        )
        .at(secret.places.value("type"))
        .hint(format!("write `type: {driver}` in the Secret")));
    }
    Ok(object.values.clone())
}
