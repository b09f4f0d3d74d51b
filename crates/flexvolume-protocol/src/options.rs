//! The flat JSON object of options: what host, pod and user say, put together, rendered and read back.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::json;
use crate::keys;
use crate::secret::{Secret, Secrets};
use crate::text::excerpt;

/// The options a user wrote into a volume; no key lies in a namespace that belongs to Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct UserOptions(BTreeMap<String, String>);

/// A user's option has a key in a reserved namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the option key {:?} is reserved: keys below kubernetes.io and k8s.io are written by the host alone; rename it", excerpt(.key, 80))]
pub struct ReservedKey {
    /// The key as written.
    pub key: String,
}

/// What the host says in every call that has options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostKeys {
    /// File system type of the source, `""` when unset.
    pub fs_type: String,
    /// Whether the source is read-only.
    pub read_only: bool,
    /// Name of the persistent volume, or of the pod's inline volume.
    pub name: String,
}

/// What the host says about the pod, in `mount` only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodKeys {
    /// Name of the pod.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its service account.
    pub service_account: String,
    /// The group the volume shall belong to, if the pod asks for one.
    pub fs_group: Option<u32>,
}

/// All options of one call: plain ones, and secrets apart. `Debug` shows how many secrets there are, never what.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options {
    plain: BTreeMap<String, String>,
    secrets: Secrets,
}

/// The JSON of options was refused. No variant carries a value, since it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// It is no JSON.
    #[error("the options are no JSON: {why}; they must be one flat object of strings")]
    NotJson {
        /// What is wrong, and where.
        why: String,
    },
    /// It is JSON, but no object.
    #[error("the options are {found}; they must be one flat object of strings")]
    NotAnObject {
        /// What they are instead.
        found: &'static str,
    },
    /// A value is no string.
    #[error("the option {:?} is {found}; every value must be a string, write it in quotes", excerpt(.key, 80))]
    NotAString {
        /// The key of that value.
        key: String,
        /// What it is instead.
        found: &'static str,
    },
    /// A secret is no base64.
    #[error("the secret {:?} is no standard padded base64; encode its raw bytes", excerpt(.key, 80))]
    NotBase64 {
        /// The key of the secret, with its prefix.
        key: String,
    },
}

impl UserOptions {
    /// Checks every key by Kubernetes' rule: what stands before the first slash (the whole key if there is none), in any
    /// letter case, may be neither `kubernetes.io` nor `k8s.io` nor a name below them.
    ///
    /// # Errors
    /// [`ReservedKey`] with the first key that is reserved.
    pub fn parse(options: BTreeMap<String, String>) -> Result<Self, ReservedKey> {
        match options.keys().find(|key| is_reserved(key)) {
            Some(key) => Err(ReservedKey { key: key.clone() }),
            None => Ok(Self(options)),
        }
    }

    /// Whether that key is the host's alone, by the same rule.
    pub fn is_reserved(key: &str) -> bool {
        is_reserved(key)
    }

    /// The options in byte order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of that key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

impl TryFrom<BTreeMap<String, String>> for UserOptions {
    type Error = ReservedKey;
    fn try_from(options: BTreeMap<String, String>) -> Result<Self, ReservedKey> {
        Self::parse(options)
    }
}

impl From<UserOptions> for BTreeMap<String, String> {
    fn from(options: UserOptions) -> Self {
        options.0
    }
}

fn is_reserved(key: &str) -> bool {
    let namespace = format!(".{}", key.split('/').next().unwrap_or(key).to_lowercase());
    namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io")
}

impl Options {
    /// Host keys, then those of the pod if given, then the user's, which cannot collide with them. The pod's group is
    /// written under both of its spellings, because each is read by some drivers.
    pub fn compose(host: &HostKeys, pod: Option<&PodKeys>, user: &UserOptions) -> Self {
        let mut plain = user.0.clone();
        let mut put = |key: &str, value: &str| plain.insert(key.to_owned(), value.to_owned());
        put(keys::FS_TYPE, &host.fs_type);
        put(keys::READ_WRITE, if host.read_only { "ro" } else { "rw" });
        put(keys::PV_OR_VOLUME_NAME, &host.name);
        if let Some(pod) = pod {
            put(keys::POD_NAME, &pod.name);
            put(keys::POD_NAMESPACE, &pod.namespace);
            put(keys::POD_UID, &pod.uid);
            put(keys::SERVICE_ACCOUNT, &pod.service_account);
            if let Some(group) = pod.fs_group {
                put(keys::FS_GROUP, &group.to_string());
                put(keys::FS_GROUP_ARGS, &group.to_string());
            }
        }
        Self { plain, secrets: Secrets::default() }
    }

