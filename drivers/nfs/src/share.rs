//! What one mount of the kernel's is, and what a volume is of it.

use std::{fmt, str::FromStr};

use flexvolume::{Code, Failure, ONLY_READER, Options, OptionsExt, Result, World};
use serde::{Deserialize, Serialize};

use crate::{
    digest::digest,
    options::{self, MountOption},
    server::{Below, Export, Server, source},
    settings::Settings,
};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Protocol {
    /// NFS 4.2, RFC 7862.
    #[default]
    V4_2,
    /// NFS 4.1, RFC 8881.
    V4_1,
    /// NFS 4.0, RFC 7530.
    V4_0,
    /// NFS 3, RFC 1813.
    V3,
}

/// A server, a directory that it exports, and how it is reached: volumes that agree in all of it share one mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) server: Server,
    pub(crate) export: Export,
    pub(crate) protocol: Protocol,
    /// Security flavours; `None` leaves it to the server.
    pub(crate) sec: Option<String>,
    /// In order, each once.
    pub(crate) options: Vec<MountOption>,
}

/// A directory of a share, as a pod is to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) share: Share,
    pub(crate) subdir: Below,
    pub(crate) read_only: bool,
}

/// Who mounts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mounter {
    /// The kernel, by a system call of ours.
    Kernel,
    /// The program mount.nfs: it speaks with the port mapper, the mount protocol and the lock manager.
    Program,
}

impl FromStr for Protocol {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text {
            "4.2" => Ok(Self::V4_2),
            "4.1" => Ok(Self::V4_1),
            "4" | "4.0" => Ok(Self::V4_0),
            "3" => Ok(Self::V3),
            _ => Err("it must be 4.2, 4.1, 4 or 3"),
        }
    }
}

impl TryFrom<String> for Protocol {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> Self {
        protocol.vers().to_owned()
    }
}

impl Protocol {
    /// The value of the kernel's option `vers`.
    pub(crate) fn vers(self) -> &'static str {
        match self {
            Self::V4_2 => "4.2",
            Self::V4_1 => "4.1",
            Self::V4_0 => "4.0",
            Self::V3 => "3",
        }
    }
}

impl Share {
    /// What the words of a volume or of the settings make of it; whether they say read-only too.
    ///
    /// # Errors
    /// Why they make no sense.
    pub(crate) fn of(
        server: Server,
        export: Export,
        protocol: Protocol,
        mount_options: &str,
        sec: Option<&str>,
        xprtsec: Option<&str>,
    ) -> std::result::Result<(Self, bool), String> {
        let words = match xprtsec {
            Some(word) => format!("{mount_options},xprtsec={word}"),
            None => mount_options.to_owned(),
        };
        let given = options::read(&words)?;
        let sec = match (sec.map(options::flavour).transpose()?, given.sec) {
            (Some(one), Some(other)) if one != other => {
                return Err(format!("sec is both {one} and {other}; give it once"));
            }
            (Some(sec), _) | (None, Some(sec)) => Some(sec),
            (None, None) => None,
        };
        Ok((Self { server, export, protocol, sec, options: given.options }, given.read_only))
    }

    /// What the kernel shows as its source.
    pub(crate) fn source(&self) -> String {
        source(&self.server, &self.export, &Below::default())
    }

    /// A short name that can be a file's.
    pub(crate) fn short(&self) -> String {
        digest(self.to_string().as_bytes())
    }

    pub(crate) fn mounter(&self) -> Mounter {
        let kerberos = self.sec.as_deref().is_some_and(|sec| sec.contains("krb5"));
        if self.protocol == Protocol::V3 || kerberos { Mounter::Program } else { Mounter::Kernel }
    }

    /// The value of an option.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(theirs, _)| theirs == name).and_then(|(_, value)| value.as_deref())
    }
}

/// All that tells one share from another, in words.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} vers={}", self.source(), self.protocol.vers())?;
        if let Some(sec) = &self.sec {
            write!(f, ",sec={sec}")?;
        }
        for (name, value) in &self.options {
            match value {
                Some(value) => write!(f, ",{name}={value}")?,
                None => write!(f, ",{name}")?,
            }
        }
        Ok(())
    }
}

impl Volume {
    /// As a call's options say, if the settings allow its server.
    ///
    /// # Errors
    /// `invalid` options; `permission`: a server that is not among those allowed.
    pub(crate) fn of(options: &Options, world: &World) -> Result<Self> {
        let volume = Self::read(options)?;
        Settings::read(world)?.allow(&volume.share.server, world)?;
        Ok(volume)
    }

