//! What is wrong with a driver's answer to `init`, and where in its script that is mended.

use flexvolume_host::settings::{DriverConfig, SecretsByArgv};
use flexvolume_protocol::{Came, Extension, Forgiven, InitReply, VerbName, Verdict, excerpt};

use super::{
    driver::{Here, Shell},
    finding::{Finding, Group, Severity, count, quoted},
    init::{Answered, Exit},
    sight::Installer,
    status,
};

/// What is known beside the answer itself.
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) exe: &'a std::path::Path,
    pub(crate) here: &'a Here,
    pub(crate) config: &'a DriverConfig,
    /// A recorded volume of this driver has a secret.
    pub(crate) has_secrets: bool,
    /// The command as it was called.
    pub(crate) flexvol: &'a str,
    pub(crate) installer: Installer,
}

/// An `init` that takes longer is told of: Kubernetes runs it under a lock.
const SLOW_MS: f64 = 2000.0;
/// A shorter beginning is found everywhere.
const SHORTEST: usize = 5;
/// As much of what a driver printed is shown.
const SHOWN: usize = 200;

/// What is found in the answer; the first finding says how it came out.
pub(crate) fn judge(case: &Case<'_>, answered: &Answered) -> Vec<Finding> {
    let finding = |severity, check, seen: String| Finding::new(Group::Drivers, severity, check, case.name, seen);
    let mut findings = Vec::new();
    match &answered.tolerant {
        Err(verdict) => {
            findings.push(failed(case, answered, verdict));
            // The answer was found all the same, with something beside it: that is to be mended too.
            findings.extend((!answered.forgiven.is_empty()).then(|| noisy(case, answered, verdict)));
        }
        Ok(Came::NotSupported | Came::InProgress) => findings.push(
            finding(Severity::Problem, "init", "it does not know init: it answers that it is not supported".into())
                .why("init is the one call that every driver must answer with Success")
                .mend(r#"answer {"status": "Success", "capabilities": {"attach": false}} to init, or true if it attaches"#),
        ),
        Ok(Came::Done(reply)) => {
            findings.push(match &answered.strict {
                Some(strict) => noisy(case, answered, strict),
                None => finding(Severity::Ok, "init", format!("init: Success in {:.1} ms; {}", answered.milliseconds, able(reply))),
            });
            findings.extend(contract(case, reply));
            findings.extend(secrets(case, reply));
        }
    }
    if answered.milliseconds > SLOW_MS {
        findings.push(
            finding(Severity::Note, "slow", format!("init took {:.1} s", answered.milliseconds / 1e3))
                .why("a host asks it whenever the file changes, and a Kubernetes host holds up all volumes meanwhile")
                .mend("init needs neither a network nor credentials; leave those to mount"),
        );
    }
    if let Exit::Stays(pid) = answered.exit {
        findings.push(finding(Severity::Note, "stays", format!("its process, pid {pid}, answered init and lives on")));
    }
    findings
}

/// What it says that it can.
fn able(reply: &InitReply) -> String {
    let kind = match (reply.extensions.contains(&Extension::Staged), reply.capabilities.attach) {
        (true, _) => "staged",
        (false, true) => "attachable",
        (false, false) => "direct",
    };
    let extensions: Vec<_> = reply.extensions.iter().map(ToString::to_string).collect();
    if extensions.is_empty() { kind.to_owned() } else { format!("{kind}, with {}", extensions.join(", ")) }
}

/// An answer that nobody takes for a Success.
fn failed(case: &Case<'_>, answered: &Answered, verdict: &Verdict) -> Finding {
    let exit = match answered.exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("ended by signal {signal}"),
        Exit::Stays(pid) => format!("pid {pid} lives on"),
    };
    let problem = |seen: String| Finding::new(Group::Drivers, Severity::Problem, "init", case.name, seen);
    let finding = match verdict {
        Verdict::NoAnswer { .. } => problem(format!("it printed nothing in answer to init ({exit})"))
            .mend("print one JSON object for every verb, init first"),
        Verdict::NotJson { why, text, .. } => {
            let finding = problem(format!("what it printed for init is no JSON ({why}; {exit})"))
                .why(format!("it printed: {}", excerpt(text, SHOWN)));
            explained(case, finding, answered)
        }
        Verdict::WrongShape { why, .. } => problem(format!("its answer to init is malformed: {why}"))
            .mend("write it with the type that the contract says: text in quotes, true and false without"),
        Verdict::Failed(failed) => problem(format!("it says that init failed: {failed}"))
            .mend("init needs neither a network nor credentials; what it lacks here, its message should name"),
        Verdict::OddStatus { status, .. } => odd_status(case, status),
        Verdict::SuccessButExit { status, .. } => problem(format!("it answers {status:?} to init, with {exit}"))
            .why("a Success that comes with an error exit is not believed")
            .mend("exit with 0 after a Success"),
    };
    if finding.mend.is_empty() && finding.run.is_empty() {
        return finding.mend("see all of it").run(format!("{} call {} init", case.flexvol, case.name));
    }
    finding
}