    /// The same options with these secrets in place of those it had. Kubernetes hands secrets to `mount` only.
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// The secrets, by key without prefix.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The value of a plain option. Secrets are not found here.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.plain.get(key).map(String::as_str)
    }

    /// Sets one option. A key below `kubernetes.io/secret/` becomes a secret whose raw bytes are `value`.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match key.strip_prefix(keys::SECRET_PREFIX) {
            Some(name) => drop(self.secrets.insert(name, Secret::new(value.into_bytes()))),
            None => drop(self.plain.insert(key, value)),
        }
    }

    /// The plain options in byte order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.plain.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// File system type asked for, `""` when unset.
    pub fn fs_type(&self) -> &str {
        self.get(keys::FS_TYPE).unwrap_or_default()
    }

    /// True when the host says `ro`.
    pub fn read_only(&self) -> bool {
        self.get(keys::READ_WRITE) == Some("ro")
    }

    /// Name of the persistent or inline volume, `""` when a host does not say.
    pub fn volume_name(&self) -> &str {
        self.get(keys::PV_OR_VOLUME_NAME).unwrap_or_default()
    }

    /// The group the volume shall belong to, under whichever spelling it comes.
    pub fn fs_group(&self) -> Option<u32> {
        [keys::FS_GROUP_ARGS, keys::FS_GROUP].into_iter().find_map(|key| self.get(key)?.parse().ok())
    }

    /// Name of the pod, in `mount`.
    pub fn pod_name(&self) -> Option<&str> {
        self.get(keys::POD_NAME)
    }

    /// Namespace of the pod, in `mount`.
    pub fn pod_namespace(&self) -> Option<&str> {
        self.get(keys::POD_NAMESPACE)
    }

    /// Uid of the pod, in `mount`.
    pub fn pod_uid(&self) -> Option<&str> {
        self.get(keys::POD_UID)
    }

    /// Service account of the pod, in `mount`.
    pub fn service_account(&self) -> Option<&str> {
        self.get(keys::SERVICE_ACCOUNT)
    }

    /// The JSON as Kubernetes writes it, byte for byte: one flat object, keys in byte order, no blanks, Go's escapes
    /// (those of Go 1.22 and later, where U+0008 and U+000C are short), secrets joined in as base64.
    pub fn render(&self) -> Zeroizing<String> {
        let mut secrets: Vec<(String, Zeroizing<String>)> = Vec::with_capacity(self.secrets.len());
        for (key, secret) in self.secrets.iter() {
            let encoded = Zeroizing::new(STANDARD.encode(secret.expose()));
            secrets.push((format!("{}{key}", keys::SECRET_PREFIX), encoded));
        }
        let mut all: Vec<(&str, &str)> = self.iter().collect();
        all.extend(secrets.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        all.sort_unstable();
        // Room for the longest escape of every byte: a growing string would leave copies of secrets behind.
        let room = all.iter().map(|(key, value)| 6 * (key.len() + value.len()) + 6).sum::<usize>() + 2;
        let mut out = Zeroizing::new(String::with_capacity(room));
        out.push('{');
        for (index, (key, value)) in all.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            json::push_string(&mut out, key);
            out.push(':');
            json::push_string(&mut out, value);
        }
        out.push('}');
        out
    }

    /// Reads options from JSON: one flat object, string to string; the last of several equal keys counts. Secrets are
    /// decoded and split off.
    ///
    /// # Errors
    /// [`OptionsError`] names the key that is wrong, and never shows a value.
    pub fn parse(text: &str) -> Result<Self, OptionsError> {
        let value = json::only_value(text.as_bytes())
            .map_err(|broken| OptionsError::NotJson { why: broken.describe(text.len()) })?;
        let members = json::members(value).ok_or(OptionsError::NotAnObject { found: json::kind(value) })?;
        let mut options = Self::default();
        for (key, raw) in members {
            let Some(value) = json::string(raw).map(Zeroizing::new) else {
                return Err(OptionsError::NotAString { key, found: json::kind(raw) });
            };
            match key.strip_prefix(keys::SECRET_PREFIX) {
                Some(name) => match STANDARD.decode(value.as_bytes()) {
                    Ok(bytes) => drop(options.secrets.insert(name, Secret::new(bytes))),
                    Err(_) => return Err(OptionsError::NotBase64 { key }),
                },
                None => drop(options.plain.insert(key, value.to_string())),
            }
        }
        Ok(options)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("plain", &self.plain).field("secrets", &self.secrets.len()).finish()
    }
}
