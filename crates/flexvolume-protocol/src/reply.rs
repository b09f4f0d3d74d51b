//! What a driver can answer, as types, and how a driver renders it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::capabilities::Capabilities;
use crate::extension::Extension;
use crate::wire::Device;

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

/// The members of an answer as read or to be written; `None` is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fields {
    /// The status word; `""` when absent.
    pub status: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What kind of failure it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// After attach and waitforattach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// After getvolumename.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// After isattached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached: Option<bool>,
    /// After init.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// After init: the extensions announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Vec<String>>,
    /// After createvolume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// After createvolume and expandvolume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// After createvolume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, String>>,
    /// Members of extensions that have the wrong type, with what is wrong. To Kubernetes they are unknown and so no
    /// fault; the reply that needs one refuses it.
    #[serde(skip)]
    pub wrong: BTreeMap<&'static str, String>,
}

/// What a Success of some call says beyond status and message.
pub trait Answer: Sized {
    /// Writes it into the members of an answer.
    fn put(self, fields: &mut Fields);
    /// Takes it from the members of a Success.
    ///
    /// # Errors
    /// Says in words which member is missing or wrong.
    fn take(fields: Fields) -> Result<Self, String>;
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

/// What `expandvolume` came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The size now, in bytes, if the driver says.
    pub bytes: Option<u64>,
}

/// What `createvolume` made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// How the driver finds the volume again: 1 to 128 bytes, no slash at either end.
    pub id: String,
    /// Its size in bytes, if the driver says.
    pub bytes: Option<u64>,
    /// What is handed back in the options of every later call.
    pub options: BTreeMap<String, String>,
}

pub(crate) const SUCCESS: &str = "Success";
pub(crate) const NOT_SUPPORTED: &str = "Not supported";
pub(crate) const IN_PROGRESS: &str = "In progress";
pub(crate) const FAILURE: &str = "Failure";

/// Renders an answer as one line of JSON, `status` first, without a line break at its end.
pub fn render_reply<R: Answer>(reply: Result<Came<R>, Failed>) -> String {
    let mut fields = Fields::default();
    let status = match reply {
        Ok(Came::Done(answer)) => {
            answer.put(&mut fields);
            SUCCESS
        }
        Ok(Came::NotSupported) => NOT_SUPPORTED,
        Ok(Came::InProgress) => IN_PROGRESS,
        Err(failed) => {
            fields.message = Some(failed.message);
            fields.code = failed.code;
            FAILURE
        }
    };
    fields.status = status.to_owned();
    // Strings, numbers and maps of strings always serialise; should that change, the answer is still one.
    serde_json::to_string(&fields).unwrap_or_else(|_| format!("{{\"status\":\"{FAILURE}\"}}"))
}

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

impl Answer for () {
    fn put(self, _: &mut Fields) {}
    fn take(_: Fields) -> Result<Self, String> {
        Ok(())
    }
}

impl Answer for Device {
    fn put(self, fields: &mut Fields) {
        fields.device = Some(self.0);
    }
    fn take(fields: Fields) -> Result<Self, String> {
        Ok(Self(fields.device.unwrap_or_default()))
    }
}

impl Answer for Attached {
    fn put(self, fields: &mut Fields) {
        fields.attached = Some(self.0);
    }
    fn take(fields: Fields) -> Result<Self, String> {
        Ok(Self(fields.attached.unwrap_or_default()))
    }
}

impl Answer for VolumeNameReply {
    fn put(self, fields: &mut Fields) {
        fields.volume_name = Some(self.0);
    }
    fn take(fields: Fields) -> Result<Self, String> {
        Ok(Self(fields.volume_name.unwrap_or_default()))
    }
}

impl Answer for InitReply {
    fn put(self, fields: &mut Fields) {
        fields.capabilities = Some(self.capabilities);
        let known = self.extensions.iter().map(|extension| extension.as_str().to_owned());
        let names: Vec<String> = known.chain(self.unknown).collect();
        fields.extensions = Some(names).filter(|names| !names.is_empty());
    }
    fn take(fields: Fields) -> Result<Self, String> {
        let mut reply = Self { capabilities: fields.capabilities.unwrap_or_default(), ..Self::default() };
        for name in fields.extensions.unwrap_or_default() {
            match Extension::parse(&name) {
                Some(extension) => drop(reply.extensions.insert(extension)),
                None => reply.unknown.push(name),
            }
        }
        Ok(reply)
    }
}

impl Answer for Expanded {
    fn put(self, fields: &mut Fields) {
        fields.bytes = self.bytes;
    }
    fn take(mut fields: Fields) -> Result<Self, String> {
        match fields.wrong.remove("bytes") {
            Some(why) => Err(why),
            None => Ok(Self { bytes: fields.bytes }),
        }
    }
}

impl Answer for Created {
    fn put(self, fields: &mut Fields) {
        fields.id = Some(self.id);
        fields.bytes = self.bytes;
        fields.options = Some(self.options).filter(|options| !options.is_empty());
    }
    fn take(mut fields: Fields) -> Result<Self, String> {
        if let Some(why) = ["id", "bytes", "options"].into_iter().find_map(|field| fields.wrong.remove(field)) {
            return Err(why);
        }
        let id = fields.id.unwrap_or_default();
        if id.is_empty() || id.len() > 128 || id.starts_with('/') || id.ends_with('/') || id.contains('\0') {
            return Err("`id` must have 1 to 128 bytes, no NUL and no slash at either end".to_owned());
        }
        Ok(Self { id, bytes: fields.bytes, options: fields.options.unwrap_or_default() })
    }
}
