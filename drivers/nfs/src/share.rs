//! What one mount of the kernel's is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    options::{self, MountOption},
    server::{Below, Export, Server, source},
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

    fn from_str(text: &str) -> Result<Self, Self::Err> {
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

    fn try_from(text: String) -> Result<Self, Self::Error> {
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
    ) -> Result<(Self, bool), String> {
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

    pub(crate) fn mounter(&self) -> Mounter {
        if self.protocol == Protocol::V3 || self.wants_kerberos() { Mounter::Program } else { Mounter::Kernel }
    }

    pub(crate) fn wants_kerberos(&self) -> bool {
        self.sec.as_deref().is_some_and(|sec| sec.contains("krb5"))
    }

    pub(crate) fn wants_tls(&self) -> bool {
        self.option("xprtsec").is_some_and(|how| how != "none")
    }

    /// Whether the kernel gives up on a server that does not answer.
    pub(crate) fn is_soft(&self) -> bool {
        self.options.iter().any(|(name, _)| SOFT.contains(&name.as_str()))
    }

    /// The value of an option.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(theirs, _)| theirs == name).and_then(|(_, value)| value.as_deref())
    }
}

/// The same of a share in words.
pub(crate) fn is_soft(words: &str) -> bool {
    words.rsplit(' ').next().is_some_and(|options| options.split(',').any(|one| SOFT.contains(&one)))
}

/// With these the kernel gives up on a server, and answers for it with an error.
const SOFT: [&str; 2] = ["soft", "softerr"];

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
