//! Secrets as a type of their own: never printed, never stored, zeroed when dropped.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// The raw bytes of one secret value. It has no `Debug` and no `Serialize`, and is zeroed on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the raw (decoded) bytes. Copies made before this call are the caller's to wipe.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves; for the moment of a call only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// The secrets of one volume by key, without the prefix they carry on the wire.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    /// Adds or replaces one secret; the one replaced is given back.
    pub fn insert(&mut self, key: impl Into<String>, secret: Secret) -> Option<Secret> {
        self.0.insert(key.into(), secret)
    }

    /// The secret of that key.
    pub fn get(&self, key: &str) -> Option<&Secret> {
        self.0.get(key)
    }

    /// All secrets in byte order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(key, secret)| (key.as_str(), secret))
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<(String, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}
