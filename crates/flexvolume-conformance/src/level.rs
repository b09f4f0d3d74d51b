//! Who has to be content, and how much a check matters.

use serde::Serialize;

/// Who has to be content with a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Kubernetes: the contract alone.
    Kubernetes,
    /// flexvol: the extensions that the driver announces as well.
    Flexvol,
}

/// How much a check matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Who fails it is not fit.
    Must,
    /// Who fails it will make trouble some day.
    Should,
    /// Good to know.
    Note,
}

impl Level {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Flexvol => "flexvol",
        }
    }
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::Note => "note",
        }
    }
}
