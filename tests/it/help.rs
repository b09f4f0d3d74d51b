//! What the command says of itself: help in its colours, completion scripts that shells take, pages that man takes.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use flexvolume_testkit::skip;

use crate::{bed::Bed, terminal::on_terminal};

/// The verbs, as `flexvol help` lists them.
fn verbs(bed: &Bed) -> Vec<String> {
    let help = bed.ok(["help"]);
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What a long line goes on with stands further to the right.
    let verbs = list.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    verbs.filter(|verb| *verb != "help").map(str::to_owned).collect()
}

/// Whether a program is there to be asked.
fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

#[test]
fn every_verb_has_help_with_examples() {
    let Some(bed) = Bed::new() else { return };
    let verbs = verbs(&bed);
    assert!(verbs.len() >= 10, "{verbs:?}");
    for verb in &verbs {
        let short = bed.ok([verb, "-h"]);
        let long = bed.ok([verb, "--help"]);
        assert_eq!(bed.ok(["help", verb]), long, "{verb}");
        assert!(long.contains("\nExamples:\n") && long.contains("flexvol"), "{verb}: {long}");
        for text in [&short, &long] {
            assert!(text.contains(&format!("Usage: flexvol {verb}")), "{verb}: {text}");
            assert!(text.contains("Options of every verb:") && text.contains("--log-format"), "{verb}: {text}");
        }
    }
}

#[test]
fn colours_are_where_they_are_wanted_and_nowhere_else() {
    let Some(bed) = Bed::new() else { return };
    // Errors of our own, errors and help of the library that reads the command line.
    for args in [&["down", "nobody"][..], &["upp"], &["up"], &["--help"], &["help", "up"]] {
        let on_tty = |env: &[(&str, &str)], flags: &[&str]| {
            on_terminal(&bed, 100, env, &[flags, args].concat()).bytes.contains("\x1b[")
        };
        let in_pipe = |env: &[(&str, &str)], flags: &[&str]| {
            let output =
                bed.command([flags, args].concat()).env_remove("NO_COLOR").envs(env.iter().copied()).output().unwrap();
            [output.stdout, output.stderr].concat().windows(2).any(|two| two == b"\x1b[")
        };
        assert!(on_tty(&[], &[]), "{args:?}");
        assert!(!on_tty(&[("NO_COLOR", "1")], &[]), "{args:?}");
        assert!(!on_tty(&[("TERM", "dumb")], &[]), "{args:?}");
        assert!(!on_tty(&[("CLICOLOR", "0")], &[]), "{args:?}");
        assert!(!on_tty(&[], &["--color", "never"]), "{args:?}");
        assert!(!on_tty(&[("CLICOLOR_FORCE", "1")], &["--color=never"]), "{args:?}");
        assert!(on_tty(&[("NO_COLOR", "1")], &["--color", "always"]), "{args:?}");
        assert!(!in_pipe(&[], &[]), "{args:?}");
        assert!(in_pipe(&[("CLICOLOR_FORCE", "1")], &[]), "{args:?}");
        assert!(in_pipe(&[], &["--color", "always"]), "{args:?}");
        assert!(!in_pipe(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &[]), "{args:?}");
    }
    // Programs get none, whatever is asked for.
    let ran = bed.run(["--color", "always", "--log-format", "json", "down", "nobody"]);
    assert!(!ran.stderr.contains('\x1b') && ran.stderr.starts_with('{'), "{ran:?}");
}

#[test]
fn completion_scripts_are_for_every_shell_and_complete() {
    let Some(bed) = Bed::new() else { return };
    let script = |shell: &str| bed.manifest(shell, &bed.ok(["completions", shell]));
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = fs::read_to_string(script(shell)).unwrap();
        for word in verbs(&bed).iter().map(String::as_str).chain(["log-format", "usage"]) {
            assert!(text.contains(word), "{shell} does not know {word}");
        }
    }
    let complete = |words: &str| {
        let last = words.split(' ').count() - 1;
        let ask = format!(
            ". {}; COMP_WORDS=({words}); COMP_CWORD={last}; _flexvol flexvol \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[*]}}\"",
            script("bash")
        );
        let output = run("bash", &["-c", &ask]);
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    if has("bash") {
        assert_eq!(complete("flexvol dri"), "drivers");
        assert_eq!(complete("flexvol ls --us"), "--usage");
        assert_eq!(complete("flexvol --output "), "table wide json yaml");
        assert_eq!(complete("flexvol completions z"), "zsh");
    } else {
        skip("no bash, so its completion script is not tried");
    }
    for shell in ["zsh", "fish"] {
        if has(shell) {
            let output = run(shell, &["-n", &script(shell)]);
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        } else {
            skip(&format!("no {shell}, so its completion script is not tried"));
        }
    }
}

/// A page as a terminal of 100 columns would show it, and what troff complains of.
fn formatted(page: &Path) -> (String, String) {
    let output = run("groff", &["-man", "-ww", "-Tutf8", "-Kutf8", "-rLL=100n", "-P-cbou", page.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn there_is_a_page_for_the_command_and_for_every_verb() {
    let Some(bed) = Bed::new() else { return };
    let folder = bed.sandbox.path().join("man1");
    let rows = bed.json(["man", "--to", folder.to_str().unwrap()]);
    let verbs = verbs(&bed);
    let mut expected: Vec<String> =
        std::iter::once("flexvol".to_owned()).chain(verbs.iter().map(|verb| format!("flexvol-{verb}"))).collect();
    // A verb of a verb has a page too; its examples are on the other.
    let csi = expected.iter().position(|page| page == "flexvol-csi").unwrap();
    expected.insert(csi + 1, "flexvol-csi-manifests".to_owned());
    let pages: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["page"].as_str().unwrap()).collect();
    assert_eq!(pages, expected);
    for page in pages {
        let path = folder.join(format!("{page}.1"));
        let text = fs::read_to_string(&path).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES", "\"SEE ALSO\""] {
            assert!(text.contains(&format!("\n.SH {section}\n")), "{page} has no section {section}");
        }
        let verb = page.strip_prefix("flexvol-");
        assert_eq!(text.contains("\n.SH EXAMPLES\n"), verb.is_some_and(|verb| verb != "csi-manifests"), "{page}");
        // What is printed is what is written.
        assert_eq!(bed.ok(std::iter::once("man").chain(verb)), text, "{page}");
    }
    bed.run(["man", "--to", "/proc/nowhere"]).fails(1, &["/proc/nowhere", "hint: "]);
    bed.run(["man", "nonsense"]).fails(2, &["nonsense", "install"]);
    if !has("groff") {
        skip("no groff, so no page is formatted");
        return;
    }
    for page in expected {
        let (text, complaints) = formatted(&folder.join(format!("{page}.1")));
        assert_eq!(complaints, "", "{page}");
        for piece in ["busy: another process is at it", "FLEXVOL_ROOT", "NO_COLOR", "/etc/flexvol/flexvol.json"] {
            assert!(text.contains(piece), "{piece} in {page}:\n{text}");
        }
    }
    let (up, _) = formatted(&folder.join("flexvol-up.1"));
    assert!(up.contains("FLEXVOL-UP(1)") && up.contains("flexvol up --jobs 8 manifests/"), "{up}");
    let (whole, _) = formatted(&folder.join("flexvol.1"));
    assert!(whole.contains("flexvol-up(1), "), "{whole}");
}
