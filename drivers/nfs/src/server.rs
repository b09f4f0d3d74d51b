//! A server's name and a path on it: what they may be, and how the kernel writes them.

use std::{
    fmt,
    net::IpAddr,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// The name or the address of a server, in small letters and without brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Server(String);

/// A directory that a server exports: absolute, without `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Export(String);

/// A directory beneath another: relative, only downwards, perhaps empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Below(String);

/// As long as a name of DNS may be.
const LONGEST_NAME: usize = 253;
/// As long as a path may be in the mount protocol (RFC 1813, MNTPATHLEN), less the NUL.
const LONGEST_PATH: usize = 1023;

impl FromStr for Server {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let is_name = !text.is_empty()
            && text.len() <= LONGEST_NAME
            && text.bytes().all(plain)
            && !text.starts_with(['-', '.'])
            && !text.contains("..");
        if !is_name {
            return Err("it must be the name or the address of a machine");
        }
        Ok(Self(text.trim_end_matches('.').to_ascii_lowercase()))
    }
}

impl Server {
    /// As it was given, for whoever resolves it.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

/// As it stands before the colon of a source.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(&self.0) }
    }
}

impl FromStr for Export {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with('/') {
            return Err("it must be an absolute path on the server");
        }
        downwards(text).map(|path| Self(format!("/{path}")))
    }
}

impl Export {
    /// The path.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Below {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        downwards(text.trim_start_matches('/')).map(Self)
    }
}

impl Below {
    /// The path, empty for the directory itself.
    pub(crate) fn path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The same for a record.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A name in this directory. It was checked.
    pub(crate) fn join(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}/{name}", self.0)) }
    }
}

/// The parts of a path, each a name, joined by single slashes.
fn downwards(text: &str) -> Result<String, &'static str> {
    if text.len() > LONGEST_PATH {
        return Err("it is longer than 1023 bytes");
    }
    if text.chars().any(char::is_control) {
        return Err("it holds a control character");
    }
    let mut parts = Vec::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str().unwrap_or_default()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err("it must not hold `..`"),
        }
    }
    Ok(parts.join("/"))
}

/// What the kernel shows as the source of a mount of this directory.
pub(crate) fn source(server: &Server, export: &Export, below: &Below) -> String {
    let path = PathBuf::from(export.as_str()).join(below.path());
    let path = path.to_string_lossy();
    // An empty last part leaves a slash.
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { &path };
    format!("{server}:{path}")
}

macro_rules! as_text {
    ($type:ident) => {
        impl TryFrom<String> for $type {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(it: $type) -> String {
                it.0
            }
        }
    };
}

as_text!(Server);
as_text!(Export);
as_text!(Below);

#[cfg(test)]
mod tests {
    use flexvolume_testkit::hostile;

    use super::*;

    #[test]
    fn a_server_has_one_spelling() {
        let name = |text: &str| text.parse::<Server>().map(|server| server.to_string());
        assert_eq!(name("NAS.Example.com."), Ok("nas.example.com".to_owned()));
        assert_eq!(name("10.0.0.5"), Ok("10.0.0.5".to_owned()));
        assert_eq!(name("[2001:DB8::1]"), Ok("[2001:db8::1]".to_owned()));
        assert_eq!(name("2001:db8:0:0::1"), name("[2001:db8::1]"));
        for bad in ["", "-s", "a b", "a:b", "a,b", "a/b", ".x", "a..b", "[nas]", "nas\n", "nas;x"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_go_down_only() {
        let export = |text: &str| text.parse::<Export>().map(|it| it.as_str().to_owned());
        assert_eq!(export("/srv//a/./b/"), Ok("/srv/a/b".to_owned()));
        assert_eq!(export("/"), Ok("/".to_owned()));
        for bad in ["", "srv", "/srv/../etc", "/a\nb"] {
            assert!(export(bad).is_err(), "{bad:?}");
        }
        let below = |text: &str| text.parse::<Below>().map(|it| it.as_str().to_owned());
        assert_eq!(below("/a//b/"), Ok("a/b".to_owned()));
        assert_eq!(below(""), Ok(String::new()));
        assert!(below("a/../../b").is_err() && below("..").is_err());
    }

    #[test]
    fn a_source_is_written_as_the_kernel_shows_it() {
        let of = |export: &str, below: &str| {
            source(&"nas".parse().unwrap(), &export.parse().unwrap(), &below.parse().unwrap())
        };
        assert_eq!(of("/srv", ""), "nas:/srv");
        assert_eq!(of("/srv", "a/b"), "nas:/srv/a/b");
        assert_eq!(of("/", ""), "nas:/");
        assert_eq!(of("/", "a"), "nas:/a");
    }

    #[test]
    fn no_text_of_hostile_symbols_leads_up_or_into_an_option() {
        for text in hostile::texts(4) {
            if let Ok(below) = text.parse::<Below>() {
                assert!(below.path().components().all(|part| matches!(part, Component::Normal(_))), "{text:?}");
            }
            if let Ok(server) = text.parse::<Server>() {
                assert!(!server.to_string().contains([',', '/', ' ', '\n']), "{text:?}");
            }
        }
    }
}
