//! Rules for Rust files: a sentence at the head, a bounded length, and calls that belong to one crate only.

use super::code::{TEST_MARK, children, code_only, without_tests};
use super::finding::{File, Finding, is_word, line_of};

/// A file longer than this is two files.
const MOST_LINES: usize = 600;

/// How a file begins that a program wrote.
const WRITTEN: &str = "// This file is @generated";

/// A piece of code that is at home in a few places only.
struct Banned {
    code: &'static str,
    /// Paths that begin so may use it.
    home: &'static [&'static str],
    /// May a module of unit tests use it anywhere?
    in_tests: bool,
    instead: &'static str,
}

const BANNED: &[Banned] = &[
    Banned {
        code: "Command::new",
        home: &["crates/flexvolume-linux/", "crates/flexvolume-testkit/", "tests/", "xtask/"],
        in_tests: true,
        instead: "a process is born in flexvolume-linux alone; use its `process`",
    },
    Banned { code: "println!", home: SPEAKERS, in_tests: true, instead: SPEAK },
    Banned { code: "eprintln!", home: SPEAKERS, in_tests: true, instead: SPEAK },
    Banned { code: "print!", home: SPEAKERS, in_tests: true, instead: SPEAK },
    Banned { code: "eprint!", home: SPEAKERS, in_tests: true, instead: SPEAK },
    Banned {
        code: "remove_dir_all",
        home: &["crates/flexvolume-testkit/", "tests/", "xtask/"],
        in_tests: true,
        instead: "it would follow a mount that nobody expected; remove what we made, by `remove_dir`",
    },
    Banned {
        code: "unsafe",
        home: &["crates/flexvolume-linux/", "crates/flexvolume-testkit/"],
        in_tests: false,
        instead: "unsafe code is kept in flexvolume-linux",
    },
];

const SPEAKERS: &[&str] = &["crates/flexvol/", "crates/flexvolume-testkit/", "tests/", "xtask/"];
const SPEAK: &str = "only the command prints; in a driver standard output belongs to the protocol";

/// The files that belong to tests because another file says `#[cfg(test)] mod name;`: each as its path without `.rs`.
pub(super) fn test_modules(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let code = code_only(&file.text);
        for (at, _) in code.match_indices(TEST_MARK) {
            let item = code[at + TEST_MARK.len()..].split([';', '{']).next().unwrap_or_default();
            let whole = code[at + TEST_MARK.len() + item.len()..].starts_with(';');
            if let (true, Some(("" | "pub" | "pub(crate)" | "pub(super)", name))) =
                (whole, item.trim().rsplit_once("mod ").map(|(before, name)| (before.trim(), name)))
            {
                found.push(format!("{}{name}", children(&file.path)));
            }
        }
    }
    found
}

