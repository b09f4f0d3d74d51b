//! How a call comes out, and what a driver answers to the calls of Kubernetes, as types.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::capabilities::Capabilities;
use crate::extension::Extension;

/// How a call came out when it did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came<R> {
    /// "Success".
    Done(R),
    /// "Not supported": the host does what it does by default.
    NotSupported,
    /// "In progress": call again with the same arguments. Extension calls only.
    InProgress,
}

/// A driver says that the call failed. Text of a driver: redact before showing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What it says, may be empty.
    pub message: String,
    /// What kind of failure it was, if it says so.
    pub code: Option<Code>,
}

/// The kinds of failure a driver can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Code {
    /// The name is taken by something else.
    Conflict,
    /// There is no such thing.
    NotFound,
    /// No room is left.
    Exhausted,
    /// Something uses it.
    Busy,
    /// The arguments make no sense.
    Invalid,
    /// This driver cannot do that.
    Unsupported,
    /// It is not allowed.
    Permission,
}

/// What a driver can do, from `init`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitReply {
    /// Capabilities, with defaults for what was left out.
    pub capabilities: Capabilities,
    /// Extensions announced that this crate knows.
    pub extensions: BTreeSet<Extension>,
    /// Names announced that it does not know, in their order.
    pub unknown: Vec<String>,
}

/// Whether the volume is attached, from `isattached`; absent means it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attached(pub bool);

/// A name, from `getvolumename`; hosts ignore it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeNameReply(pub String);

impl<R> Came<R> {
    /// The same outcome with another value in it.
    pub fn map<S>(self, with: impl FnOnce(R) -> S) -> Came<S> {
        match self {
            Self::Done(reply) => Came::Done(with(reply)),
            Self::NotSupported => Came::NotSupported,
            Self::InProgress => Came::InProgress,
        }
    }
}

impl Failed {
    /// A failure with a message and no code.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None }
    }

    /// The same failure with a code.
    pub fn with_code(self, code: Code) -> Self {
        Self { code: Some(code), ..self }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.message.trim(), self.code) {
            ("", None) => f.write_str("it does not say why"),
            ("", Some(code)) => f.write_str(code.as_str()),
            (message, None) => f.write_str(&crate::text::excerpt(message, 2000)),
            (message, Some(code)) => write!(f, "{} ({})", crate::text::excerpt(message, 2000), code.as_str()),
        }
    }
}

impl std::error::Error for Failed {}

impl Code {
    /// Every code.
    pub const ALL: [Self; 7] = [
        Self::Conflict,
        Self::NotFound,
        Self::Exhausted,
        Self::Busy,
        Self::Invalid,
        Self::Unsupported,
        Self::Permission,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::NotFound => "notFound",
            Self::Exhausted => "exhausted",
            Self::Busy => "busy",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Permission => "permission",
        }
    }

    /// The code of that word, compared exactly.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == word)
    }
}
