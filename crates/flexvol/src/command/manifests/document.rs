//! One object as it is printed: with what people should know of it above.

use serde::Serialize;
use serde_json::Value;

/// One object for Kubernetes, as it is printed.
pub(super) struct Document {
    /// What people should know of it, a line each.
    pub(super) comment: Vec<String>,
    /// For `-o yaml`, which is the default.
    pub(super) yaml: String,
    /// For `-o json`.
    pub(super) json: Value,
}

impl Document {
    pub(super) fn new(object: &impl Serialize, comment: &[&str]) -> Self {
        // Objects of text, numbers and lists can be written.
        let yaml = serde_saphyr::to_string(object).unwrap_or_else(|error| unreachable!("{error}"));
        let json = serde_json::to_value(object).unwrap_or_else(|error| unreachable!("{error}"));
        Self { comment: comment.iter().map(|line| (*line).to_owned()).collect(), yaml, json }
    }

    pub(super) fn text(&self) -> String {
        let comment: String = self.comment.iter().map(|line| format!("# {line}\n")).collect();
        format!("---\n{comment}{}", self.yaml.trim_end())
    }
}