/// `tests` are the modules that `test_modules` found.
pub(super) fn check(file: &File, tests: &[String]) -> Vec<Finding> {
    // What a program wrote a test holds against what it was made of.
    if !file.path.ends_with(".rs") || file.text.starts_with(WRITTEN) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if !file.text.starts_with("//!") {
        findings.push(Finding::new(
            &file.path,
            Some(1),
            "a file opens with `//!` and one sentence that says why it exists",
        ));
    }
    let lines = file.text.lines().count();
    if lines > MOST_LINES {
        findings.push(Finding::new(
            &file.path,
            None,
            format!("{lines} lines; a file of more than {MOST_LINES} is two files"),
        ));
    }
    let code = code_only(&file.text);
    let product = without_tests(&code);
    let is_test = file.path.split('/').any(|part| part == "tests" || part == "benches")
        || tests.iter().any(|test| {
            file.path.strip_prefix(test.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    for banned in BANNED {
        if banned.home.iter().any(|home| file.path.starts_with(home)) || (banned.in_tests && is_test) {
            continue;
        }
        let text = if banned.in_tests { &product } else { &code };
        for (at, _) in text.match_indices(banned.code) {
            // clap has a `Command` too, and that one starts no process.
            let of_clap = text[..at].ends_with("clap::");
            if is_word(text, at, banned.code) && !of_clap {
                findings.push(Finding::new(
                    &file.path,
                    Some(line_of(text, at)),
                    format!("`{}` does not belong here: {}", banned.code, banned.instead),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.into(), text: text.into() };
        check(&file, &["drivers/x/src/testing".into()]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_without_its_sentence_is_found() {
        assert_eq!(found("crates/flexvol/src/a.rs", "//! Why.\n"), Vec::<String>::new());
        let finding = found("crates/flexvol/src/a.rs", "// Why.\n");
        assert!(finding.len() == 1 && finding[0].starts_with("crates/flexvol/src/a.rs:1: a file opens"), "{finding:?}");
    }

    #[test]
    fn a_long_file_is_found() {
        let lines = |n: usize| format!("//! Long.\n{}", "\n".repeat(n - 1));
        assert_eq!(found("xtask/src/a.rs", &lines(600)), Vec::<String>::new());
        assert_eq!(found("xtask/src/a.rs", &lines(601)).len(), 1);
        assert_eq!(found("xtask/src/a.rs", &format!("{WRITTEN}.\n{}", "\n".repeat(601))), Vec::<String>::new());
    }

    #[test]
    fn each_banned_call_is_found_away_from_home_and_not_at_home() {
        for banned in BANNED {
            let text = format!("//! Why.\nfn f() {{ {}(x) }}\n", banned.code);
            let away = found("crates/flexvolume-protocol/src/a.rs", &text);
            assert!(away.len() == 1 && away[0].contains(":2: ") && away[0].contains(banned.code), "{away:?}");
            for home in banned.home {
                assert_eq!(found(&format!("{home}src/a.rs"), &text), Vec::<String>::new(), "{home}");
            }
        }
    }

    #[test]
    fn names_that_only_look_alike_are_left_alone() {
        let text = "//! Why.\nfn f() { my_println!(); clap::Command::new(a); unsafe_code(); remove_dir_allowed(); }";
        assert_eq!(found("drivers/x/src/main.rs", text), Vec::<String>::new());
    }

    #[test]
    fn comments_and_strings_call_nothing() {
        let text = "//! Why: unsafe, println!\n/* unsafe /* nested */ unsafe */\nfn f<'a>(c: char) -> &'a str { if c == '\"' || c == '\\'' {} \
                    let _ = r#\"unsafe \" println!\"#; \"unsafe \\\" println!\" }";
        assert_eq!(found("drivers/x/src/main.rs", text), Vec::<String>::new());
        let after = format!("{text}\nfn g() {{ unsafe {{}} }}");
        assert_eq!(found("drivers/x/src/main.rs", &after).len(), 1, "what follows a string is code again");
    }

    #[test]
    fn unit_tests_may_call_what_the_product_may_not() {
        let tests = "//! Why.\n#[cfg(test)]\nmod tests { fn f() { if a { Command::new(x) } } }\n";
        assert_eq!(found("drivers/x/src/main.rs", tests), Vec::<String>::new());
        let after = format!("{tests}fn g() {{ Command::new(x) }}\n");
        assert_eq!(found("drivers/x/src/main.rs", &after).len(), 1, "the code after a test module is product again");
        for (path, findings) in [("testing.rs", 0), ("testing/deep.rs", 0), ("testing2.rs", 1), ("tests/a.rs", 0)] {
            assert_eq!(
                found(&format!("drivers/x/src/{path}"), "//! T.\nfn f() { println!() }").len(),
                findings,
                "{path}"
            );
        }
        assert_eq!(
            found("drivers/x/src/main.rs", &tests.replace("Command::new", "unsafe")).len(),
            1,
            "unsafe is never at home there"
        );
    }

    #[test]
    fn files_of_tests_are_known_by_their_declaration() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let files = [
            file("a/src/lib.rs", "//! A.\n#[cfg(test)]\nmod one;\nmod product;\n#[cfg(test)]\npub(crate) mod two;\n"),
            file(
                "a/src/b.rs",
                "//! B.\n#[cfg(test)]\nmod three;\n#[cfg(test)]\nmod tests { mod inner; }\n// #[cfg(test)] mod no;\n",
            ),
        ];
        assert_eq!(test_modules(&files), ["a/src/one", "a/src/two", "a/src/b/three"]);
    }
}
