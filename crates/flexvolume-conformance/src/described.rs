//! The volume that a driver is judged by, as a person writes it down.

use std::{collections::BTreeMap, fmt};

use flexvolume_protocol::{ReservedKey, UserOptions};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::letters::distance;

/// The volume that a driver is judged by, as a person writes it down: either the options alone, one flat object of
/// strings, or an object with these members.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Described {
    /// `flexVolume.options`.
    pub options: UserOptions,
    /// `flexVolume.fsType`.
    pub fs_type: String,
    /// `flexVolume.readOnly`: nothing is written to it.
    pub read_only: bool,
    /// The name of the volume; drivers that attach have it in `detach` alone.
    pub name: Option<String>,
    /// The node that drivers that attach are told.
    pub node: Option<String>,
    /// Options of a second volume, to be used at the same time.
    pub second: Option<UserOptions>,
    /// Its secrets, as the pod's Secret holds them decoded.
    pub secrets: BTreeMap<String, String>,
    /// Parameters of volumes that are made (extension `provision`) in place of the ones above.
    pub create: Option<UserOptions>,
    /// How large such volumes are, in bytes.
    pub bytes: Option<u64>,
}

/// The name of a member, what it must be, and whether a value is that.
type Member = (&'static str, &'static str, fn(&Value) -> bool);

const MEMBERS: [Member; 9] = [
    ("options", "an object of strings", is_flat),
    ("fsType", "a string", Value::is_string),
    ("readOnly", "true or false", Value::is_boolean),
    ("name", "a string", Value::is_string),
    ("node", "a string", Value::is_string),
    ("second", "an object of strings", is_flat),
    ("secrets", "an object of strings", is_flat),
    ("create", "an object of strings", is_flat),
    ("bytes", "a number of bytes", Value::is_u64),
];

/// Members of text, which the options alone may have as well.
const OF_TEXT: [&str; 3] = ["fsType", "name", "node"];

/// Of secrets it shows how many there are.
impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, fs_type, read_only, name, node, second, secrets, create, bytes } = self;
        f.debug_struct("Described")
            .field("options", options)
            .field("fs_type", fs_type)
            .field("read_only", read_only)
            .field("name", name)
            .field("node", node)
            .field("second", second)
            .field("secrets", &secrets.len())
            .field("create", create)
            .field("bytes", bytes)
            .finish()
    }
}

/// The description of a volume cannot be used. No value is in it: there are secrets among them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// It is no such JSON.
    #[error("the description of the volume cannot be read: {0}")]
    Shape(String),
    /// It has a member that nobody knows.
    #[error(
        "the description of the volume has the member {member:?}, which is not known; known are {}, and strings alone are the options themselves{}",
        known(), meant(.member)
    )]
    Unknown {
        /// Which one.
        member: String,
    },
    /// A member has the wrong type.
    #[error("the description of the volume: {member} must be {wanted}")]
    Type {
        /// Which one.
        member: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// An option has a name that hosts use.
    #[error(transparent)]
    Reserved(#[from] ReservedKey),
}

fn known() -> String {
    MEMBERS.map(|(name, ..)| name).join(", ")
}

fn meant(member: &str) -> String {
    let near = MEMBERS.iter().map(|(name, ..)| (distance(&member.to_lowercase(), &name.to_lowercase()), *name)).min();
    match near {
        Some((distance, name)) if distance <= 2 => format!("; did you mean {name}?"),
        Some(_) | None => String::new(),
    }
}

fn is_flat(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.values().all(Value::is_string))
}

impl Described {
    /// Reads either form.
    ///
    /// # Errors
    /// [`VolumeError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, VolumeError> {
        // serde quotes values, and one of them may be a secret.
        let shape = |error: serde_json::Error| {
            let what = if error.is_data() { "it is no JSON object" } else { "it is no JSON" };
            VolumeError::Shape(format!("{what} (line {} column {})", error.line(), error.column()))
        };
        let members: Map<String, Value> = serde_json::from_str(text).map_err(shape)?;
        // Members of text alone could be meant either way, if there is nothing else.
        let is_whole = members.keys().all(|key| OF_TEXT.contains(&key.as_str()));
        if !is_whole && members.values().all(Value::is_string) {
            let flat = serde_json::from_str(text).map_err(shape)?;
            return Ok(Self { options: UserOptions::parse(flat)?, ..Self::default() });
        }
        for (name, value) in &members {
            match MEMBERS.iter().find(|(known, ..)| known == name) {
                Some((_, _, is_right)) if is_right(value) => {}
                Some((member, wanted, _)) => return Err(VolumeError::Type { member, wanted }),
                None => return Err(VolumeError::Unknown { member: name.clone() }),
            }
        }
        // What can still be wrong is a reserved name in one of the objects.
        for name in ["options", "second", "create"] {
            if let Some(value) = members.get(name) {
                UserOptions::parse(serde_json::from_value(value.clone()).map_err(shape)?)?;
            }
        }
        serde_json::from_str(text).map_err(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_written_in_two_ways() {
        let flat = Described::parse(r#"{"volumeID": "vol1", "size": "1000m"}"#).unwrap();
        assert_eq!(flat.options.get("size"), Some("1000m"));
        let whole = r#"{"options": {"a": "b"}, "fsType": "xfs", "readOnly": true, "node": "n", "secrets": {"k": "v"}}"#;
        let whole = Described::parse(whole).unwrap();
        assert_eq!((whole.fs_type.as_str(), whole.options.get("a")), ("xfs", Some("b")));
        assert_eq!((whole.read_only, whole.node.as_deref()), (true, Some("n")));
    }

    #[test]
    fn what_is_wrong_is_told_without_a_value() {
        for text in [
            r#"{"secrets": ["hunter2"]}"#,
            r#"{"options": {"a": 7}, "name": "hunter2"}"#,
            r#"{"bytes": "hunter2", "create": {}}"#,
            "hunter2",
            "{",
            r#"["hunter2"]"#,
        ] {
            let words = Described::parse(text).unwrap_err().to_string();
            assert!(!words.contains("hunter2"), "{words}");
        }
        let reserved = Described::parse(r#"{"options": {"kubernetes.io/fsType": "ext4"}, "bytes": 1}"#).unwrap_err();
        assert!(reserved.to_string().contains("reserved"), "{reserved}");
    }

    #[test]
    fn a_member_that_is_not_known_is_named_with_those_that_are() {
        let words = |text| Described::parse(text).unwrap_err().to_string();
        let unknown = words(r#"{"option": {"a": "b"}}"#);
        for part in ["\"option\"", "did you mean options?", "fsType", "bytes"] {
            assert!(unknown.contains(part), "{part} is not in {unknown}");
        }
        let unknown = words(r#"{"volumeID": "v", "size": 7}"#);
        assert!(unknown.contains("not known") && !unknown.contains("did you mean"), "{unknown}");
        assert!(words(r#"{"bytes": "7", "options": {}}"#).contains("bytes must be a number"));
    }
}
