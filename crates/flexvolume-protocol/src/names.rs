//! Names that become directories, as types that cannot hold a separator, `..`, NUL or nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::excerpt;

/// A driver's name, `vendor/name` or `name`: what a volume's `driver` field says, compared byte for byte.
///
/// The rule is Kubernetes' qualified name: an optional DNS-1123 subdomain (lower case, at most 253 bytes) and a slash,
/// then 1 to 63 of `A-Za-z0-9-_.` that begin and end with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DriverName(String);

/// A name, a path, an id or a time was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: {why}")]
pub struct NameError {
    /// What it should have been, for example `volume name`.
    pub kind: &'static str,
    /// The refused text, bounded and with control characters made visible.
    pub text: String,
    /// What is wrong with it, and what would be right.
    pub why: &'static str,
}

impl NameError {
    pub(crate) fn new(kind: &'static str, text: &str, why: &'static str) -> Self {
        Self { kind, text: excerpt(text, 80), why }
    }
}

impl DriverName {
    const KIND: &str = "driver name";

    /// Checks `name`.
    ///
    /// # Errors
    /// [`NameError`] when it breaks the rule above.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let wrong = |why| Err(NameError::new(Self::KIND, name, why));
        let (prefix, last) = match name.split_once('/') {
            Some((prefix, last)) => (Some(prefix), last),
            None => (None, name),
        };
        if let Some(prefix) = prefix
            && !is_subdomain(prefix)
        {
            return wrong("the vendor before the slash must be a DNS name in lower case (a-z, 0-9, `-`, `.`)");
        }
        if last.is_empty() || last.len() > 63 {
            return wrong("the name must have 1 to 63 characters");
        }
        if last.contains('/') {
            return wrong("there may be one slash, between vendor and name");
        }
        let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let ends = last.as_bytes();
        let framed = [ends.first(), ends.last()].into_iter().flatten().all(u8::is_ascii_alphanumeric);
        if !framed || !last.bytes().all(inside) {
            return wrong(
                "the name may hold A-Z, a-z, 0-9, `-`, `_` and `.`, and must begin and end with a letter or digit",
            );
        }
        Ok(Self(name.to_owned()))
    }

    /// The name that a driver directory such as `vendor~name` stands for.
    ///
    /// # Errors
    /// [`NameError`] when the directory stands for no legal driver name.
    pub fn from_dir(dir: &str) -> Result<Self, NameError> {
        if dir.contains('/') {
            return Err(NameError::new("driver directory", dir, "it must be one path component, such as vendor~name"));
        }
        Self::parse(&dir.replace('~', "/"))
    }

    /// The directory of this driver in the plugin directory and below a pod: `vendor~name`.
    pub fn dir(&self) -> String {
        self.0.replace('/', "~")
    }

    /// The file name of the executable: what follows the slash.
    pub fn executable(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The name as written, `vendor/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A DNS-1123 subdomain: labels of `a-z0-9-` that begin and end with a letter or digit, joined by dots, 253 bytes at most.
fn is_subdomain(text: &str) -> bool {
    let label = |label: &str| {
        let ends = label.as_bytes();
        let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        !label.is_empty()
            && [ends.first(), ends.last()].into_iter().flatten().all(edge)
            && ends.iter().all(|b| edge(b) || *b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// The rule of every name that is one path component.
fn component(kind: &'static str, text: &str) -> Result<String, NameError> {
    let wrong = |why| Err(NameError::new(kind, text, why));
    if text.is_empty() {
        return wrong("it is empty");
    }
    if text.len() > 253 {
        return wrong("it is longer than 253 characters");
    }
    if !text.as_bytes()[0].is_ascii_alphanumeric() {
        return wrong("it must begin with a letter or digit");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return wrong("it may hold only A-Z, a-z, 0-9, `.`, `_` and `-`");
    }
    if text.contains("..") {
        return wrong("it may not hold `..`");
    }
    Ok(text.to_owned())
}

macro_rules! name_traits {
    ($Name:ident) => {
        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $Name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }
        impl TryFrom<String> for $Name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }
        impl From<$Name> for String {
            fn from(name: $Name) -> String {
                name.0
            }
        }
        impl AsRef<str> for $Name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

pub(crate) use name_traits;

name_traits!(DriverName);

macro_rules! components {
    ($($(#[$doc:meta])* $Name:ident $kind:literal;)*) => { $(
        $(#[$doc])*
        ///
        /// One path component: it begins with a letter or digit, then `A-Za-z0-9._-`, at most 253, never `..`.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $Name(String);

        impl $Name {
            /// Checks `text`.
            ///
            /// # Errors
            /// [`NameError`] when it breaks the rule of the type.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                component($kind, text).map(Self)
            }

            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        name_traits!($Name);
    )* };
}

components! {
    /// Name of a persistent volume, or of an inline volume within its pod.
    VolumeName "volume name";
    /// Uid of a pod.
    PodUid "pod uid";
    /// Name of a pod.
    PodName "pod name";
    /// Namespace of a pod.
    Namespace "namespace";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOSTILE: &[&str] = &[
        "",
        " ",
        ".",
        "..",
        "...",
        "/",
        "//",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/..",
        "a/../b",
        "a/./b",
        "-a",
        "_a",
        "a\0",
        "\0",
        "a b",
        "a\n",
        "a\tb",
        "~",
        "~a",
        "a~",
        "a~b",
        "a\\b",
        "ä",
        "a\u{202e}b",
        "*",
        "$(x)",
        "a;b",
        "a:b",
        "%2e%2e",
        "a\u{2215}b",
        "．．",
    ];

    #[test]
    fn hostile_names_are_refused() {
        for text in HOSTILE {
            assert!(DriverName::parse(text).is_err(), "driver {text:?}");
            assert!(VolumeName::parse(text).is_err(), "volume {text:?}");
            assert!(PodUid::parse(text).is_err(), "uid {text:?}");
            assert!(PodName::parse(text).is_err(), "pod {text:?}");
            assert!(Namespace::parse(text).is_err(), "namespace {text:?}");
        }
        for text in ["a..b", "a/b", &"a".repeat(254)] {
            assert!(VolumeName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn driver_names_follow_the_qualified_name_rule() {
        for name in ["cifs", "foo/cifs", "k8s.example.com/LVM_2.0", "a-b/c", "1/2", "Cifs"] {
            assert_eq!(DriverName::parse(name).unwrap().as_str(), name);
        }
        let long = |n: usize| format!("a/{}", "b".repeat(n));
        assert!(DriverName::parse(&long(63)).is_ok());
        let subdomain = "a.".repeat(126) + "b";
        assert_eq!(subdomain.len(), 253);
        assert!(DriverName::parse(&format!("{subdomain}/x")).is_ok());
        let too_long = long(64);
        let too_long_vendor = format!("{subdomain}c/x");
        let bad = ["Foo/cifs", "a/b/c", "foo/", "/cifs", "foo/-x", "foo/x-", "foo./x", ".foo/x", "fo_o/x", "a..b/x"];
        for name in bad.into_iter().chain([too_long.as_str(), too_long_vendor.as_str()]) {
            assert!(DriverName::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_second_slash_is_named() {
        assert!(DriverName::parse("a/b/c").unwrap_err().why.contains("one slash"));
    }

    #[test]
    fn directory_and_executable() {
        let name = DriverName::from_dir("foo~cifs").unwrap();
        assert_eq!((name.as_str(), name.dir().as_str(), name.executable()), ("foo/cifs", "foo~cifs", "cifs"));
        let plain = DriverName::from_dir("cifs").unwrap();
        assert_eq!((plain.as_str(), plain.dir().as_str(), plain.executable()), ("cifs", "cifs", "cifs"));
        for dir in ["a~b~c", "foo/cifs", ".foo~x", "~cifs", "foo~", "..", ".", ""] {
            assert!(DriverName::from_dir(dir).is_err(), "{dir:?}");
        }
    }

    #[test]
    fn serde_checks_too() {
        assert!(serde_json::from_str::<VolumeName>("\"pv-1\"").is_ok());
        assert!(serde_json::from_str::<VolumeName>("\"../x\"").is_err());
        assert!(serde_json::from_str::<DriverName>("\"a/../b\"").is_err());
    }

    #[test]
    fn the_error_says_what_and_why() {
        let error = VolumeName::parse("a/\u{1b}b").unwrap_err().to_string();
        assert!(error.contains("is not a volume name: it may hold only"), "{error}");
        assert!(!error.contains('\u{1b}'));
        assert!(VolumeName::parse(&"ä".repeat(4000)).unwrap_err().to_string().len() < 400);
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_one_component(text in any::<String>()) {
            for accepted in [VolumeName::parse(&text).map(String::from), PodUid::parse(&text).map(String::from),
                DriverName::parse(&text).map(|d| d.dir()), DriverName::from_dir(&text).map(|d| d.executable().to_owned())]
                .into_iter().flatten()
            {
                let mut parts = std::path::Path::new(&accepted).components();
                prop_assert!(matches!(parts.next(), Some(std::path::Component::Normal(_))));
                prop_assert!(parts.next().is_none());
                prop_assert!(!accepted.contains('\0') && !accepted.contains('/'));
            }
        }

        #[test]
        fn directories_round_trip(name in "([a-z0-9]{1,9}(\\.[a-z]{1,3})?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?") {
            let parsed = DriverName::parse(&name).unwrap();
            prop_assert_eq!(DriverName::from_dir(&parsed.dir()).unwrap(), parsed);
        }
    }
}
