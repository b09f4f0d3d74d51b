//! What the engine tells its caller while it works: for a terminal, a log, or nobody.

use std::time::Duration;

/// One thing worth telling. Texts are redacted and bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A driver was called and is at work; that it has ended is told as [`Note::Called`].
    Calling {
        /// The volume's key, empty for `init`.
        volume: String,
        /// The driver.
        driver: String,
        /// The verb, as in argv.
        verb: &'static str,
    },
    /// A driver was called and answered.
    Called {
        /// The volume's key, empty for `init`.
        volume: String,
        /// The driver.
        driver: String,
        /// The verb, as in argv.
        verb: &'static str,
        /// How long it took.
        took: Duration,
        /// `Success`, `Not supported`, or why it failed.
        verdict: String,
    },
    /// A call has passed its *answer* limit and goes on.
    StillRunning {
        /// The volume's key.
        volume: String,
        /// The driver.
        driver: String,
        /// The verb.
        verb: &'static str,
        /// Process id of the driver.
        pid: u32,
        /// How long it has run.
        after: Duration,
    },
    /// Somebody else is at work on the volume, or a call of an interrupted run still lives; we wait.
    Waiting {
        /// The volume's key.
        volume: String,
        /// For whom.
        whom: String,
    },
    /// A call succeeded, and its driver says something about how.
    Said {
        /// The volume's key.
        volume: String,
        /// The driver.
        driver: String,
        /// The verb, as in argv.
        verb: &'static str,
        /// The driver's words.
        text: String,
    },
    /// How what was asked for stands now: nothing is wrong.
    News {
        /// What, for people.
        text: String,
        /// The same for programs.
        fields: Vec<(&'static str, String)>,
    },
    /// Something a person should know and may want to mend.
    Warning {
        /// The volume's key, empty if it is about none.
        volume: String,
        /// What.
        text: String,
    },
}

/// Where notes go.
pub type Notes<'a> = &'a (dyn Fn(Note) + Sync);
