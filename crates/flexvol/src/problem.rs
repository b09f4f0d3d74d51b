//! Errors as people read them: `error:`, `caused by:`, `hint:`; and the exit code they make.

use std::{error::Error as _, process::ExitCode};

use flexvolume_host::{Error, Kind};

use tracing::Level;

use crate::{
    line::Line,
    manifest::ManifestError,
    speak::{self, COMMAND},
};

/// Bad usage or a bad manifest.
pub(crate) const USAGE: u8 = 2;

/// What went wrong in one run; never empty.
#[derive(Debug)]
pub(crate) struct Problems(Vec<Problem>);

/// One thing that went wrong.
#[derive(Debug)]
struct Problem {
    code: u8,
    what: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Problems {
    /// What was asked for cannot be understood.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self(vec![Problem { code: USAGE, what: what.into(), causes: Vec::new(), hint: Some(hint.into()) }])
    }

    /// Results that could not be written.
    pub(crate) fn lost(error: &std::io::Error) -> Self {
        Error::new(Kind::System, "cannot write the results to standard output").because(error.to_string()).into()
    }

    /// A command line that clap refused, in its own words: what is wrong, then what to do.
    pub(crate) fn refused(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let (what, rest) = text.trim().split_once("\n\n").unwrap_or((text.trim(), ""));
        let what: Vec<_> = what.trim_start_matches("error: ").split_whitespace().collect();
        let hint: Vec<_> = rest.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Self::usage(what.join(" "), hint.join("\n"))
    }

    /// A signal asked us to end before all was done.
    pub(crate) fn asked(signal: i32) -> Self {
        let name = if signal == 2 { "SIGINT" } else { "SIGTERM" };
        let code = u8::try_from(128 + signal).unwrap_or(1);
        let what = format!("ended by {name} before all was done");
        let hint =
            "what was begun, if anything, goes on by itself and is recorded: run the same command again".to_owned();
        Self(vec![Problem { code, what, causes: Vec::new(), hint: Some(hint) }])
    }

    /// What there is to say was said; only the exit code is left.
    pub(crate) fn told(code: u8) -> Self {
        Self(vec![Problem { code, what: String::new(), causes: Vec::new(), hint: None }])
    }

    /// The errors of several things done, or nothing if there were none.
    pub(crate) fn gather(errors: Vec<Problems>) -> Result<(), Self> {
        let all: Vec<_> = errors.into_iter().flat_map(|problems| problems.0).collect();
        if all.is_empty() { Ok(()) } else { Err(Self(all)) }
    }

    /// Says before each what it is about.
    pub(crate) fn about(mut self, subject: &str) -> Self {
        for problem in &mut self.0 {
            problem.what = format!("{subject}: {}", problem.what);
        }
        self
    }

    /// With another exit code.
    pub(crate) fn code(mut self, code: u8) -> Self {
        for problem in &mut self.0 {
            problem.code = code;
        }
        self
    }

    /// Prints all and gives the exit code: that of the first.
    pub(crate) fn tell(&self) -> ExitCode {
        for problem in self.0.iter().filter(|problem| !problem.what.is_empty()) {
            speak::either(&problem.text(), || problem.line());
        }
        ExitCode::from(self.0.first().map_or(1, |problem| problem.code))
    }
}

impl Problem {
    fn text(&self) -> String {
        let mut text = format!("\x1b[1;31merror:\x1b[0m {}", self.what);
        for cause in &self.causes {
            text.push_str(&format!("\n  \x1b[1mcaused by:\x1b[0m {cause}"));
        }
        for hint in self.hint.iter().flat_map(|hint| hint.lines()) {
            text.push_str(&format!("\n  \x1b[1;36mhint:\x1b[0m {hint}"));
        }
        text
    }

    /// The whole story as the message, its parts as fields.
    fn line(&self) -> Line {
        let story: Vec<&str> = std::iter::once(&self.what).chain(&self.causes).map(String::as_str).collect();
        Line::new(Level::ERROR, COMMAND, story.join(": "))
            .with("error", self.what.as_str())
            .with("causedBy", self.causes.clone())
            .with_some("hint", self.hint.as_deref())
            .with("exitCode", self.code)
    }
}

impl From<Error> for Problems {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::Driver | Kind::System => 1,
            Kind::Invalid => USAGE,
            Kind::NotFound => 3,
            Kind::Refused => 4,
            Kind::Busy | Kind::Stuck => 5,
            Kind::Ledger => 6,
        };
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Self(vec![Problem { code, what: error.to_string(), causes, hint: error.next().map(str::to_owned) }])
    }
}

impl From<flexvolume_linux::Error> for Problems {
    fn from(error: flexvolume_linux::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<ManifestError> for Problems {
    fn from(error: ManifestError) -> Self {
        vec![error].into()
    }
}

impl From<Vec<ManifestError>> for Problems {
    fn from(errors: Vec<ManifestError>) -> Self {
        Self(
            errors
                .into_iter()
                .map(|error| Problem { code: USAGE, what: error.to_string(), causes: Vec::new(), hint: error.hint })
                .collect(),
        )
    }
}