/// Well-known ways to print something else than an answer.
fn explained(case: &Case<'_>, finding: Finding, answered: &Answered) -> Finding {
    let said = format!("{}\n{}", answered.stdout, answered.stderr);
    if let Some(library) = said.split_once("error while loading shared libraries: ").map(|(_, rest)| rest) {
        let library = library.split(':').next().unwrap_or_default().to_owned();
        return finding
            .mend(format!("the library {library} is missing: install it, or take a static build"))
            .run(format!("ldd {}", quoted(case.exe)));
    }
    if said.contains("GLIBC_") && said.contains("not found") {
        return finding.mend("it was built for a newer C library than is here: take a static build, or build it here");
    }
    if let Some(program) = not_found(&said) {
        return finding.why(format!("it calls {program}, which is not here")).install(case.installer.program(program));
    }
    if said.trim_start().starts_with("-e") || said.trim_start().starts_with("-ne") {
        return finding
            .mend("its shell's echo knows no -e and prints it: use printf '%s\\n' '{…}', or bash as the interpreter");
    }
    finding
}

/// The program that the driver's shell could not find, if it says so.
pub(crate) fn program_not_found(answered: &Answered) -> Option<&str> {
    not_found(&answered.stderr).or_else(|| not_found(&answered.stdout))
}

/// Whether what stands beside the answer is the shell's: `FILE: LINE: words`, or a flag that its echo does not know.
pub(crate) fn is_complaint(answered: &Answered) -> bool {
    answered.forgiven.iter().any(|forgiven| match forgiven {
        Forgiven::Noise { text, .. } => {
            let mut parts = text.trim().split(": ");
            let numbered = parts.nth(1).is_some_and(|part| part.trim_start_matches("line ").parse::<u32>().is_ok());
            numbered || matches!(text.trim(), "-e" | "-ne" | "-en")
        }
        Forgiven::SeveralAnswers { .. } => false,
    })
}

/// The program that a shell or env could not find, by what it printed.
fn not_found(said: &str) -> Option<&str> {
    said.lines().find_map(|line| {
        let rest = line
            .trim_end()
            .strip_suffix(": not found")
            .or_else(|| line.trim_end().strip_suffix(": command not found"))?;
        let program = rest.rsplit(": ").next()?.trim();
        let plain = program.chars().all(|c| c.is_ascii_alphanumeric() || "_-.+".contains(c));
        (plain && !program.is_empty()).then_some(program)
    })
}

/// Why a status is wrong.
const LETTER_FOR_LETTER: &str =
    "hosts know Success, Failure and Not supported, letter for letter; all else is a failure";

/// A status that is no word of the contract, in an answer that was not asked for here.
pub(crate) fn misspelt(name: &str, text: &str) -> Option<Finding> {
    let found = status::misspelt(text);
    let (_, word, near) = *found.first()?;
    let lines: Vec<u32> = found.iter().filter(|(_, other, _)| *other == word).map(|(line, ..)| *line).collect();
    let seen = format!("in {} it answers with the status {word:?}", on_lines(&lines));
    let finding = Finding::new(Group::Drivers, Severity::Warning, "status", name, seen);
    Some(finding.why(LETTER_FOR_LETTER).mend(format!("write {near:?}")))
}

