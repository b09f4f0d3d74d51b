//! The members of an answer between JSON and the typed replies, and how an answer is written.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::capabilities::Capabilities;
use crate::reply::{Came, Code, Failed};
use crate::storage::{Created, Snapshot};

/// The members of an answer as read or to be written; `None` is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fields {
    /// The status word; `""` when absent.
    pub status: String,
    /// Why it failed; after gethealth, what is wrong.
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
    /// After createsnapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// After createvolume and createsnapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// After createvolume, expandvolume and createsnapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// After createvolume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, String>>,
    /// After createsnapshot: a time of RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// After createsnapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// After listvolumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<Created>>,
    /// After listsnapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<Vec<Snapshot>>,
    /// After listvolumes and listsnapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// After getcapacity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// After getcapacity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<u64>,
    /// After gethealth: a word of [`Condition`](crate::Condition).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
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

/// A reply together with what its Success says to people beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worded<R> {
    /// The reply.
    pub reply: R,
    /// The `message` as written; `None` when absent. Text of a driver: redact before showing it.
    pub message: Option<String>,
}

impl<R: Answer> Answer for Worded<R> {
    fn put(self, fields: &mut Fields) {
        fields.message = self.message;
        self.reply.put(fields);
    }

    fn take(fields: Fields) -> Result<Self, String> {
        let message = fields.message.clone();
        Ok(Self { reply: R::take(fields)?, message })
    }
}

pub(crate) const SUCCESS: &str = "Success";
pub(crate) const NOT_SUPPORTED: &str = "Not supported";
pub(crate) const IN_PROGRESS: &str = "In progress";
pub(crate) const FAILURE: &str = "Failure";

/// Renders an answer as one line of JSON, `status` first, without a line break at its end.
pub fn render_reply<R: Answer>(reply: Result<Came<R>, Failed>) -> String {
    render_reply_with(reply, None)
}

/// The same; a Success without a message of its own has these words for people.
pub fn render_reply_with<R: Answer>(reply: Result<Came<R>, Failed>, words: Option<String>) -> String {
    let mut fields = Fields::default();
    let status = match reply {
        Ok(Came::Done(answer)) => {
            answer.put(&mut fields);
            fields.message = fields.message.or(words);
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
    // Strings, numbers, lists and maps of strings always serialise; should that change, the answer is still one.
    serde_json::to_string(&fields).unwrap_or_else(|_| format!("{{\"status\":\"{FAILURE}\"}}"))
}
