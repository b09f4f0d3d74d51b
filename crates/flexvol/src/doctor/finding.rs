//! One finding: what was seen, what it means, and what mends it.

use std::path::Path;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is to be done unless you want it otherwise.
    Note,
    /// It works here and now, and will not in some case that can be named.
    Warning,
    /// It does not work.
    Problem,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Group {
    Settings,
    Plugins,
    Drivers,
    Kernel,
    Mounts,
    Root,
    Volumes,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    pub(crate) group: Group,
    pub(crate) severity: Severity,
    /// What was checked: a word that stays the same from release to release.
    pub(crate) check: &'static str,
    /// The driver, path or volume it is about.
    pub(crate) about: String,
    /// What was seen.
    pub(crate) seen: String,
    /// Why it matters; may be empty.
    pub(crate) why: String,
    /// What to do, in words; may be empty.
    pub(crate) mend: String,
    /// What to type, a command each.
    pub(crate) run: Vec<String>,
}

impl Severity {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl Group {
    /// Every group, in the order in which they are shown.
    pub(crate) const ALL: [Self; 7] =
        [Self::Settings, Self::Plugins, Self::Drivers, Self::Kernel, Self::Mounts, Self::Root, Self::Volumes];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Settings => "Settings",
            Self::Plugins => "Plugin directory",
            Self::Drivers => "Drivers",
            Self::Kernel => "Kernel and tools",
            Self::Mounts => "Mounts",
            Self::Root => "Root directory",
            Self::Volumes => "Volumes",
        }
    }
}

impl Finding {
    pub(crate) fn new(
        group: Group,
        severity: Severity,
        check: &'static str,
        about: impl Into<String>,
        seen: impl Into<String>,
    ) -> Self {
        Self {
            group,
            severity,
            check,
            about: about.into(),
            seen: seen.into(),
            why: String::new(),
            mend: String::new(),
            run: Vec::new(),
        }
    }

    /// What could not be looked at, and how that failed.
    pub(crate) fn unseen(group: Group, about: impl Into<String>, words: &str) -> Self {
        Self::new(group, Severity::Note, "unseen", about, format!("it could not be looked at: {words}"))
    }

    /// Says why it matters.
    #[must_use]
    pub(crate) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// Says what to do.
    #[must_use]
    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = mend.into();
        self
    }

    /// Adds a command to type.
    #[must_use]
    pub(crate) fn run(mut self, command: impl Into<String>) -> Self {
        self.run.push(command.into());
        self
    }

    /// Says how something is installed, in words or as a command.
    #[must_use]
    pub(crate) fn install(mut self, (words, command): (String, Option<String>)) -> Self {
        if self.mend.is_empty() {
            self.mend = words;
        }
        self.run.extend(command);
        self
    }

    /// Takes over an error's hint: what stands after `run:` is a command, the rest words.
    #[must_use]
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        for line in hint.lines() {
            match line.split_once("run: ") {
                Some((words, command)) => {
                    self.mend = words.trim_end_matches([' ', ';', ',', ':']).to_owned();
                    self.run.push(command.to_owned());
                }
                None if line.starts_with("chmod ") => self.run.push(line.to_owned()),
                None => self.mend = line.to_owned(),
            }
        }
        self
    }
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: impl AsRef<Path>) -> String {
    let text = path.as_ref().to_string_lossy();
    // A tilde means something to a shell only where it begins a word.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-~+:,@%=".contains(c);
    if !text.is_empty() && !text.starts_with(['~', '-']) && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Counts things: `1 volume`, `2 volumes`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_split_into_words_and_commands() {
        let of = |hint: &str| {
            let finding = Finding::new(Group::Drivers, Severity::Note, "x", "", "").hint(hint);
            (finding.mend, finding.run)
        };
        assert_eq!(of("run: chmod go-w '/a'"), (String::new(), vec!["chmod go-w '/a'".into()]));
        assert_eq!(of("save it; run: sed -i x"), ("save it".into(), vec!["sed -i x".into()]));
        assert_eq!(of("chmod 0755 /a"), (String::new(), vec!["chmod 0755 /a".into()]));
        assert_eq!(of("install it"), ("install it".into(), vec![]));
    }

    #[test]
    fn paths_are_quoted_where_they_must_be() {
        assert_eq!(quoted("/a/b~c/d_e.f"), "/a/b~c/d_e.f");
        assert_eq!(quoted("/a b"), "'/a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
        assert_eq!(quoted("-x"), "'-x'");
    }
}