    fn read(options: &Options) -> Result<Self> {
        let given = |key: &str| options.get(key).filter(|text| !text.is_empty());
        let (share, ro) = Share::of(
            options.required("server")?,
            options.required("share")?,
            options.optional("protocol")?.unwrap_or_default(),
            options.get("mountOptions").unwrap_or_default(),
            given("sec"),
            given("xprtsec"),
        )
        .map_err(|why| Failure::new(Code::Invalid, why))?;
        let read_only = ro || options.flag("readonly")? || options.read_only() || options.get(ONLY_READER).is_some();
        Ok(Self { share, subdir: options.optional("subdir")?.unwrap_or_default(), read_only })
    }

    /// What the kernel shows as its source.
    pub(crate) fn source(&self) -> String {
        source(&self.share.server, &self.share.export, &self.subdir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(json: &str) -> Result<Volume> {
        Volume::read(&Options::parse(json).unwrap())
    }

    #[test]
    fn volumes_that_mean_the_same_mount_share_one() {
        let one = volume(r#"{"server":"NAS","share":"/srv/","mountOptions":"soft,timeo=50","subdir":"a"}"#).unwrap();
        let other = volume(
            r#"{"server":"nas.","share":"/srv","mountOptions":"timeo=50,soft,ro","protocol":"4.2","subdir":"/b/c"}"#,
        )
        .unwrap();
        assert_eq!(one.share, other.share);
        assert_eq!(one.share.short(), other.share.short());
        assert_eq!(one.share.to_string(), "nas:/srv vers=4.2,soft,timeo=50");
        assert_eq!((one.source(), other.source()), ("nas:/srv/a".to_owned(), "nas:/srv/b/c".to_owned()));
        assert!(!one.read_only && other.read_only, "of what a pod sees, not of the share");
        for different in [
            r#"{"server":"nas","share":"/srv","mountOptions":"soft,timeo=51"}"#,
            r#"{"server":"nas","share":"/srv","mountOptions":"soft,timeo=50","protocol":"4.1"}"#,
            r#"{"server":"nas","share":"/srv","mountOptions":"soft,timeo=50","sec":"krb5"}"#,
            r#"{"server":"nas","share":"/srv/x","mountOptions":"soft,timeo=50"}"#,
        ] {
            assert_ne!(volume(different).unwrap().share.short(), one.share.short(), "{different}");
        }
    }

    #[test]
    fn who_mounts_it() {
        let of = |more: &str| volume(&format!(r#"{{"server":"nas","share":"/srv"{more}}}"#)).unwrap().share.mounter();
        assert_eq!(of(""), Mounter::Kernel);
        assert_eq!(of(r#","protocol":"4","sec":"sys","xprtsec":"tls""#), Mounter::Kernel);
        assert_eq!(of(r#","protocol":"3""#), Mounter::Program);
        assert_eq!(of(r#","sec":"krb5p""#), Mounter::Program);
        assert_eq!(of(r#","mountOptions":"sec=krb5""#), Mounter::Program);
    }

    #[test]
    fn what_makes_no_sense_is_invalid_and_names_its_option() {
        for (bad, word) in [
            ("{}", "\"server\""),
            (r#"{"server":"nas"}"#, "\"share\""),
            (r#"{"server":"n,x","share":"/srv"}"#, "\"server\""),
            (r#"{"server":"nas","share":"srv"}"#, "\"share\""),
            (r#"{"server":"nas","share":"/srv","subdir":"../x"}"#, "\"subdir\""),
            (r#"{"server":"nas","share":"/srv","protocol":"5"}"#, "\"protocol\""),
            (r#"{"server":"nas","share":"/srv","readonly":"yes"}"#, "\"readonly\""),
            (r#"{"server":"nas","share":"/srv","mountOptions":"suid"}"#, "suid"),
            (r#"{"server":"nas","share":"/srv","sec":"krb5","mountOptions":"sec=sys"}"#, "sec"),
        ] {
            let failure = volume(bad).unwrap_err();
            assert!(failure.code() == Some(Code::Invalid) && failure.to_string().contains(word), "{bad}: {failure}");
        }
        let read = |more: &str| volume(&format!(r#"{{"server":"nas","share":"/srv"{more}}}"#)).unwrap().read_only;
        assert!(read(r#","readonly":"true""#) && read(r#","kubernetes.io/readwrite":"ro""#) && !read(""));
    }
}
