//! The id by which a driver finds a volume or a snapshot again; everything that goes by id has this one type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{NameError, name_traits};

/// What a driver calls a volume or a snapshot of its own: opaque to everybody else.
///
/// 1 to 128 bytes, no NUL, and no slash at either end; slashes within are the driver's own affair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

const WHY: &str = "it must have 1 to 128 bytes, no NUL and no slash at either end";

impl Id {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`NameError`] when it breaks the rule of the type.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > 128 || text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
            return Err(NameError::new("volume's or snapshot's id", text, WHY));
        }
        Ok(Self(text.to_owned()))
    }

    /// The id as the driver wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

name_traits!(Id);
