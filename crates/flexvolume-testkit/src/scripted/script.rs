//! What a scripted driver shall do and say, as values.

use std::time::Duration;

/// Which shell a script is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// `/bin/sh`.
    Sh,
    /// `/bin/bash`.
    Bash,
}

/// What to do and say in one call. In this order: run, sleep, hold, say, linger, exit.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub(super) run: Option<String>,
    pub(super) shell: Option<String>,
    pub(super) sleep: Option<Duration>,
    pub(super) hold: Option<Duration>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) linger: Option<Duration>,
    pub(super) exit: u8,
}

/// A driver in the making.
#[derive(Debug, Clone)]
pub struct Script {
    pub(super) shell: Shell,
    pub(super) verbs: Vec<(String, Vec<Answer>)>,
    pub(super) otherwise: Answer,
    pub(super) env: Vec<String>,
    pub(super) stdin: bool,
}

impl Answer {
    /// Says these bytes on stdout, exit 0.
    pub fn text(stdout: impl Into<Vec<u8>>) -> Answer {
        Answer { stdout: stdout.into(), ..Answer::default() }
    }

    /// `{"status":"Success"}`, exit 0.
    #[must_use]
    pub fn success() -> Answer {
        Answer::json(&serde_json::json!({"status": "Success"}))
    }

    /// `{"status":"Failure","message":…}`, exit 1.
    #[must_use]
    pub fn failure(message: &str) -> Answer {
        Answer::json(&serde_json::json!({"status": "Failure", "message": message})).exit(1)
    }

    /// `{"status":"Not supported"}`, exit 1.
    #[must_use]
    pub fn not_supported() -> Answer {
        Answer::json(&serde_json::json!({"status": "Not supported"})).exit(1)
    }

    /// Says this value on stdout, in one line, exit 0.
    #[must_use]
    pub fn json(value: &serde_json::Value) -> Answer {
        Answer::text(format!("{value}\n"))
    }

    /// Shell text that does and says all by itself, in place of everything else here; `$1` is the verb.
    pub fn shell(text: impl Into<String>) -> Answer {
        Answer { shell: Some(text.into()), ..Answer::default() }
    }

    /// Shell text to run first, for example `mount -t tmpfs none "$2"`. What it prints goes to a file beside the record
    /// ([`Scripted::printed`](super::Scripted::printed)); when its last command fails, the call answers Failure with exit 1 instead.
    #[must_use]
    pub fn run(mut self, text: impl Into<String>) -> Answer {
        self.run = Some(text.into());
        self
    }

    /// Sleeps before it answers.
    #[must_use]
    pub fn sleep(mut self, time: Duration) -> Answer {
        self.sleep = Some(time);
        self
    }

    /// Leaves a background child that holds both outputs open for this time: a daemon of a careless driver.
    #[must_use]
    pub fn hold(mut self, time: Duration) -> Answer {
        self.hold = Some(time);
        self
    }

    /// Says this on stderr as well, before stdout.
    #[must_use]
    pub fn stderr(mut self, text: impl Into<Vec<u8>>) -> Answer {
        self.stderr = text.into();
        self
    }

    /// Lives on for this time after its answer.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Answer {
        self.linger = Some(time);
        self
    }

    /// Exits with this code.
    #[must_use]
    pub fn exit(mut self, code: u8) -> Answer {
        self.exit = code;
        self
    }
}

impl Script {
    /// A script for `/bin/sh` that answers "Not supported" to everything.
    #[must_use]
    pub fn sh() -> Script {
        Script {
            shell: Shell::Sh,
            verbs: Vec::new(),
            otherwise: Answer::not_supported(),
            env: vec!["FLEXVOL_CALL".to_owned()],
            stdin: false,
        }
    }

    /// The same for `/bin/bash`.
    #[must_use]
    pub fn bash() -> Script {
        Script { shell: Shell::Bash, ..Script::sh() }
    }

    /// Answers this verb so, each time.
    #[must_use]
    pub fn on(self, verb: &str, answer: Answer) -> Script {
        self.on_each(verb, [answer])
    }

    /// Answers the first call of this verb so, the second so, …; the last one is for all that follow.
    #[must_use]
    pub fn on_each(mut self, verb: &str, answers: impl IntoIterator<Item = Answer>) -> Script {
        self.verbs.retain(|(name, _)| name != verb);
        self.verbs.push((verb.to_owned(), answers.into_iter().collect()));
        self
    }

    /// Answers every other verb so.
    #[must_use]
    pub fn otherwise(mut self, answer: Answer) -> Script {
        self.otherwise = answer;
        self
    }

    /// Records this variable of the environment too; `FLEXVOL_CALL` always is.
    #[must_use]
    pub fn records_env(mut self, name: &str) -> Script {
        self.env.push(name.to_owned());
        self
    }

    /// Reads all of stdin in every call and records it; otherwise stdin is not touched.
    #[must_use]
    pub fn records_stdin(mut self) -> Script {
        self.stdin = true;
        self
    }
}
