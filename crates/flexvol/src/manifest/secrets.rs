//! Secrets from the manifests: taken apart by hand, so that no error and no `Debug` ever meets a value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flexvolume_protocol::{Secret, Secrets};

use super::problem::ManifestError;
use super::tree::{Node, Places, Value, child};

/// A Secret of the input. It has no `Debug`.
#[derive(Clone)]
pub struct SecretObject {
    /// Its `type`; Kubernetes' default is `Opaque`.
    pub secret_type: String,
    /// Its values, decoded; `stringData` wins over `data`.
    pub values: Secrets,
}

impl SecretObject {
    pub(super) fn read(what: &str, node: &Node, places: &Places) -> Result<Self, ManifestError> {
        let wrong = |path: &str, why: &str| ManifestError::new(format!("{what}: {path}"), why).at(places.value(path));
        let secret_type = match node.get("type").filter(|node| !node.is_null()) {
            None => "Opaque",
            Some(node) => node.text().ok_or_else(|| wrong("type", "is no text"))?,
        };
        let mut values = Secrets::default();
        for (field, encoded) in [("data", true), ("stringData", false)] {
            let Some(map) = node.get(field).filter(|node| !node.is_null()) else {
                continue;
            };
            if !matches!(map.value, Value::Map(_)) {
                return Err(wrong(field, "is no map of keys to values"));
            }
            for (key, node) in map.entries() {
                let path = child(field, &key.text);
                if !is_key(&key.text) {
                    return Err(
                        wrong(&path, "is no key: letters, digits, `-`, `_` and `.`, at most 253").at(places.key(&path))
                    );
                }
                let text = match &node.value {
                    Value::Text(text) => text.as_str(),
                    Value::Null => "",
                    Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                        return Err(wrong(&path, "is a number or a boolean, but text is expected here")
                            .hint("write the value in quotes"));
                    }
                    Value::List(_) | Value::Map(_) => {
                        return Err(wrong(&path, "is a list or a map, but text is expected here"));
                    }
                };
                let bytes = match encoded {
                    false => text.as_bytes().to_vec(),
                    true => decode(text).ok_or_else(|| {
                        wrong(&path, "is not base64")
                            .hint("encode it with `base64`, or put the plain text under stringData")
                    })?,
                };
                values.insert(key.text.clone(), Secret::new(bytes));
            }
        }
        Ok(Self { secret_type: secret_type.to_owned(), values })
    }
}

fn is_key(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=253).contains(&text.len()) && text.chars().all(allowed)
}

/// Line breaks are allowed within, as Go's decoder allows them.
fn decode(text: &str) -> Option<Vec<u8>> {
    let joined = zeroize::Zeroizing::new(text.replace(['\r', '\n'], ""));
    STANDARD.decode(joined.as_bytes()).ok()
}
