//! A call as it is shown to people and programs.

use std::fmt;

use serde::Serialize;

/// A call as it is shown: secrets are taken out and texts are bounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// What followed the executable.
    pub argv: Vec<String>,
    /// What came on standard input, if anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// What it said.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
    /// How it ended, in words.
    pub ended: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// How long a verb took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Time {
    /// The verb.
    pub verb: String,
    /// How often it was called.
    pub calls: usize,
    /// The median of these, in milliseconds.
    pub median_ms: u64,
    /// The longest of these, in milliseconds.
    pub longest_ms: u64,
}

impl Call {
    /// What was called and how it ended, in one line.
    pub fn line(&self) -> String {
        format!("{} ({}, {} ms)", typed(&self.argv), self.ended, self.ms)
    }
}

/// Words as a person types them in a shell.
pub(crate) fn typed<S: AsRef<str>>(words: &[S]) -> String {
    let quoted = |word: &S| {
        let word = word.as_ref();
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:@".contains(c)) && !word.is_empty();
        if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "         call:   {}", self.line())?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n         {name}: {}", text.trim_end())?;
            }
        }
        Ok(())
    }
}