/// A status that is no word of the contract.
fn odd_status(case: &Case<'_>, status: &str) -> Finding {
    let shown = excerpt(status, 40);
    if status.is_empty() {
        return Finding::new(
            Group::Drivers,
            Severity::Problem,
            "status",
            case.name,
            "its answer to init has no status",
        )
        .why("an answer without a status is a failure")
        .mend(r#"add "status": "Success""#);
    }
    let finding = Finding::new(
        Group::Drivers,
        Severity::Problem,
        "status",
        case.name,
        format!("it answers init with the status {shown:?}"),
    )
    .why(LETTER_FOR_LETTER);
    let lines = lines_with(&case.here.text, status);
    let place = if lines.is_empty() { String::new() } else { format!("in {}, ", on_lines(&lines)) };
    match status::near(status) {
        Some(near) => finding.mend(format!("{place}write {near:?}")),
        None => finding.mend(format!("{place}write one of the three")),
    }
}

/// Read by us and not by Kubernetes.
fn noisy(case: &Case<'_>, answered: &Answered, strict: &Verdict) -> Finding {
    let severity = if case.config.strict { Severity::Problem } else { Severity::Warning };
    let finding = |seen: String| Finding::new(Group::Drivers, severity, "noise", case.name, seen);
    let why = if case.config.strict {
        "the settings want this driver read as Kubernetes reads it, and there the call fails"
    } else {
        "flexvol finds the answer and passes over the rest; Kubernetes fails every call that is answered so"
    };
    let noise = answered.forgiven.iter().find_map(|forgiven| match forgiven {
        Forgiven::Noise { stream, text } => Some((stream, text)),
        Forgiven::SeveralAnswers { .. } => None,
    });
    match noise {
        Some((stream, text)) => {
            let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            let lines = lines_that_print(&case.here.text, first);
            let place = if lines.is_empty() { String::new() } else { format!(" ({})", on_lines(&lines)) };
            finding(format!("beside its answer to init it prints on {stream}: {}", excerpt(first, SHOWN)))
                .why(why)
                .mend(format!("print nothing but the answer, and write the log to a file or syslog{place}"))
        }
        None => finding(format!("Kubernetes would fail its answer to init: {strict}"))
            .why(why)
            .mend(format!("print one JSON object; it printed {}", count(answered.stdout.lines().count(), "line"))),
    }
}

/// What its answer promises and its script does not know.
fn contract(case: &Case<'_>, reply: &InitReply) -> Vec<Finding> {
    let mut findings = Vec::new();
    let finding = |severity, check, seen: String| Finding::new(Group::Drivers, severity, check, case.name, seen);
    if !reply.unknown.is_empty() {
        findings.push(
            finding(
                Severity::Note,
                "extensions",
                format!("it announces {}, which this flexvol does not know", reply.unknown.join(", ")),
            )
            .mend("if it is misspelt, mend it; else a newer flexvol may know it"),
        );
    }
    if reply.extensions.contains(&Extension::Clone) && !reply.extensions.contains(&Extension::Provision) {
        findings.push(
            finding(Severity::Warning, "extensions", "it announces clone without provision".into())
                .why("a clone is made by createvolume, which nobody calls of a driver that does not provision")
                .mend("announce provision too, and serve createvolume and deletevolume"),
        );
    }
    let Some(shell) = &case.here.shell else { return findings };
    findings.extend(unserved(shell, reply).map(|(extension, verbs)| {
        finding(Severity::Warning, "extensions", format!("it announces {extension}, and its script has no {verbs}"))
            .why("a call of an announced extension that is not supported is a fault of the driver, and fails")
            .mend(format!("serve {verbs}, or announce {extension} no longer"))
    }));
    let has = |verb: &str| shell.labels.iter().any(|label| label == verb);
    let attaches = reply.capabilities.attach && !reply.extensions.contains(&Extension::Staged);
    let devices = ["waitforattach", "isattached", "getvolumename", "mountdevice", "unmountdevice"];
    if has("umount") && !has("unmount") {
        findings.push(
            finding(Severity::Warning, "verbs", "it has umount where the contract says unmount".into())
                .why("no host ever calls umount: the driver's own clean-up is never run")
                .mend("rename it in the script"),
        );
    }
    if attaches && has("mount") && !has("attach") && !devices.iter().any(|verb| has(verb)) {
        findings.push(
            finding(Severity::Note, "attach", "it does not say that it attaches nothing".into())
                .why("hosts take all the steps of a driver with devices, and Kubernetes wants the driver on its control plane too")
                .mend(r#"answer init with "capabilities": {"attach": false}"#),
        );
    }
    let mounts_with_device =
        case.here.text.contains("mount device>") || case.here.text.contains("$4") || case.here.text.contains("${4");
    if attaches && has("attach") && has("mount") && !devices.iter().any(|verb| has(verb)) && mounts_with_device {
        findings.push(
            finding(Severity::Warning, "oldContract", "it seems to speak the contract of Kubernetes 1.2 to 1.5".into())
                .why("there mount was given DIR DEVICE OPTIONS and detach a device; hosts since 1.6 give mount DIR OPTIONS, and detach a name")
                .mend("port it: the book's page on the contract lists each verb with its arguments"),
        );
    }
    findings
}

/// Extensions that it announces and whose calls its script does not name. Nothing where the script may know verbs in ways
/// that cannot be read: by patterns, or where the reader lost its way.
fn unserved(shell: &Shell, reply: &InitReply) -> impl Iterator<Item = (Extension, String)> {
    let has = |word: &str| shell.labels.iter().any(|label| label == word);
    let by_pattern = shell.labels.iter().any(|label| label != "*" && label.contains(['*', '?', '[', '$']));
    let is_plain = has("init") && !by_pattern && shell.lost.is_none();
    let announced = reply.extensions.iter().copied().filter(move |_| is_plain);
    announced.filter_map(move |extension| {
        let verbs = VerbName::ALL.iter().filter(|verb| verb.extension() == Some(extension));
        let missing: Vec<_> = verbs.map(|verb| verb.as_str()).filter(|verb| !has(verb)).collect();
        (!missing.is_empty()).then(|| (extension, missing.join(", ")))
    })
}

/// Whether it takes secrets where others can read them.
fn secrets(case: &Case<'_>, reply: &InitReply) -> Option<Finding> {
    if reply.extensions.contains(&Extension::Stdin) || case.config.secrets == SecretsByArgv::Refuse {
        return None;
    }
    let severity = match (case.has_secrets, case.here.text.contains("kubernetes.io/secret")) {
        (true, _) => Severity::Warning,
        (false, true) => Severity::Note,
        (false, false) => return None,
    };
    Some(
        Finding::new(Group::Drivers, severity, "secrets", case.name, "it takes secrets in its arguments")
            .why("every user of this machine can read them there while it runs")
            .mend(format!(
                "announce the extension stdin and read the options there, or set \"secrets\": \"refuse\" for {} in the settings",
                case.name
            )),
    )
}

/// The lines of a script that print a text, by as many of its first words as are found together: the rest may be a
/// variable.
fn lines_that_print(text: &str, printed: &str) -> Vec<u32> {
    let code: String = text
        .lines()
        .map(|line| if line.trim_start().starts_with('#') { "\n" } else { line })
        .fold(String::new(), |code, line| code + line.trim_end_matches('\n') + "\n");
    let ends = printed.match_indices(' ').map(|(at, _)| at).chain([printed.len()]).collect::<Vec<_>>();
    let begins = ends.iter().rev().map(|end| &printed[..*end]).filter(|begin| begin.len() >= SHORTEST);
    begins.map(|begin| lines_with(&code, begin)).find(|lines| !lines.is_empty()).unwrap_or_default()
}

/// The lines of a text that hold a word, counted from one.
fn lines_with(text: &str, needle: &str) -> Vec<u32> {
    if needle.trim().is_empty() {
        return Vec::new();
    }
    (1..).zip(text.lines()).filter(|(_, line)| line.contains(needle)).map(|(number, _)| number).take(5).collect()
}

/// `line 3`, or `lines 3 and 7`.
pub(crate) fn on_lines(lines: &[u32]) -> String {
    let mut words: Vec<_> = lines.iter().map(u32::to_string).collect();
    match (words.pop(), words.len()) {
        (None, _) => String::new(),
        (Some(last), 0) => format!("line {last}"),
        (Some(last), _) => format!("lines {} and {last}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flexvolume_protocol::{Said, strict, tolerant};

    use super::*;

    fn answered(stdout: &str, stderr: &str, code: i32) -> Answered {
        let said = Said { stdout: stdout.as_bytes(), stderr: stderr.as_bytes(), exit_ok: code == 0 };
        let reading = tolerant::<InitReply>(VerbName::Init, &said);
        Answered {
            milliseconds: 1.0,
            exit: Exit::Code(code),
            stdout: stdout.into(),
            stderr: stderr.into(),
            strict: strict::<InitReply>(VerbName::Init, &said).err(),
            tolerant: reading.verdict,
            forgiven: reading.forgiven,
        }
    }

    fn judged(here: &Here, answered: &Answered) -> Vec<Finding> {
        let config = DriverConfig::default();
        let case = Case {
            name: "v/d",
            exe: Path::new("/p/v~d/d"),
            here,
            config: &config,
            has_secrets: false,
            flexvol: "flexvol",
            installer: Installer::Apt,
        };
        judge(&case, answered)
    }

    fn one(stdout: &str, stderr: &str, code: i32) -> (Severity, &'static str, String) {
        let findings = judged(&Here::default(), &answered(stdout, stderr, code));
        assert_eq!(findings.len(), 1, "{findings:?}");
        let first = &findings[0];
        (first.severity, first.check, format!("{} {} {} {}", first.seen, first.why, first.mend, first.run.join(";")))
    }

    #[test]
    fn each_bad_answer_is_told_with_what_to_do() {
        let success = r#"{"status": "Success", "capabilities": {"attach": false}}"#;
        assert_eq!(one(success, "", 0).0, Severity::Ok);
        for (stdout, stderr, code, words) in [
            ("", "", 3, &["printed nothing", "exit code 3", "one JSON object"][..]),
            ("usage: d", "", 0, &["no JSON", "usage: d", "flexvol call v/d init"]),
            (r#"{"status": "success"}"#, "", 0, &["\"success\"", "write \"Success\""]),
            (r#"{"status": "NOT_SUPPORTED"}"#, "", 0, &["write \"Not supported\""]),
            (r#"{"status": "OK"}"#, "", 0, &["\"OK\"", "one of the three"]),
            ("{}", "", 0, &["no status", r#""status": "Success""#]),
            (r#"{"status": "Not supported"}"#, "", 0, &["does not know init", "attach"]),
            (r#"{"status": "Failure", "message": "no ceph"}"#, "", 1, &["init failed: no ceph"]),
            (r#"{"status": "Success"}"#, "", 1, &["exit code 1", "exit with 0"]),
            (r#"{"status": "Success", "capabilities": {"attach": "no"}}"#, "", 0, &["malformed", "attach"]),
            ("-ne {\"status\": \"Failed", "", 0, &["printf"]),
            ("", "/p/v~d/d: 3: jq: not found\n", 127, &["calls jq, which is not here", "jq"]),
            (
                "",
                "/p/v~d/d: line 3: mount.cifs: command not found\n",
                127,
                &["mount.cifs, which is not here", "cifs-utils"],
            ),
            (
                "",
                "d: error while loading shared libraries: libx.so.1: cannot open shared object file",
                127,
                &["libx.so.1", "ldd"],
            ),
            ("", "d: /lib/libc.so.6: version `GLIBC_2.99' not found (required by d)", 1, &["newer C library"]),
        ] {
            let (severity, _, text) = one(stdout, stderr, code);
            assert_eq!(severity, Severity::Problem, "{stdout}");
            for word in words {
                assert!(text.contains(word), "{word:?} in {text}");
            }
        }
    }

    #[test]
    fn two_faults_are_told_at_once() {
        let findings = judged(&Here::default(), &answered("starting\n{\"status\": \"success\"}", "", 0));
        let checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["status", "noise"]);
    }

    #[test]
    fn what_only_we_forgive_is_a_warning_and_told_with_its_line() {
        let success = r#"{"status": "Success"}"#;
        let (severity, check, text) = one(success, "starting up", 0);
        assert_eq!((severity, check), (Severity::Warning, "noise"));
        assert!(text.contains("standard error: starting up") && text.contains("Kubernetes"), "{text}");
        for line in ["echo starting up >&2", "echo \"starting $what\" >&2"] {
            let here = Here { text: format!("#!/bin/sh\n# starting up\n{line}\n"), ..Here::default() };
            let findings = judged(&here, &answered(success, "starting up", 0));
            assert!(findings[0].mend.ends_with("(line 3)"), "{findings:?}");
        }
        let here = Here::default();
        let config = DriverConfig { strict: true, ..DriverConfig::default() };
        let case = Case {
            name: "v/d",
            exe: Path::new("/d"),
            here: &here,
            config: &config,
            has_secrets: false,
            flexvol: "flexvol",
            installer: Installer::Apt,
        };
        assert_eq!(judge(&case, &answered(success, "x", 0))[0].severity, Severity::Problem);
        assert_eq!(one(&format!("{success}\n{success}"), "", 0).0, Severity::Warning);
    }

    #[test]
    fn the_script_is_held_against_the_contract() {
        let checks = |labels: &[&str], text: &str, reply: &str| -> Vec<&'static str> {
            let shell = Shell { labels: labels.iter().map(|label| (*label).to_owned()).collect(), ..Shell::default() };
            let here = Here { text: text.into(), shell: Some(shell), ..Here::default() };
            judged(&here, &answered(reply, "", 0)).iter().skip(1).map(|finding| finding.check).collect()
        };
        let plain = r#"{"status": "Success"}"#;
        let direct = r#"{"status": "Success", "capabilities": {"attach": false}}"#;
        assert_eq!(checks(&["init", "mount", "unmount"], "", direct), Vec::<&str>::new());
        assert_eq!(checks(&["init", "mount", "unmount"], "", plain), ["attach"]);
        assert_eq!(checks(&["init", "mount", "umount"], "", direct), ["verbs"]);
        assert_eq!(checks(&["init", "attach", "detach", "mount", "unmount"], "JSON=$4", plain), ["oldContract"]);
        assert_eq!(checks(&["init", "attach", "mountdevice", "mount"], "JSON=$4", plain), Vec::<&str>::new());
        assert_eq!(checks(&["mount"], "jq '.[\"kubernetes.io/secret/password\"]'", direct), ["secrets"]);
        let stdin = r#"{"status": "Success", "capabilities": {"attach": false}, "extensions": ["stdin", "stagged"]}"#;
        assert_eq!(checks(&["mount"], "kubernetes.io/secret/x", stdin), ["extensions"]);
    }

    #[test]
    fn what_is_announced_and_not_served_is_told_with_its_verbs() {
        let told = |labels: &[&str], lost: Option<u32>, extensions: &str| -> Vec<String> {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            let here = Here { shell: Some(Shell { labels, lost, ..Shell::default() }), ..Here::default() };
            let reply = format!(
                r#"{{"status": "Success", "capabilities": {{"attach": false}}, "extensions": [{extensions}]}}"#
            );
            let findings = judged(&here, &answered(&reply, "", 0));
            findings.into_iter().skip(1).map(|finding| format!("{}: {}", finding.check, finding.seen)).collect()
        };
        let none = Vec::<String>::new();
        let made = ["init", "mount", "unmount", "createvolume", "deletevolume", "*"];
        assert_eq!(told(&made, None, r#""provision", "clone", "local", "block", "stdin""#), none);
        assert_eq!(
            told(&made, None, r#""provision", "snapshot", "health""#),
            [
                "extensions: it announces snapshot, and its script has no createsnapshot, deletesnapshot, listsnapshots",
                "extensions: it announces health, and its script has no gethealth",
            ]
        );
        assert_eq!(told(&made, None, r#""clone""#), ["extensions: it announces clone without provision"]);
        // What cannot be read is not judged.
        assert_eq!(told(&made, Some(3), r#""health""#), none);
        assert_eq!(told(&["init", "get*"], None, r#""health""#), none);
        assert_eq!(told(&["$VERB"], None, r#""health""#), none);
        assert_eq!(told(&[], None, r#""health""#), none);
    }
}
