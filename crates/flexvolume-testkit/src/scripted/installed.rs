//! A scripted driver in its place, and what a test asks it.

use std::io;
use std::path::{Path, PathBuf};

use super::calls::{self, Call};

/// A driver in its plugin directory.
#[derive(Debug, Clone)]
pub struct Scripted {
    pub(super) exe: PathBuf,
    pub(super) record: PathBuf,
    pub(super) env: Vec<String>,
}

impl Scripted {
    /// The script.
    #[must_use]
    pub fn exe(&self) -> &Path {
        &self.exe
    }

    /// Every call so far, in the order in which they began.
    ///
    /// # Errors
    /// The record cannot be read, or it is damaged.
    pub fn calls(&self) -> io::Result<Vec<Call>> {
        calls::read(&self.record, &self.env)
    }

    /// The verbs called so far.
    ///
    /// # Errors
    /// As [`Scripted::calls`].
    pub fn verbs(&self) -> io::Result<Vec<String>> {
        Ok(self.calls()?.iter().map(|call| call.verb().to_owned()).collect())
    }

    /// Forgets all calls, and with them how often each verb was called.
    ///
    /// # Errors
    /// The record cannot be removed.
    pub fn forget(&self) -> io::Result<()> {
        calls::forget(&self.record)
    }

    /// What [`Answer::run`](super::Answer::run) printed so far, for a person who looks for the reason of a failure.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn printed(&self) -> io::Result<String> {
        calls::printed(&self.record)
    }
}
