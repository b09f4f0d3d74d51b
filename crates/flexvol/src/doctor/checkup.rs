//! What is wrong with one driver: its file, its script, and its answer, put together so that each fault is told once.

use std::path::Path;

use flexvolume_host::settings::DriverConfig;
use flexvolume_protocol::{DriverName, Verdict};

use super::{
    answer::{self, Case, on_lines},
    driver::{File, Here, Open, Seen, Shell},
    finding::{Finding, Group, Severity, quoted},
    helpers::{Missing, Sure},
    init::{Answered, Asked},
    sight::Told,
};

/// As many of one kind are told singly.
const SHOWN: usize = 5;

/// One driver and what was seen of it; `asked` is its answer to `init`, if it was run.
pub(crate) struct Patient<'a> {
    pub(crate) name: &'a DriverName,
    pub(crate) seen: &'a Seen,
    pub(crate) asked: Option<&'a Asked>,
    pub(crate) config: &'a DriverConfig,
    /// A recorded volume of this driver has a secret.
    pub(crate) has_secrets: bool,
    /// The command as it was called.
    pub(crate) flexvol: &'a str,
}

impl Patient<'_> {
    fn finding(&self, severity: Severity, check: &'static str, seen: impl Into<String>) -> Finding {
        Finding::new(Group::Drivers, severity, check, self.name.as_str(), seen)
    }

    /// All that is found, the worst not necessarily first.
    pub(crate) fn judge(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let here = match &self.seen.file {
            File::Unknown(told) => {
                return vec![self.finding(Severity::Problem, "file", told.story()).hint(&told.hint)];
            }
            File::Missing { programs, others, folder } => return vec![self.absent(programs, others, *folder)],
            File::Dangling { to } => {
                return vec![
                    self.finding(
                        Severity::Problem,
                        "file",
                        format!("{} is a link to {}, which is not there", self.seen.exe.display(), to.display()),
                    )
                    .mend("install the file that the link names, or the driver itself")
                    .run(format!("{} install FILE --as {}", self.flexvol, self.name)),
                ];
            }
            File::Here(here) => here,
        };
        if let Some(told) = &self.seen.distrust {
            findings.push(
                self.finding(Severity::Problem, "trust", told.distrust())
                    .why("it is not run, not even for init: what somebody else could have written would be run as you")
                    .hint(&told.hint),
            );
        }
        findings.extend(self.runs(here));
        if let Some(shell) = &here.shell {
            findings.extend(self.shell(shell, &here.text));
        }
        if let Some(Asked::Answered(answered)) = self.asked {
            let case = Case {
                name: self.name.as_str(),
                exe: &self.seen.exe,
                here,
                config: self.config,
                has_secrets: self.has_secrets,
                flexvol: self.flexvol,
                installer: self.seen.installer,
            };
            let judged = answer::judge(&case, answered);
            findings.extend(judged.into_iter().filter(|finding| !is_echo(finding, here, answered)));
        }
        if here.shell.is_some() && !findings.iter().any(|finding| finding.check == "status") {
            findings.extend(answer::misspelt(self.name.as_str(), &here.text));
        }
        findings.extend(self.beside());
        findings
    }

    /// There is no file of the right name.
    fn absent(&self, programs: &[String], others: &[String], folder: bool) -> Finding {
        let directory = self.seen.exe.parent().unwrap_or(Path::new("/"));
        let file = self.name.executable();
        let install = format!("{} install FILE --as {}", self.flexvol, self.name);
        let finding = |seen: String| {
            self.finding(Severity::Problem, "file", seen)
                .why(format!("a host runs {} and nothing else", self.seen.exe.display()))
        };
        if folder {
            return finding(format!("{file} is a directory, and should be the executable")).run(install);
        }
        match (programs, others) {
            ([], []) => finding("its directory is empty".into()).run(install),
            ([], others) if others.iter().all(|other| other.starts_with('.')) => {
                finding(format!("only hidden files lie in its directory ({})", list(others)))
                    .mend("an installer is at work, or was cut off: install it again")
                    .run(install)
            }
            ([], others) => finding(format!("no program lies in its directory, only {}", list(others))).run(install),
            ([one], _) => finding(format!("its file is called {one}, and must be called {file}")).run(format!(
                "mv {} {}",
                quoted(directory.join(one)),
                quoted(&self.seen.exe)
            )),
            (several, _) => finding(format!("none of its files ({}) is called {file}", list(several)))
                .mend("give the driver that name")
                .run(format!("mv {}/FILE {}", quoted(directory), quoted(&self.seen.exe))),
        }
    }

    /// Whether the kernel and the interpreter take it.
    fn runs(&self, here: &Here) -> Vec<Finding> {
        let mut findings = Vec::new();
        let exe = quoted(&self.seen.exe);
        if here.carriage_returns > 0 {
            findings.push(
                self.finding(
                    Severity::Problem,
                    "lineEnds",
                    match here.carriage_returns {
                        1 => "one line ends with a carriage return, as Windows writes them".to_owned(),
                        lines => format!("{lines} lines end with a carriage return, as Windows writes them"),
                    },
                )
                .why("kernel and shell take it for a part of the last word: \"/bin/sh\\r\" is not found")
                .run(format!("sed -i 's/\\r$//' {exe}")),
            );
        } else if let Some((program, near)) = &here.no_program {
            let finding = self
                .finding(
                    Severity::Problem,
                    "interpreter",
                    format!("its first line asks env for {program}, which is not on PATH"),
                )
                .why("it cannot be run");
            findings.push(match near {
                Some(near) => finding.run(format!("sed -i '1s/\\b{program}\\b/{near}/' {exe}")),
                None => finding.install(self.seen.installer.program(program)),
            });
        } else {
            let told = match self.asked {
                Some(Asked::NotStarted(told)) => Some(told),
                // It was run: what the kernel was expected to say is of no interest.
                Some(Asked::NotEnded(_) | Asked::Answered(_)) => None,
                None => here.refusal.as_ref(),
            };
            findings.extend(told.map(|told| self.refused(told)));
        }
        if let Some(Asked::NotEnded(told)) = self.asked {
            let words = told.story();
            let words = words
                .strip_prefix(&format!("driver {} ", self.name))
                .map_or(words.clone(), |rest| format!("it {rest}"));
            findings.push(
                self.finding(Severity::Problem, "init", words)
                    .why("a Kubernetes host has no limit there: a hanging init holds up every volume of the node")
                    .hint(&told.hint)
                    .run(format!("{} call {} init", self.flexvol, self.name)),
            );
        }
        findings
    }

    fn refused(&self, told: &Told) -> Finding {
        let prefix = format!("cannot start {}: ", self.seen.exe.display());
        // The kernel's bare word for it often names the wrong file.
        let words = told.what.strip_prefix(&prefix).map_or_else(|| told.story(), str::to_owned);
        let finding = self.finding(Severity::Problem, "start", format!("it cannot be run: {words}")).hint(&told.hint);
        match words.split_once("its interpreter ").and_then(|(_, rest)| rest.split_once(" (named")) {
            Some((interpreter, _)) if words.contains("does not exist") => {
                finding.install(self.seen.installer.program(interpreter))
            }
            Some(_) | None => finding,
        }
    }

    fn shell(&self, shell: &Shell, text: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !shell.not_dash.is_empty() {
            let used: Vec<_> = shell
                .not_dash
                .iter()
                .take(SHOWN)
                .map(|(what, lines)| format!("{}: {what}", on_lines(first(lines))))
                .collect();
            let bash = shell.bash.as_deref().unwrap_or(Path::new("/bin/bash"));
            let first_line = text.lines().next().unwrap_or_default();
            let named = shell.interpreter.display().to_string();
            let change = if first_line.contains(&named) {
                format!("1s|{named}|{}|", bash.display())
            } else {
                format!("1s|.*|#!{}|", bash.display())
            };
            let finding = self
                .finding(Severity::Problem, "dash", format!("it is written for bash, and {named} is dash here"))
                .why(used.join("; "))
                .mend("name bash in its first line")
                .run(format!("sed -i '{change}' {}", quoted(&self.seen.exe)));
            findings.push(if shell.bash.is_none() {
                finding.install(self.seen.installer.packages("bash"))
            } else {
                finding
            });
        }
        let (told, few): (Vec<_>, Vec<_>) = shell.missing.iter().partition(|missing| missing.sure > Sure::Hardly);
        findings.extend(told.iter().map(|missing| self.missing(missing)));
        if !few.is_empty() {
            let names: Vec<_> = few.iter().map(|missing| missing.program.clone()).collect();
            findings.push(self.finding(
                Severity::Note,
                "optional",
                format!("not here, and its script seems to do without: {}", list(&names)),
            ));
        }
        if let Some(line) = shell.lost {
            findings.push(self.finding(
                Severity::Note,
                "unread",
                format!("its script could not be read past line {line}; what it calls after that is not checked"),
            ));
        }
        findings
    }

    fn missing(&self, missing: &Missing) -> Finding {
        let Missing { program, line, sure, beside, elsewhere } = missing;
        let (severity, when) = match sure {
            Sure::Surely => (Severity::Problem, ""),
            Sure::Sometimes => (Severity::Warning, " in some case"),
            Sure::Hardly => (Severity::Note, " if it is there"),
        };
        let name = program.rsplit('/').next().unwrap_or(program);
        let seen = match program.strip_prefix("mount.") {
            Some(fs_type) => {
                format!("line {line} mounts a {fs_type}, and the program for that, {program}, is not here")
            }
            None => format!("line {line} calls {program}{when}, which is not here"),
        };
        let finding = self.finding(severity, "helper", seen);
        if *beside {
            return finding
                .why("it lies beside the driver, where PATH does not lead: hosts start drivers in /")
                .mend(format!(r#"call it as "$(dirname "$0")/{program}""#));
        }
        if *elsewhere {
            return finding.mend(format!("{name} is on PATH in another folder: call it without its path"));
        }
        finding.install(self.seen.installer.program(program))
    }

    /// What others can write beside it: a driver often reads or runs what lies there.
    fn beside(&self) -> Vec<Finding> {
        let open = self.seen.open.iter();
        open.take(SHOWN)
            .map(|Open { program, told }| {
                let runs = if *program { "what it runs" } else { "what it reads" };
                self.finding(Severity::Warning, "beside", told.distrust())
                    .why(format!("who can change files beside a driver may change {runs}"))
                    .hint(&told.hint)
            })
            .collect()
    }
}

fn first(lines: &[u32]) -> &[u32] {
    &lines[..lines.len().min(3)]
}

fn list(names: &[String]) -> String {
    let mut words: Vec<_> = names.iter().take(SHOWN).map(|name| flexvolume_protocol::excerpt(name, 60)).collect();
    if names.len() > SHOWN {
        words.push(format!("and {} more", names.len() - SHOWN));
    }
    words.join(", ")
}

/// Whether what `init` came to says only once more what is wrong with the script or its first line.
fn is_echo(finding: &Finding, here: &Here, answered: &Answered) -> bool {
    let wordless = matches!(answered.tolerant, Err(Verdict::NoAnswer { .. } | Verdict::NotJson { .. }));
    let told_of = |shell: &Shell| {
        let missing = answer::program_not_found(answered);
        let told = |missing: &str| shell.missing.iter().any(|one| one.program == missing && one.sure == Sure::Surely);
        !shell.not_dash.is_empty() || missing.is_some_and(told)
    };
    let script = here.shell.as_ref().is_some_and(told_of);
    match finding.check {
        "init" => wordless && (here.no_program.is_some() || here.carriage_returns > 0 || script),
        // The shell's own complaint, or the flag that its echo prints.
        "noise" => script && answer::is_complaint(answered),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::sight::Installer;

    fn judged(file: File, distrust: Option<Told>, asked: Option<&Asked>) -> Vec<Finding> {
        let seen = Seen { exe: "/p/v~d/d".into(), file, distrust, open: Vec::new(), installer: Installer::Apt };
        let name = DriverName::parse("v/d").unwrap();
        let config = DriverConfig::default();
        Patient { name: &name, seen: &seen, asked, config: &config, has_secrets: false, flexvol: "flexvol" }.judge()
    }

    fn told(story: &str, hint: &str) -> Told {
        Told { what: story.into(), hint: hint.into(), ..Told::default() }
    }

    #[test]
    fn a_file_of_another_name_is_renamed() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let one = |programs: &[&str], others: &[&str]| {
            let file = File::Missing { programs: names(programs), others: names(others), folder: false };
            judged(file, None, None).remove(0)
        };
        assert_eq!(one(&["d.sh"], &["README"]).run, ["mv /p/v~d/d.sh /p/v~d/d"]);
        assert_eq!(one(&[], &[]).run, ["flexvol install FILE --as v/d"]);
        assert!(one(&[], &[".d.123"]).mend.contains("installer"));
        assert!(one(&[], &["README"]).seen.contains("only README"));
        assert!(one(&["a", "b"], &[]).seen.contains("a, b"));
    }

    #[test]
    fn each_fault_of_the_file_is_told_once() {
        let here = |here: Here| File::Here(Box::new(here));
        let carriage = Here {
            carriage_returns: 3,
            refusal: Some(told("cannot start /p/v~d/d: its first line ends with a carriage return", "")),
            ..Here::default()
        };
        let started = Asked::NotStarted(told("cannot start /p/v~d/d: its first line ends with a carriage return", ""));
        let findings = judged(here(carriage), None, Some(&started));
        assert_eq!(findings.iter().map(|finding| finding.check).collect::<Vec<_>>(), ["lineEnds"]);
        assert_eq!(findings[0].run, [r"sed -i 's/\r$//' /p/v~d/d"]);

        let refused = Here {
            refusal: Some(told("cannot start /p/v~d/d: it is not executable", "run: chmod 0755 '/p/v~d/d'")),
            ..Here::default()
        };
        let findings = judged(here(refused), None, None);
        assert_eq!(findings[0].seen, "it cannot be run: it is not executable");
        assert_eq!(findings[0].run, ["chmod 0755 '/p/v~d/d'"]);

        let python = Here { no_program: Some(("python".into(), Some("python3".into()))), ..Here::default() };
        assert_eq!(judged(here(python), None, None)[0].run, [r"sed -i '1s/\bpython\b/python3/' /p/v~d/d"]);
        let distrusted = judged(here(Here::default()), Some(told("others can write it", "run: chmod go-w '/p'")), None);
        assert_eq!((distrusted[0].check, distrusted[0].run.join("")), ("trust", "chmod go-w '/p'".to_owned()));
    }

    #[test]
    fn a_shell_script_for_another_shell_gets_its_own() {
        let shell = Shell {
            interpreter: "/bin/sh".into(),
            not_dash: vec![("[[ … ]] (not found)".into(), vec![3, 7])],
            bash: Some("/usr/bin/bash".into()),
            missing: vec![Missing {
                program: "jq".into(),
                line: 9,
                sure: Sure::Surely,
                beside: true,
                elsewhere: false,
            }],
            ..Shell::default()
        };
        let here = Here { text: "#!/bin/sh -e\n".into(), shell: Some(shell), ..Here::default() };
        let findings = judged(File::Here(Box::new(here)), None, None);
        assert_eq!(findings[0].run, ["sed -i '1s|/bin/sh|/usr/bin/bash|' /p/v~d/d"]);
        assert!(findings[0].why.contains("lines 3 and 7: [[ … ]]"), "{findings:?}");
        assert!(findings[1].severity == Severity::Problem && findings[1].mend.contains("dirname"), "{findings:?}");
    }
}
